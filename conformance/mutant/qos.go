package mutant

var qosMutants = []Mutant{}
