package mutant

var topicMutants = []Mutant{}
