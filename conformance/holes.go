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
	{"P-4.13.1-connect-vs-other", MQTT5, "an error may be answered with or without a packet, so that no behaviour breaks it; what a DISCONNECT says is noted where one comes"},
	{"P-3.8.4-publish-before-suback", MQTT5, "it allows both orders, so that no behaviour breaks it; the mutant subscribe/publish-before-suback holds the suite to it"},
	{"P-4.7.2-dollar-topics", MQTT5, "refusing, dropping and delivering are all allowed, so that no behaviour breaks it"},
}
