package mutant

var keepAliveMutants = []Mutant{}
