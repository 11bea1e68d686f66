package conformance

// All returns every check of the suite.
func All() []*Check {
	var out []*Check
	for _, chapter := range [][]Check{
		textChecks,
		headerChecks,
		packetIDChecks,
		pingChecks,
		disconnectChecks,
		farewellChecks,
		errorChecks,
		webSocketChecks,
		connectChecks,
		connectFlagChecks,
		connackChecks,
		clientIDChecks,
		sessionChecks,
		sessionExpiryChecks,
		redeliveryChecks,
		takeoverChecks,
		willChecks,
		willDelayChecks,
		keepAliveChecks,
		connectPropertyChecks,
		connackPropertyChecks,
		propertyCodeChecks,
		limitChecks,
		flowChecks,
		overrideChecks,
		authChecks,
		publishChecks,
		dupChecks,
		retainedChecks,
		retainHandlingChecks,
		overlapChecks,
		aliasChecks,
		publishPropertyChecks,
		publishFaultChecks,
		expiryChecks,
		windowChecks,
		qosChecks,
		resendChecks,
		orderingChecks,
		ackChecks,
		subscribeChecks,
		replaceChecks,
		badRequestChecks,
		unsubscribeChecks,
		topicChecks,
		topicNameChecks,
		sharedChecks,
		optionChecks,
	} {
		for i := range chapter {
			out = append(out, &chapter[i])
		}
	}
	return out
}
