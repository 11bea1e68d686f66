package session

import (
	"testing"

	"github.com/mqlab/mqlab/codec"
)

func TestSend(t *testing.T) {
	runCases(t, []stepCase{
		{name: "MQTT-4.3.1-1 QoS 0 has no identifier and is done at once", steps: []step{
			on(up(codec.V5)),
			on(send(0, 1), "publish q0 id0 h1", "release q0 id0 h1 cause1 00"),
		}},
		{name: "MQTT-4.3.2-1 -2 -3 QoS 1 stays open until PUBACK", steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "publish q1 id1 h1"),
			on(send(1, 2), "publish q1 id2 h2"),
			on(code(pk(Puback, 1), codec.NoMatchingSubscribers), "release q1 id1 h1 cause1 10"),
			on(pk(Puback, 1)),
			on(send(1, 3), "publish q1 id3 h3"),
			on(code(pk(Puback, 2), codec.NotAuthorized), "release q1 id2 h2 cause1 87"),
		}},
		{name: "MQTT-4.3.3-1 to -5 QoS 2 goes through PUBREC, PUBREL, PUBCOMP", steps: []step{
			on(up(codec.V4)),
			on(send(2, 1), "publish q2 id1 h1"),
			on(pk(Pubcomp, 1)), // nobody asked for it yet
			on(pk(Pubrec, 1), "pubrel id1 h1 00"),
			on(pk(Pubcomp, 1), "release q2 id1 h1 cause1 00"),
			on(pk(Pubcomp, 1)),
		}},
		{name: "MQTT-4.3.3-4 a repeated PUBREC gets PUBREL again", steps: []step{
			on(up(codec.V5)),
			on(send(2, 1), "publish q2 id1 h1"),
			on(pk(Pubrec, 1), "pubrel id1 h1 00"),
			on(pk(Pubrec, 1), "pubrel id1 h1 00 dup"),
			on(pk(Pubcomp, 1), "release q2 id1 h1 cause1 00"),
			on(pk(Pubrec, 1), "pubrel id1 h0 92 dup"),
		}},
		{name: "MQTT-4.4.0-2 a refusing PUBREC ends the message without PUBREL", steps: []step{
			on(up(codec.V5)),
			on(send(2, 1), "publish q2 id1 h1"),
			on(code(pk(Pubrec, 1), codec.QuotaExceeded), "release q2 id1 h1 cause1 97"),
			on(send(2, 2), "publish q2 id2 h2"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(code(pk(Pubrec, 2), codec.QuotaExceeded), "release q2 id2 h2 cause1 97"),
			on(down), on(up(codec.V5)),
		}},
		{name: "before 5.0 acknowledgements have no reason", steps: []step{
			on(up(codec.V4)),
			on(send(2, 1), "publish q2 id1 h1"),
			on(code(pk(Pubrec, 1), codec.QuotaExceeded), "pubrel id1 h1 00"),
			on(code(pk(Pubcomp, 1), codec.PacketIDNotFound), "release q2 id1 h1 cause1 00"),
			on(send(1, 2), "publish q1 id2 h2"),
			on(code(pk(Puback, 2), codec.QuotaExceeded), "release q1 id2 h2 cause1 00"),
			on(pk(Pubrec, 9), "pubrel id9 h0 00 dup"),
		}},
		{name: "P-3.4.4-unknown-puback unknown identifiers are no violation", steps: []step{
			on(up(codec.V5)),
			on(pk(Puback, 9)), on(pk(Pubcomp, 9)), on(pk(Response, 9)), on(pk(Skip, 9)),
			on(code(pk(Pubrec, 9), codec.NotAuthorized)),
			on(pk(Pubrec, 9), "pubrel id9 h0 92 dup"),
			on(pk(Puback, 0)), on(pk(Pubrec, 0)), on(pk(Pubcomp, 0)), on(pk(Pubrel, 0)), on(pk(Response, 0)),
		}},
		{name: "MQTT-3.3.4-1 an acknowledgement of the other QoS is a violation without effect", steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "publish q1 id1 h1"), on(send(2, 2), "publish q2 id2 h2"),
			on(pk(Pubrec, 1), "violation 82 fault1 id1"),
			on(code(pk(Pubrec, 1), codec.NotAuthorized), "violation 82 fault1 id1"),
			on(pk(Pubcomp, 1)),
			on(pk(Puback, 2), "violation 82 fault1 id2"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(pk(Puback, 2), "violation 82 fault1 id2"),
			on(pk(Puback, 1), "release q1 id1 h1 cause1 00"),
			on(pk(Pubcomp, 2), "release q2 id2 h2 cause1 00"),
		}},
		{name: "an invalid QoS is given back", steps: []step{on(up(codec.V5)), on(send(3, 1), "refused q3 h1")}},
		{name: "disconnected, nothing is taken and packets are ignored", steps: []step{
			on(send(0, 1), "refused q0 h1"), on(send(1, 1), "refused q1 h1"), on(ev{Kind: Request, H: 4}, "refused q0 h4"),
			on(in(1, 1, 1)), on(pk(Puback, 1)), on(pk(Pubrec, 1)), on(pk(Pubrel, 1)), on(pk(Pubcomp, 1)), on(down), on(pk(0, 0)), on(pk(99, 0)),
		}},
	})
}

func TestWindow(t *testing.T) {
	runCases(t, []stepCase{
		{name: "MQTT-4.9.0-1 -2 P-4.9-quota-replenish", steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 2})),
			on(send(1, 1), "publish q1 id1 h1"), on(send(2, 2), "publish q2 id2 h2"),
			on(send(1, 3), "refused q1 h3"),
			on(send(0, 9), "publish q0 id0 h9", "release q0 id0 h9 cause1 00"),
			on(pk(Puback, 1), "release q1 id1 h1 cause1 00"),
			on(pk(Puback, 1)), // a second PUBACK frees nothing
			on(send(2, 3), "publish q2 id3 h3"),
			on(send(2, 4), "refused q2 h4"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(send(2, 4), "refused q2 h4"), // PUBREC below 0x80 frees nothing
			on(code(pk(Pubrec, 3), codec.NotAuthorized), "release q2 id3 h3 cause1 87"),
			on(send(2, 4), "publish q2 id4 h4"),
			on(code(pk(Pubcomp, 2), codec.PacketIDNotFound), "release q2 id2 h2 cause1 00"),
			on(send(1, 5), "publish q1 id5 h5"),
			on(send(1, 6), "refused q1 h6"),
		}},
		{name: "MQTT-4.9.0-3 MQTT-3.3.4-8 a full window delays nothing else", steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 1})),
			on(send(2, 1), "publish q2 id1 h1"),
			on(ev{Kind: Request, H: 5}, "request id2 h5"),
			on(in(1, 1, 7), "deliver q1 id1 h7 ref0", "puback id1 00"),
			on(in(2, 2, 8), "deliver q2 id2 h8 ref0", "pubrec id2 00"),
			on(pk(Pubrel, 2), "pubcomp id2 00"),
			on(pk(Pubrec, 1), "pubrel id1 h1 00"),
			on(pk(Response, 2), "release q0 id2 h5 cause1 00"),
		}},
		{name: "3.1.1 is bounded by MaxInflight alone", config: Config{MaxInflight: 1}, steps: []step{
			on(upWith(Link{Version: codec.V4, SendMaximum: 9})),
			on(send(1, 1), "publish q1 id1 h1"), on(send(1, 2), "refused q1 h2"),
		}},
		{name: "5.0 is bounded by the smaller of both", config: Config{MaxInflight: 2}, steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 1})),
			on(send(1, 1), "publish q1 id1 h1"), on(send(1, 2), "refused q1 h2"),
			on(down), on(upWith(Link{Version: codec.V5, SendMaximum: 9, Present: true}), "publish q1 id1 h1 dup"),
			on(send(1, 2), "publish q1 id2 h2"), on(send(1, 3), "refused q1 h3"),
		}},
		{name: "MQTT-2.2.1-3 requests and messages share the identifiers", steps: []step{
			on(up(codec.V5)),
			on(ev{Kind: Request, H: 1}, "request id1 h1"), on(send(1, 2), "publish q1 id2 h2"), on(ev{Kind: Request, H: 3}, "request id3 h3"),
			on(pk(Response, 2)), on(pk(Puback, 1)), on(pk(Pubcomp, 1)), on(pk(Pubrec, 1), "pubrel id1 h0 92 dup"),
			on(pk(Response, 3), "release q0 id3 h3 cause1 00"),
			on(pk(Skip, 1), "release q0 id1 h1 cause3 00"),
			on(ev{Kind: Request, H: 4}, "request id4 h4"),
			on(down, "release q0 id4 h4 cause4 00"),
		}},
	})
}

func TestResume(t *testing.T) {
	runCases(t, []stepCase{
		{name: "MQTT-4.4.0-1 MQTT-4.6.0-1 MQTT-4.6.0-4 order of resending", steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "publish q1 id1 h1"), on(send(2, 2), "publish q2 id2 h2"), on(send(2, 3), "publish q2 id3 h3"),
			on(send(1, 4), "publish q1 id4 h4"), on(send(2, 5), "publish q2 id5 h5"), on(send(1, 6), "publish q1 id6 h6"),
			on(pk(Pubrec, 5), "pubrel id5 h5 00"), on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(pk(Puback, 4), "release q1 id4 h4 cause1 00"),
			on(down),
			on(
				up(codec.V5),
				"pubrel id5 h5 00 dup", "pubrel id2 h2 00 dup",
				"publish q1 id1 h1 dup", "publish q2 id3 h3 dup", "publish q1 id6 h6 dup",
			),
			on(send(1, 7), "publish q1 id7 h7"),
			on(pk(Pubcomp, 5), "release q2 id5 h5 cause1 00"),
			on(up(codec.V5), "pubrel id2 h2 00 dup", "publish q1 id1 h1 dup", "publish q2 id3 h3 dup", "publish q1 id6 h6 dup", "publish q1 id7 h7 dup"),
		}},
		{name: "P-4.9-quota-per-connection resends count, PUBRELs do not", steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 5})),
			on(send(2, 1), "publish q2 id1 h1"), on(send(2, 2), "publish q2 id2 h2"), on(send(1, 3), "publish q1 id3 h3"),
			on(pk(Pubrec, 1), "pubrel id1 h1 00"),
			on(down),
			on(upWith(Link{Version: codec.V5, SendMaximum: 1, Present: true}), "pubrel id1 h1 00 dup", "publish q2 id2 h2 dup"),
			on(pk(Pubcomp, 1), "release q2 id1 h1 cause1 00"), // it took no slot of this connection
			on(send(1, 4), "refused q1 h4"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(pk(Pubcomp, 2), "release q2 id2 h2 cause1 00", "publish q1 id3 h3 dup"),
			on(send(1, 4), "refused q1 h4"),
			on(pk(Puback, 3), "release q1 id3 h3 cause1 00"),
			on(send(1, 4), "publish q1 id4 h4"),
		}},
		{name: "acknowledged before it is resent: not resent", steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "publish q1 id1 h1"), on(send(1, 2), "publish q1 id2 h2"), on(send(2, 3), "publish q2 id3 h3"), on(send(1, 4), "publish q1 id4 h4"),
			on(down),
			on(upWith(Link{Version: codec.V5, SendMaximum: 1, Present: true}), "publish q1 id1 h1 dup"),
			on(pk(Puback, 2), "release q1 id2 h2 cause1 00"),
			on(pk(Pubrec, 3), "pubrel id3 h3 00"),
			on(pk(Puback, 1), "release q1 id1 h1 cause1 00", "publish q1 id4 h4 dup"),
			on(pk(Pubcomp, 3), "release q2 id3 h3 cause1 00"),
			on(send(1, 5), "refused q1 h5"),
			on(pk(Puback, 4), "release q1 id4 h4 cause1 00"),
		}},
		{name: "Session Present 0 releases everything in order", steps: []step{
			on(up(codec.V5)),
			on(send(1, 1), "publish q1 id1 h1"), on(send(2, 2), "publish q2 id2 h2"), on(send(2, 3), "publish q2 id3 h3"),
			on(in(2, 9, 9), "deliver q2 id9 h9 ref0", "pubrec id9 00"),
			on(pk(Pubrec, 2), "pubrel id2 h2 00"),
			on(down),
			on(
				upWith(Link{Version: codec.V5}),
				"release q1 id1 h1 cause4 00", "release q2 id3 h3 cause4 00", "release q2 id2 h2 cause5 00",
			),
			on(in(2, 9, 10), "deliver q2 id9 h10 ref0", "pubrec id9 00"),
			on(send(1, 4), "publish q1 id4 h4"),
			on(pk(End, 0), "release q1 id4 h4 cause4 00"),
			on(pk(Puback, 4)),
		}},
		{name: "MQTT-3.1.2-25 what is too large counts as delivered", steps: []step{
			on(upWith(Link{Version: codec.V5, SendMaximum: 1, MaxPacket: 100})),
			on(ev{Kind: Send, QoS: 1, H: 1, Size: 101}, "release q1 id0 h1 cause3 00"),
			on(ev{Kind: Send, QoS: 0, H: 2, Size: 101}, "release q0 id0 h2 cause3 00"),
			on(ev{Kind: Send, QoS: 1, H: 3, Size: 100}, "publish q1 id1 h3"),
			on(pk(Puback, 1), "release q1 id1 h3 cause1 00"),
			on(ev{Kind: Send, QoS: 2, H: 4, Size: 90}, "publish q2 id2 h4"),
			on(down),
			on(upWith(Link{Version: codec.V5, MaxPacket: 89, Present: true}), "release q2 id2 h4 cause3 00"),
			on(send(1, 5), "publish q1 id3 h5"),
			on(pk(Skip, 3), "release q1 id3 h5 cause3 00"),
			on(pk(Puback, 3)),
		}},
		{name: "MQTT-3.3.2-5 what expired is not sent", steps: []step{
			on(up(codec.V5)), // the cases run at instant 100
			on(ev{Kind: Send, QoS: 1, H: 1, Expires: 100}, "release q1 id0 h1 cause2 00"),
			on(ev{Kind: Send, QoS: 0, H: 2, Expires: 99}, "release q0 id0 h2 cause2 00"),
			on(ev{Kind: Send, QoS: 1, H: 3, Expires: 101}, "publish q1 id1 h3"),
		}},
	})
}

// TestSentMessagesDoNotExpire: expiry ends where sending began [MQTT-4.3.3-7].
func TestSentMessagesDoNotExpire(t *testing.T) {
	s := &Session[int]{}
	s.Step(up(codec.V5), 0, nil)
	s.Step(ev{Kind: Send, QoS: 2, H: 1, Expires: 10}, 5, nil)
	s.Step(down, 6, nil)
	if got := s.Step(pk(Tick, 0), 50, nil); len(got) != 0 {
		t.Errorf("Tick did %+v, want nothing", got)
	}
	got := collect(s.Step(up(codec.V5), 50, nil), SendPublish, Release)
	if len(got) != 1 || got[0] != "publish q2 id1 h1 dup" {
		t.Errorf("resuming did %q, want the PUBLISH again", got)
	}
}
