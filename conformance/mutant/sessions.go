package mutant

var sessionMutants = []Mutant{}
