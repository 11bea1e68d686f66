// Package session is the delivery state of one MQTT session, both directions, without I/O: packet identifiers, the
// in-flight window, QoS 1 and 2 handshakes, resending after a reconnect, acknowledgements that wait for the
// application or for storage. Broker, client and load generator drive the same code.
//
// Start from [Session], [Event] and [Action]. The owner feeds events (a packet came in, a message is to be sent, the
// connection opened or closed, records are stored) to [Session.Step] and carries out the appended actions in their order.
// A Session starts no goroutine, reads no clock and locks nothing: one goroutine at a time may use it.
//
// Messages are opaque handles of type H; the session never looks inside and holds no payload. It keeps a handle from
// the Send event that it accepts until the one Release action of that message.
//
// # What the owner does
//
// The offline queue, its limits and its drop policy are the owner's. [Session.Free] says how many messages the session
// takes right now: the peer's Receive Maximum bounds it [MQTT-3.3.4-7, MQTT-3.3.4-9, MQTT-4.9.0-2], it is 0 while
// disconnected, and it grows in Steps that carry acknowledgements. Subscriptions, topic aliases, wills and the
// session's own expiry are not here.
//
// # Packets from the peer
//
// Every sequence of events is tolerated. What each packet does to the outbound message of its identifier:
//
//	packet              QoS 1, no PUBACK yet   QoS 2, no PUBREC yet     QoS 2, PUBREC came       no such message
//	PUBACK              done [4.3.2-3]         Violation [3.3.4-1]      Violation [3.3.4-1]      ignored
//	PUBREC below 0x80   Violation [3.3.4-1]    PUBREL [4.3.3-4]         PUBREL again [4.3.3-4]   PUBREL, 0x92 in 5.0
//	PUBREC 0x80 and up  Violation [3.3.4-1]    done, no PUBREL [4.4.0-2] done, no PUBREL         ignored
//	PUBCOMP             ignored                ignored                  done [4.3.3-5]           ignored
//
// A message that was accepted but never sent counts as "no such message"; so does the identifier of a SUBSCRIBE. The
// standard states no reaction to an unknown PUBACK or PUBREC (P-3.4.4-unknown-puback); answering the PUBREC lets a peer
// whose state ran ahead of ours finish its handshake. Before 5.0 acknowledgements have no reason code and any given is
// taken as 0x00. The inbound message of an identifier:
//
//	packet         unknown                          PUBREC not sent yet              PUBREC sent, no PUBREL
//	PUBLISH QoS 1  Deliver, PUBACK [4.3.2-4]        the same: QoS 1 and QoS 2 inbound identifiers do not touch each other
//	PUBLISH QoS 2  Deliver, PUBREC [4.3.3-8]        Discard, one PUBREC as soon      Discard, PUBREC [4.3.3-10]
//	                                                as it may go
//	PUBREL         PUBCOMP, 0x92 in 5.0 [4.3.3-11]  PUBCOMP: the sender is done      PUBCOMP [4.3.3-11]
//
// A QoS 2 PUBLISH between its PUBREL and a PUBCOMP that waits for storage is a Violation [4.3.3-6]; a QoS 1 or 2 PUBLISH
// above the announced Receive Maximum is one in 5.0, 0x93 (P-3.3.4-receive-maximum-exceeded). The count gives the peer
// back a slot for every PUBACK, PUBCOMP and refusing PUBREC sent to it, as section 4.9 words it, so that a peer which
// counts by the letter is never accused. 3.1.1 numbers the same rules 4.3.2-x, 4.3.3-x, 3.3.4-1, 4.4.0-1.
//
// # Durable sessions
//
// With Config.Durable each change that has to survive a crash is a Persist or Forget action with a ticket (Ref). A
// PUBLISH, PUBREC, PUBREL, PUBACK or PUBCOMP that promises the change waits until the owner reports it by a Stored event;
// Stored is cumulative, one event may cover a batch. After a crash [Session.Restore] takes the records back.
package session
