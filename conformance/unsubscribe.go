package conformance

var unsubscribeChecks = []Check{}
