package session

import (
	"testing"

	"github.com/mqlab/mqlab/codec"
)

func TestReceive(t *testing.T) {
	runCases(t, []stepCase{
		{name: "MQTT-3.3.4-1 each QoS has its answer", steps: []step{
			on(up(codec.V4)),
			on(in(0, 0, 1), "deliver q0 id0 h1 ref0"),
			on(in(1, 7, 2), "deliver q1 id7 h2 ref0", "puback id7 00"),
			on(in(2, 7, 3), "deliver q2 id7 h3 ref0", "pubrec id7 00"),
			on(pk(Pubrel, 7), "pubcomp id7 00"),
		}},
		{name: "MQTT-4.3.2-5 after PUBACK the identifier is a new message", steps: []step{
			on(up(codec.V5)),
			on(in(1, 7, 1), "deliver q1 id7 h1 ref0", "puback id7 00"),
			on(in(1, 7, 2), "deliver q1 id7 h2 ref0", "puback id7 00"),
		}},
		{name: "MQTT-4.3.3-10 -12 delivered once until PUBREL, also over a reconnect", steps: []step{
			on(up(codec.V5)),
			on(in(2, 7, 1), "deliver q2 id7 h1 ref0", "pubrec id7 00"),
			on(in(2, 7, 2), "discard q2 id7 h2", "pubrec id7 00"),
			on(down), on(up(codec.V5)),
			on(in(2, 7, 3), "discard q2 id7 h3", "pubrec id7 00"),
			on(pk(Pubrel, 7), "pubcomp id7 00"),
			on(in(2, 7, 4), "deliver q2 id7 h4 ref0", "pubrec id7 00"),
			on(down), on(up(codec.V5)),
			on(pk(Pubrel, 7), "pubcomp id7 00"),
		}},
		{name: "MQTT-4.3.3-11 P-3.6.2.1-unknown-pubrel", steps: []step{
			on(up(codec.V5)), on(pk(Pubrel, 9), "pubcomp id9 92"),
			on(up(codec.V4)), on(pk(Pubrel, 9), "pubcomp id9 00"),
		}},
		{name: "MQTT-4.3.3-9 a refused message leaves its identifier free", steps: []step{
			on(upWith(Link{Version: codec.V5, ReceiveMaximum: 1})),
			on(code(in(2, 7, 1), codec.NotAuthorized), "discard q2 id7 h1", "pubrec id7 87"),
			on(code(in(2, 7, 2), codec.NoMatchingSubscribers), "deliver q2 id7 h2 ref0", "pubrec id7 10"),
			on(pk(Pubrel, 7), "pubcomp id7 00"),
			on(code(in(1, 7, 3), codec.NotAuthorized), "discard q1 id7 h3", "puback id7 87"),
			on(code(in(0, 0, 4), codec.NotAuthorized), "discard q0 id0 h4"),
		}},
		{name: "3.1.1 cannot refuse, only not deliver", steps: []step{
			on(up(codec.V4)),
			on(code(in(2, 7, 1), codec.NotAuthorized), "discard q2 id7 h1", "pubrec id7 00"),
			on(pk(Pubrel, 7), "pubcomp id7 00"),
			on(code(in(1, 7, 3), codec.NotAuthorized), "discard q1 id7 h3", "puback id7 00"),
		}},
		{name: "P-2.2.1-packet-id-in-use QoS 1 does not touch an open QoS 2 exchange", steps: []step{
			on(up(codec.V5)),
			on(in(2, 3, 1), "deliver q2 id3 h1 ref0", "pubrec id3 00"),
			on(in(1, 3, 2), "deliver q1 id3 h2 ref0", "puback id3 00"),
			on(pk(Pubrel, 3), "pubcomp id3 00"),
		}},
		{name: "MQTT-2.2.1-3 MQTT-3.3.1-4 identifier 0 and QoS 3", steps: []step{
			on(up(codec.V5)),
			on(in(1, 0, 1), "violation 81 fault3 id0"), on(in(2, 0, 1), "violation 81 fault3 id0"), on(in(3, 5, 1), "violation 81 fault4 id5"),
		}},
	})
}

func TestReceiveMaximum(t *testing.T) {
	runCases(t, []stepCase{
		{name: "P-3.3.4-receive-maximum-exceeded QoS 2 counts until PUBCOMP", steps: []step{
			on(upWith(Link{Version: codec.V5, ReceiveMaximum: 2})),
			on(in(2, 1, 1), "deliver q2 id1 h1 ref0", "pubrec id1 00"),
			on(in(2, 2, 2), "deliver q2 id2 h2 ref0", "pubrec id2 00"),
			on(in(2, 2, 2), "discard q2 id2 h2", "pubrec id2 00"), // a repeat counts once
			on(in(2, 3, 3), "violation 93 fault2 id3"), on(in(1, 3, 3), "violation 93 fault2 id3"),
			on(in(0, 0, 4), "deliver q0 id0 h4 ref0"),
			on(pk(Pubrel, 1), "pubcomp id1 00"),
			on(in(1, 3, 3), "deliver q1 id3 h3 ref0", "puback id3 00"),
			on(in(2, 4, 4), "deliver q2 id4 h4 ref0", "pubrec id4 00"),
		}},
		{name: "QoS 1 counts until PUBACK", steps: []step{
			on(upWith(Link{Version: codec.V5, ReceiveMaximum: 1})),
			on(held(1, 1, 1), "deliver q1 id1 h1 ref2"),
			on(in(1, 2, 2), "violation 93 fault2 id2"),
			on(ack(1, 2), "puback id1 00"),
			on(in(1, 2, 2), "deliver q1 id2 h2 ref0", "puback id2 00"),
		}},
		{name: "an old exchange takes no slot, and its PUBCOMP gives one back as 4.9 words it", steps: []step{
			on(upWith(Link{Version: codec.V5, ReceiveMaximum: 2})),
			on(in(2, 1, 1), "deliver q2 id1 h1 ref0", "pubrec id1 00"), on(in(2, 2, 2), "deliver q2 id2 h2 ref0", "pubrec id2 00"),
			on(down), on(upWith(Link{Version: codec.V5, ReceiveMaximum: 1, Present: true})),
			on(in(2, 3, 3), "deliver q2 id3 h3 ref0", "pubrec id3 00"),
			on(pk(Pubrel, 1), "pubcomp id1 00"),
			on(in(2, 4, 4), "deliver q2 id4 h4 ref0", "pubrec id4 00"),
			on(in(2, 2, 2), "violation 93 fault2 id2"),
		}},
		{name: "3.1.1 knows no limit", steps: []step{
			on(upWith(Link{Version: codec.V4, ReceiveMaximum: 1})),
			on(in(2, 1, 1), "deliver q2 id1 h1 ref0", "pubrec id1 00"), on(in(2, 2, 2), "deliver q2 id2 h2 ref0", "pubrec id2 00"),
		}},
	})
}

func TestManualAck(t *testing.T) {
	runCases(t, []stepCase{
		{name: "MQTT-4.6.0-2 PUBACKs in the order of receipt", steps: []step{
			on(up(codec.V5)),
			on(held(1, 5, 1), "deliver q1 id5 h1 ref2"), on(held(1, 3, 2), "deliver q1 id3 h2 ref4"), on(in(1, 9, 3), "deliver q1 id9 h3 ref0"),
			on(code(held(1, 4, 4), codec.NotAuthorized), "discard q1 id4 h4"),
			on(ack(3, 4)),
			on(ack(5, 4)), on(ack(5, 3)), on(ack(5, 0)), on(ack(5, 99)), // not what Deliver said
			on(code(ack(5, 2), codec.QuotaExceeded), "puback id5 97", "puback id3 00", "puback id9 00", "puback id4 87"),
			on(ack(5, 2)),
		}},
		{name: "MQTT-4.6.0-3 PUBRECs in the order of receipt, apart from PUBACKs", steps: []step{
			on(up(codec.V5)),
			on(held(2, 5, 1), "deliver q2 id5 h1 ref3"), on(held(2, 3, 2), "deliver q2 id3 h2 ref5"), on(in(2, 9, 3), "deliver q2 id9 h3 ref0"),
			on(in(1, 5, 4), "deliver q1 id5 h4 ref0", "puback id5 00"),
			on(in(2, 3, 2), "discard q2 id3 h2"),
			on(code(ack(3, 5), codec.NotAuthorized)),
			on(ack(5, 3), "pubrec id5 00", "pubrec id3 87", "pubrec id9 00"),
			on(pk(Pubrel, 3), "pubcomp id3 92"), on(pk(Pubrel, 5), "pubcomp id5 00"), on(pk(Pubrel, 9), "pubcomp id9 00"),
		}},
		{name: "a repeated PUBLISH is answered in its turn", steps: []step{
			on(up(codec.V4)),
			on(in(2, 1, 1), "deliver q2 id1 h1 ref0", "pubrec id1 00"),
			on(held(2, 2, 2), "deliver q2 id2 h2 ref5"),
			on(in(2, 1, 1), "discard q2 id1 h1"), on(in(2, 1, 1), "discard q2 id1 h1"),
			on(ack(2, 5), "pubrec id2 00", "pubrec id1 00"),
		}},
		{name: "PUBREL for what is held ends the exchange", steps: []step{
			on(up(codec.V5)),
			on(held(2, 5, 1), "deliver q2 id5 h1 ref3"), on(in(2, 6, 2), "deliver q2 id6 h2 ref0"),
			on(pk(Pubrel, 5), "pubcomp id5 00", "pubrec id6 00"),
			on(ack(5, 3)),
			on(in(2, 5, 3), "deliver q2 id5 h3 ref0", "pubrec id5 00"),
		}},
		{name: "a reconnect forgets what is held at QoS 1 and keeps it at QoS 2", steps: []step{
			on(up(codec.V5)),
			on(held(1, 5, 1), "deliver q1 id5 h1 ref2"), on(held(2, 5, 2), "deliver q2 id5 h2 ref3"), on(held(2, 6, 3), "deliver q2 id6 h3 ref5"),
			on(down),
			on(ack(5, 2)), on(ack(6, 5)),
			on(up(codec.V5)),
			on(held(1, 5, 4), "deliver q1 id5 h4 ref4"), on(ack(5, 2)),
			on(held(2, 6, 5), "discard q2 id6 h5", "pubrec id6 00"),
			on(held(2, 5, 6), "discard q2 id5 h6"),
			on(ack(5, 3), "pubrec id5 00"),
			on(ack(5, 4), "puback id5 00"),
		}},
	})
}

func TestDurable(t *testing.T) {
	d := Config{Durable: true}
	runCases(t, []stepCase{
		{name: "outbound packets wait for their records", config: d, steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 2})),
			on(send(1, 1), "persist stage1 q1 id1 h1 #1"), on(send(2, 2), "persist stage1 q2 id2 h2 #2"), on(send(1, 3), "refused q1 h3"),
			on(pk(Puback, 1)), on(pk(Pubrec, 2), "pubrel id2 h0 92 dup"), // not sent yet
			on(stored(1), "publish q1 id1 h1"), on(stored(1)),
			on(stored(9), "publish q2 id2 h2"),
			on(pk(Puback, 1), "forget stage1 id1 #3", "release q1 id1 h1 cause1 00"),
			on(pk(Pubrec, 2), "persist stage2 q2 id2 h2 #4"),
			on(pk(Pubrec, 2)), on(pk(Pubcomp, 2)),
			on(pk(Pubrec, 8)), // PUBRELs keep the order of the PUBRECs [MQTT-4.6.0-4]
			on(stored(4), "pubrel id2 h2 00", "pubrel id8 h0 92 dup"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00 dup"),
			on(pk(Pubcomp, 2), "forget stage2 id2 #5", "release q2 id2 h2 cause1 00"),
		}},
		{name: "inbound acknowledgements wait for their records", config: d, steps: []step{
			on(up(codec.V5)),
			on(in(1, 1, 1), "deliver q1 id1 h1 ref0", "persist stage4 q1 id1 h0 #1"),
			on(held(1, 2, 2), "deliver q1 id2 h2 ref4"),
			on(in(2, 3, 3), "deliver q2 id3 h3 ref0", "persist stage3 q2 id3 h0 #2"),
			on(code(in(2, 4, 4), codec.NotAuthorized), "discard q2 id4 h4"),
			on(ack(2, 4), "persist stage4 q1 id2 h0 #3"),
			on(stored(2), "puback id1 00", "pubrec id3 00", "pubrec id4 87"),
			on(stored(3), "puback id2 00"),
			on(pk(Pubrel, 3), "forget stage3 id3 #4"),
			on(pk(Pubrel, 3)),
			on(in(2, 3, 5), "violation 82 fault5 id3"), // MQTT-4.3.3-6
			on(stored(4), "pubcomp id3 00"),
			on(in(2, 3, 6), "deliver q2 id3 h6 ref0", "persist stage3 q2 id3 h0 #5"),
			on(pk(Pubrel, 3), "forget stage3 id3 #6"), on(stored(6), "pubcomp id3 00"),
		}},
		{name: "a cut between record and packet", config: d, steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "persist stage1 q1 id1 h1 #1"), on(send(2, 2), "persist stage1 q2 id2 h2 #2"), on(stored(2), "publish q1 id1 h1", "publish q2 id2 h2"),
			on(send(1, 3), "persist stage1 q1 id3 h3 #3"), on(pk(Pubrec, 2), "persist stage2 q2 id2 h2 #4"),
			on(in(2, 9, 9), "deliver q2 id9 h9 ref0", "persist stage3 q2 id9 h0 #5"),
			on(in(1, 8, 8), "deliver q1 id8 h8 ref0", "persist stage4 q1 id8 h0 #6"),
			on(down),
			on(up(codec.V5), "publish q1 id1 h1 dup"),
			on(in(2, 9, 9), "discard q2 id9 h9"),
			on(stored(4), "pubrel id2 h2 00", "publish q1 id3 h3"),
			on(stored(6), "pubrec id9 00"),
			on(pk(Pubrel, 9), "forget stage3 id9 #7"),
			on(down), on(up(codec.V5), "pubrel id2 h2 00 dup", "publish q1 id1 h1 dup", "publish q1 id3 h3 dup"),
			on(pk(Pubrel, 9)), on(stored(7), "pubcomp id9 00"),
		}},
		{name: "a removal stored while disconnected is not answered", config: d, steps: []step{
			on(up(codec.V5)),
			on(in(2, 9, 9), "deliver q2 id9 h9 ref0", "persist stage3 q2 id9 h0 #1"), on(stored(1), "pubrec id9 00"),
			on(pk(Pubrel, 9), "forget stage3 id9 #2"), on(down), on(stored(2)), on(up(codec.V5)), on(pk(Pubrel, 9), "pubcomp id9 92"),
		}},
		{name: "Session Present 0 clears the store", config: d, steps: []step{
			on(upWith(Link{Version: codec.V5})),
			on(send(1, 1), "persist stage1 q1 id1 h1 #1"),
			on(upWith(Link{Version: codec.V5}), "release q1 id1 h1 cause4 00", "clear #2"),
			on(stored(1)), on(stored(2)),
			on(send(1, 2), "persist stage1 q1 id2 h2 #3"), on(stored(3), "publish q1 id2 h2"),
		}},
	})
}

// TestExpiryInTheQueue: a message that waits for storage or for the window expires, by Tick or in its turn.
func TestExpiryInTheQueue(t *testing.T) {
	for _, tick := range []bool{true, false} {
		s := &Session[int]{Config: Config{Durable: true}}
		s.Step(upWith(Link{Version: codec.V5, SendMaximum: 2}), 0, nil)
		s.Step(ev{Kind: Send, QoS: 1, H: 1, Expires: 10}, 5, nil)
		s.Step(ev{Kind: Send, QoS: 1, H: 2, Expires: 30}, 5, nil)
		s.Step(down, 6, nil)
		s.Step(upWith(Link{Version: codec.V5, SendMaximum: 2, Present: true}), 7, nil)
		var out []Action[int]
		if tick {
			out = s.Step(pk(Tick, 0), 10, out)
			if s.Free() != 1 {
				t.Errorf("%d slots are free, want 1", s.Free())
			}
		}
		out = s.Step(stored(2), 10, out)
		got := collect(out, Release, SendPublish)
		if len(got) != 2 || got[0] != "release q1 id1 h1 cause2 00" || got[1] != "publish q1 id2 h2" {
			t.Errorf("tick=%t: got %q, want message 1 expired and message 2 sent without DUP", tick, got)
		}
		if err := s.check(); err != nil {
			t.Error(err)
		}
	}
}
