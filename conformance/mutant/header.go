package mutant

var headerMutants = []Mutant{}
