package conformance

var clientIDChecks = []Check{}
