package mutant

var optionMutants = []Mutant{}
