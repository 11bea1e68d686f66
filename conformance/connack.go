package conformance

var connackChecks = []Check{}
