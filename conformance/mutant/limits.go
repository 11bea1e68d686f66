package mutant

var limitMutants = []Mutant{}
