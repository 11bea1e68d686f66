package mutant

var textMutants = []Mutant{}
