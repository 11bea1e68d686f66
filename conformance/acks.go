package conformance

var ackChecks = []Check{}
