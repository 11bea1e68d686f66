package conformance

var optionChecks = []Check{}
