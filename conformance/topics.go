package conformance

var topicChecks = []Check{}
