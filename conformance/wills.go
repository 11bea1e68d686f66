package conformance

var willChecks = []Check{}
