package mutant

var ackMutants = []Mutant{}
