package conformance

// Hole is a rule that the suite cannot judge, or only with help of the user, and why.
type Hole struct {
	Rule    string
	Version Versions
	Why     string
}

// Holes returns the rules without a check. Every other rule that a server's behaviour can break has one.
func Holes() []Hole { return holes }

var holes = []Hole{
	{"P-3.8.4-publish-before-suback", MQTT5, "it allows both orders, so that no behaviour breaks it; the mutant subscribe/publish-before-suback holds the suite to it"},
	{"P-4.7.2-dollar-topics", MQTT5, "refusing, dropping and delivering are all allowed, so that no behaviour breaks it"},
}
