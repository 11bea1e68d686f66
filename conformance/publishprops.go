package conformance

var publishPropertyChecks = []Check{}
