package mutant

var disconnectMutants = []Mutant{}
