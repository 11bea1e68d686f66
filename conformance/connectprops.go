package conformance

var connectPropertyChecks = []Check{}
