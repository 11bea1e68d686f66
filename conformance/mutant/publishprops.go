package mutant

var publishPropertyMutants = []Mutant{}
