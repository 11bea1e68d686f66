package mutant

var retainedMutants = []Mutant{}
