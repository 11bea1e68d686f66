package mutant

var sharedMutants = []Mutant{}
