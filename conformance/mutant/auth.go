package mutant

var authMutants = []Mutant{}
