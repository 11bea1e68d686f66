package mutant

var orderingMutants = []Mutant{}
