package mutant

var packetIDMutants = []Mutant{}
