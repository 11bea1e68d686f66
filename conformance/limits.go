package conformance

var limitChecks = []Check{}
