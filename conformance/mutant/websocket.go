package mutant

var webSocketMutants = []Mutant{}
