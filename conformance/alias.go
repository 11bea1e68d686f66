package conformance

var aliasChecks = []Check{}
