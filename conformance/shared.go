package conformance

var sharedChecks = []Check{}
