package mutant

var connackMutants = []Mutant{}
