package mutant

var aliasMutants = []Mutant{}
