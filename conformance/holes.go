package conformance

// Hole is a rule that the suite cannot judge, or only with help of the user, and why.
type Hole struct {
	Rule    string
	Version Versions
	Why     string
}

// Holes returns the rules without a check. Every other rule that a server's behaviour can break has one.
func Holes() []Hole { return holes }

var holes = []Hole{}
