package conformance

var orderingChecks = []Check{}
