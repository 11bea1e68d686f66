package conformance

var errorChecks = []Check{}
