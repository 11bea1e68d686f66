package mutant

var errorMutants = []Mutant{}
