package conformance

var retainedChecks = []Check{}
