package mutant

var clientIDMutants = []Mutant{}
