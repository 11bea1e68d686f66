package mutant

var unsubscribeMutants = []Mutant{}
