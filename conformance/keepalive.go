package conformance

var keepAliveChecks = []Check{}
