package conformance

var authChecks = []Check{}
