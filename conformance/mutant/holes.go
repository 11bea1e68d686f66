package mutant

import "github.com/mqlab/mqlab/conformance/rules"

// Hole is a rule that no mutant can break, and why.
type Hole struct {
	Rule    string
	Version rules.Versions
	Why     string
}

// Holes returns the rules that have a check and no mutant.
func Holes() []Hole { return holes }

var holes = []Hole{}
