package conformance

import (
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var farewellChecks = []Check{{
	Name:     "farewell/none-before-connack",
	Rules:    []string{"MQTT-3.14.0-1"},
	Breaks:   []string{"MQTT-3.1.0-1"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		reserved, level := t.connectBytes(), t.connectBytes()
		reserved.flags |= connectReserved
		level.level = 9
		starts := []struct {
			what string
			raw  []byte
		}{
			{"CONNECT with the reserved flag", reserved.encode()},
			{"CONNECT with protocol version 9", level.encode()},
			{"CONNECT that is cut off", connectFrame(0x10, []byte{0, 4, 'M', 'Q'})},
			{"PUBLISH", t.publishBytes(0, t.Topic("a"), 0, nil, "x")},
			{"packet type 0", []byte{0, 0}},
			{"an HTTP request", []byte("GET / HTTP/1.1\r\n\r\n")},
		}
		conns := make([]*Conn, len(starts))
		for i, s := range starts {
			conns[i] = t.Open()
			conns[i].Note("%s", s.what)
			conns[i].SendRaw(s.raw...)
		}
		early := func(e *peer.Event) bool { return len(e.Frame) > 0 && e.Frame[0]>>4 == byte(codec.TypeDisconnect) }
		for i, c := range conns {
			// Whether and when these connections end is the business of other checks.
			c.Disturbed(t.Grace(), early)
			es := c.Pending(early)
			t.Judge().That(len(es) == 0, "no DISCONNECT after "+starts[i].what, describeEvents(es, t.Version()))
		}
	},
}, {
	Name: "farewell/content",
	Rules: []string{
		"MQTT-3.14.2-1", "MQTT-3.14.2-2", "P-3.14.2.2.3-reason-string-duplicate", "P-3.14.2.2.5-server-reference-duplicate",
	},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		es := t.farewells()
		for _, e := range es {
			p := e.Packet.(*codec.Disconnect)
			actual := codec.Describe(p, t.Version())
			// 0x8C stands for DISCONNECT in the table of all codes, though not in that of the packet.
			right := p.Reason.AllowedIn(codec.TypeDisconnect, codec.Server) || p.Reason == codec.BadAuthenticationMethod
			t.Judge().That(right, "a Reason Code that a server may send", actual)
			t.Judge("MQTT-3.14.2-2").That(!p.Props.Has(codec.PropSessionExpiry), "no Session Expiry Interval", actual)
			strings, references := countProperty(&p.Props, codec.PropReasonString), countProperty(&p.Props, codec.PropServerReference)
			t.Judge("P-3.14.2.2.3-reason-string-duplicate").That(strings < 2, "at most one Reason String", actual)
			moved := p.Reason == codec.UseAnotherServer || p.Reason == codec.ServerMoved
			t.Judge("P-3.14.2.2.5-server-reference-duplicate").That(references == 0 || references == 1 && moved,
				"at most one Server Reference, with 0x9C or 0x9D", actual)
		}
		if len(es) == 0 {
			t.Inconclusive("the target ends connections without DISCONNECT")
		}
	},
}, {
	Name:     "farewell/is-the-last-packet",
	Rules:    []string{"MQTT-3.14.4-1"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		heard := 0
		for _, c := range t.provokeFarewells() {
			c.AwaitClose(t.Timeout())
			last := c.Pending(anyPacket)
			for i, e := range last {
				if e.Packet == nil || e.Packet.Type() != codec.TypeDisconnect {
					continue
				}
				heard++
				t.Judge().That(i == len(last)-1, "nothing after DISCONNECT", describeEvents(last[i+1:], t.Version()))
				break
			}
		}
		if heard == 0 {
			t.Inconclusive("the target ends connections without DISCONNECT")
		}
	},
}, {
	Name:     "farewell/then-closed",
	Rules:    []string{"MQTT-3.14.4-2", "MQTT-4.13.2-1"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		conns := t.provokeFarewells()
		reserved, level := t.connectBytes(), t.connectBytes()
		reserved.flags |= connectReserved
		level.level = 9
		for _, raw := range [][]byte{reserved.encode(), level.encode()} {
			c := t.Open()
			c.SendRaw(raw...)
			conns = append(conns, c)
		}
		heard := 0
		for _, c := range conns {
			said := func(e *peer.Event) bool {
				switch p := e.Packet.(type) {
				case *codec.Disconnect:
					return true
				case *codec.Connack:
					return p.Reason.Failed()
				}
				return false
			}
			c.Disturbed(t.Timeout(), said)
			for _, e := range c.Pending(said) {
				d, farewell := e.Packet.(*codec.Disconnect)
				end, ended := c.AwaitClose(t.Timeout())
				actual := fmt.Sprintf("still open %v after %s", t.Timeout(), codec.Describe(e.Packet, t.Version()))
				if ended {
					actual = "it ended: " + end.Closed.Error()
				}
				if farewell {
					heard++
					t.Judge().That(ended, "the connection ends after DISCONNECT", actual)
				}
				if !farewell || d.Reason.Failed() {
					t.Judge("MQTT-4.13.2-1").That(ended, "the connection ends after a Reason Code of 0x80 or above", actual)
				}
			}
			if _, ended := c.Closed(); ended && len(c.Pending(said)) == 0 {
				t.Judge("MQTT-4.13.2-1").That(true, "the connection ends after an error, with or without a packet", "it ended without one")
			}
		}
		if heard == 0 {
			t.Inconclusive("the target ends connections without DISCONNECT")
		}
	},
}, {
	Name:     "farewell/reason-string-fits",
	Rules:    []string{"MQTT-3.14.2-3"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run:      func(t *T) { fittingFarewells(t, codec.PropReasonString) },
}, {
	Name:     "farewell/user-property-fits",
	Rules:    []string{"MQTT-3.14.2-4"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run:      func(t *T) { fittingFarewells(t, codec.PropUserProperty) },
}}

// fittingFarewells judges that no DISCONNECT exceeds a Maximum Packet Size for the sake of the
// property. Only what a target sends where there is room for it can be missed where there is none.
func fittingFarewells(t *T, id codec.PropID) {
	size := 0
	for _, e := range t.farewells() {
		if e.Packet.(*codec.Disconnect).Props.Has(id) && (size == 0 || len(e.Frame) < size) {
			size = len(e.Frame)
		}
	}
	if size == 0 {
		t.NotApplicable("the target puts no %s on DISCONNECT", id)
	}
	size--
	if plain := t.Target().Connack; plain != nil {
		size = max(size, plain.Size(codec.V5)) // a client that cannot even be accepted shows nothing
	}
	expected := fmt.Sprintf("no %s in a DISCONNECT of more than %d bytes", id, size)
	es := t.farewells(func(p *codec.Connect) { p.Props.SetUint(codec.PropMaximumPacketSize, uint32(size)) })
	if len(es) == 0 {
		t.Judge().That(true, expected, "no DISCONNECT at all")
	}
	for _, e := range es {
		p := e.Packet.(*codec.Disconnect)
		t.Judge().Thatf(len(e.Frame) <= size || !p.Props.Has(id), expected, "%d bytes: %s", len(e.Frame), codec.Describe(p, t.Version()))
	}
}

// farewells provokes DISCONNECT packets and returns those that came.
func (t *T) farewells(edits ...func(*codec.Connect)) []*peer.Event {
	var out []*peer.Event
	for _, c := range t.provokeFarewells(edits...) {
		c.AwaitClose(t.Timeout())
		out = append(out, c.Pending(ofType(codec.TypeDisconnect))...)
	}
	return out
}

// provokeFarewells returns connections that the target has a reason to end by a DISCONNECT: a
// packet that cannot be read, a second CONNECT, and another client that takes over. Messages are
// under way to each.
func (t *T) provokeFarewells(edits ...func(*codec.Connect)) []*Conn {
	topic := t.Topic("busy")
	qos := t.atMost(1)
	provoke := []func(c *Conn){
		func(c *Conn) { c.SendRaw(t.publishBytes(6, topic, 1, nil, "x")...) },
		func(c *Conn) { c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = c.ClientID() })) },
		func(c *Conn) { t.Connect(func(p *codec.Connect) { p.ClientID = c.ClientID() }) },
	}
	conns := make([]*Conn, len(provoke))
	for i := range conns {
		conns[i] = t.Connect(edits...)
		if len(edits) == 0 {
			conns[i].Subscribe(qos, topic)
		}
	}
	if len(edits) == 0 {
		pub := t.Connect()
		for i := range 5 {
			pub.Publish(topic, qos, fmt.Sprint("under way ", i))
		}
	}
	for i, c := range conns {
		provoke[i](c)
	}
	return conns
}

// countProperty counts how often a property stands.
func countProperty(props *codec.Properties, id codec.PropID) int {
	n := 0
	for p, ok := range props.All() {
		if ok && p.ID == id {
			n++
		}
	}
	return n
}
