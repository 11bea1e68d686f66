package conformance

var headerChecks = []Check{}
