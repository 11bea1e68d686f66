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

var holes = []Hole{
	{"MQTT-3.3.5-2", rules.MQTT311, "needs a topic that the target forbids and the run knows of; TestForbiddenTopic breaks it with such a broker"},
	{"P-3.2.2.3.16-server-reference", rules.MQTT5, "is never worth more than a remark; TestServerReferenceIsRemarkedUpon shows it"},
	// A run on a mutant knows no logins, and waits a minute and more for nothing only in a test with virtual time.
	{"MQTT-3.1.4-2", rules.MQTT5, "needs a login that is refused; TestHandshakeWithLogin breaks it with a broker that admits everybody"},
	{"P-3.1.4-no-connect", rules.MQTT5, "the limit is the server's choice; TestNoConnect breaks it with a broker that has none, in virtual time"},
}
