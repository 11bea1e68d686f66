package conformance

var packetIDChecks = []Check{}
