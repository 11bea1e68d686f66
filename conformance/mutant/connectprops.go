package mutant

var connectPropertyMutants = []Mutant{}
