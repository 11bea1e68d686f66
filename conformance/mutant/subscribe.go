package mutant

var subscribeMutants = []Mutant{}
