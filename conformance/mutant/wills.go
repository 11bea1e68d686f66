package mutant

var willMutants = []Mutant{}
