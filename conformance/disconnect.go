package conformance

var disconnectChecks = []Check{}
