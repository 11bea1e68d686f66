package conformance

var webSocketChecks = []Check{}
