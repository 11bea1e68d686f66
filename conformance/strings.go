package conformance

var textChecks = []Check{}
