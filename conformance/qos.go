package conformance

var qosChecks = []Check{}
