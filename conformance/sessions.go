package conformance

var sessionChecks = []Check{}
