package conformance

import (
	"fmt"
	"slices"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var connackChecks = []Check{{
	Name:     "connack/first-of-several-answers",
	Rules:    []string{"MQTT-3.2.0-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.SendRaw(slices.Concat(t.Encode(t.ConnectPacket()),
			t.Encode(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: t.Topic("a")}}}),
			t.Encode(&codec.Pingreq{}))...)
		judgeFirst(t, c)
	},
}, {
	Name:     "connack/before-queued-messages",
	Rules:    []string{"MQTT-3.2.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		id, topic := t.ClientID(), t.Topic("a")
		sleeper := t.Connect(t.Persistent(id))
		sleeper.Subscribe(1, topic)
		sleeper.Disconnect()
		publisher := t.Connect()
		for range 3 {
			publisher.Publish(topic, 1, "queued")
		}
		c := t.Open()
		c.Send(t.ConnectPacket(t.Persistent(id)))
		judgeFirst(t, c)
	},
}, {
	Name:     "connack/nothing-before-connect",
	Rules:    []string{"MQTT-3.2.0-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Open()
		t.Judge().Silent(c, "packet before CONNECT", anyPacket, t.Quiet)
	},
}, {
	Name:     "connack/only-one",
	Rules:    []string{"MQTT-3.2.0-2"},
	Breaks:   []string{"MQTT-3.1.0-2"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Subscribe(0, t.Topic("a"))
		c.Ping()
		c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = c.ClientID() }))
		second := ofType(codec.TypeConnack)
		t.Judge().Silent(c, "second CONNACK", second, func() { c.Disturbed(t.Timeout(), second) })
	},
}, {
	Name:     "connack/clean-session-starts-anew",
	Rules:    []string{"MQTT-3.2.2-1"},
	Rules5:   []string{"MQTT-3.2.2-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		id := t.ClientID()
		c := t.Connect(t.Persistent(id))
		c.Subscribe(0, t.Topic("a"))
		c.Disconnect()
		_, o := t.try(t.Encode(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id })))
		if !o.accepted() {
			t.Inconclusive("the second CONNECT was not accepted: %s", o.describe(t.Version()))
		}
		// Under 5.0 the reserved bits have a rule of their own.
		flags := o.frame[2]
		if t.V5() {
			flags = connackFlags(o.frame) & 1
		}
		t.Judge().Thatf(flags == 0, "Session Present 0", "% X", o.frame)
	},
}, {
	Name:     "connack/refusals",
	Rules:    []string{"MQTT-3.2.2-5", "MQTT-3.2.2-4", "MQTT-3.2.2-6"},
	Rules5:   []string{"MQTT-3.2.2-7", "MQTT-3.2.2-6", "MQTT-3.2.2-8", "MQTT-3.2.2-1", "P-3.1.4-reject-codes"},
	Breaks:   []string{"MQTT-3.1.3-7"},
	Breaks5:  []string{"MQTT-3.1.2-12"},
	Versions: MQTT311 | MQTT5,
	Run:      refusals,
}, {
	Name:     "connack/ends-with-properties",
	Rules:    []string{"P-3.2.3-no-payload"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open().Manual()
		c.Send(t.ConnectPacket())
		connack := c.Take(t.Timeout(), ofType(codec.TypeConnack))
		if connack == nil {
			t.Inconclusive("no CONNACK")
		}
		judgeEnd(t, connack)
		topic := t.Topic("a")
		ack := func(typ codec.Type) {
			if e := c.Take(t.Timeout(), ofType(typ)); e != nil {
				judgeEnd(t, e)
			}
		}
		if t.Target().MaximumQoS >= 1 {
			c.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 1})
			ack(codec.TypePuback)
		}
		if t.Target().MaximumQoS >= 2 {
			c.Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: 2})
			ack(codec.TypePubrec)
			c.Send(&codec.Pubrel{PacketID: 2})
			ack(codec.TypePubcomp)
		}
		// Taking over the Client Identifier provokes a DISCONNECT, where the target sends any.
		t.Connect(func(p *codec.Connect) { p.ClientID = c.ClientID() })
		c.AwaitClose(t.Timeout())
		for _, e := range c.Pending(ofType(codec.TypeDisconnect)) {
			judgeEnd(t, e)
		}
	},
}}

// judgeFirst judges that the first packet on a connection is CONNACK. A server that closes
// without one has sent nothing else first.
func judgeFirst(t *T, c *Conn) {
	e := c.Take(t.Timeout(), anyPacket)
	if e == nil {
		t.Inconclusive("%s: nothing came back", c.Name())
	}
	_, ok := e.Packet.(*codec.Connack)
	t.Judge("MQTT-3.2.0-1").That(ok, "CONNACK before every other packet", describeEvents([]*peer.Event{e}, t.Version()))
}

// connackFlags returns the Connect Acknowledge Flags, wherever the Remaining Length ends.
func connackFlags(frame []byte) byte {
	if _, n := codec.Varint(frame[1:]); n > 0 && len(frame) > 1+n {
		return frame[1+n]
	}
	return 0
}

// judgeEnd judges that a packet without a payload ends with its properties.
func judgeEnd(t *T, e *peer.Event) {
	_, n := codec.Varint(e.Frame[1:])
	if n <= 0 {
		t.Inconclusive("a packet cannot be read: % X", e.Frame)
	}
	body := e.Frame[1+n:]
	fixed := 2 // flags and code, or the Packet Identifier
	switch e.Packet.(type) {
	case *codec.Disconnect:
		fixed = 1
	case *codec.Puback, *codec.Pubrec, *codec.Pubrel, *codec.Pubcomp:
		fixed = 3
	}
	surplus := 0
	if len(body) > fixed { // shorter forms leave out the properties
		length, n := codec.Varint(body[fixed:])
		if n <= 0 {
			t.Inconclusive("the Property Length cannot be read: % X", e.Frame)
		}
		surplus = len(body) - fixed - n - int(length)
	}
	t.Judge("P-3.2.3-no-payload").Thatf(surplus <= 0, "nothing behind the properties of "+e.Packet.Type().String(), "%d bytes: % X", max(surplus, 0), e.Frame)
}

// refusals provokes refusals, each in a way that every server should refuse, and judges what
// the CONNACK says, where one comes, and that the connection ends.
func refusals(t *T) {
	id := t.ClientID()
	if t.Target().Capabilities&CapSessionExpiry != 0 {
		// With a session in store, a careless server has something to report.
		c := t.Connect(t.Persistent(id))
		c.Subscribe(0, t.Topic("a"))
		c.Disconnect()
	}
	resume := func() *connectBytes { return t.connectBytes(t.Persistent(id)) }
	level := resume()
	level.level = 9
	attempts := []*connectBytes{level}
	if t.V5() {
		flags := resume()
		flags.will(t.Topic("will"), "gone")
		flags.flags |= connectReserved | connectWill | connectWillQoS1 | connectWillQoS2
		// An unknown method of authentication is refused with a code of its own, where the others
		// are often met with a bare close.
		method := t.connectBytes(t.Persistent(id), func(p *codec.Connect) { p.Props.SetText(codec.PropAuthMethod, "mqlab-unknown") })
		attempts = append(attempts, flags, method)
	} else {
		empty := resume()
		empty.clientID = field("")
		attempts = append(attempts, empty)
		if t.only311() {
			newer := resume()
			newer.level, newer.props = byte(codec.V5), []byte{0}
			attempts = append(attempts, newer)
		}
	}
	if t.Target().Capabilities&CapBadLogin != 0 {
		attempts = append(attempts, t.connectBytes(t.Persistent(id), t.badLogin))
	}
	seen := 0
	for _, b := range attempts {
		_, o := t.try(b.encode())
		if o.accepted() {
			t.Note("not refused: % X", b.encode())
			continue
		}
		if t.V5() {
			t.Judge("P-3.1.4-reject-codes").That(o.ended || o.ack == nil, "no CONNACK without the end of the connection", o.describe(t.Version()))
		}
		if o.ack == nil || t.V5() && !o.ack.Reason.Failed() && b.level != byte(t.Version()) {
			continue // an answer in the manner of another version
		}
		seen++
		t.Judge("MQTT-3.2.2-5", "MQTT-3.2.2-7").That(o.ended, "the connection ends after the refusal", o.describe(t.Version()))
		flags := connackFlags(o.frame)
		t.Judge("MQTT-3.2.2-4", "MQTT-3.2.2-6").Thatf(flags&1 == 0, "Session Present 0 in a refusal", "% X", o.frame)
		// What answers another protocol level may follow another version of MQTT.
		if b.level == byte(t.Version()) {
			judgeCode(t, o)
		}
	}
	_, plain := t.try(t.Encode(t.ConnectPacket()))
	if plain.ack != nil {
		judgeCode(t, plain)
	}
	if seen == 0 {
		t.Inconclusive("no refusal came with a CONNACK")
	}
}

// judgeCode judges the code of a CONNACK, and under 5.0 the reserved bits of its flags.
func judgeCode(t *T, o connectOutcome) {
	if !t.V5() {
		t.Judge("MQTT-3.2.2-6").Thatf(o.ack.Reason <= codec.ReturnNotAuthorized, "a return code from 0 to 5", "%d", o.ack.Reason)
		return
	}
	t.Judge("MQTT-3.2.2-8").That(o.ack.Reason.AllowedIn(codec.TypeConnack, codec.Server),
		"a Reason Code that CONNACK may carry", fmt.Sprintf("0x%02X", uint8(o.ack.Reason)))
	flags := connackFlags(o.frame)
	t.Judge("MQTT-3.2.2-1").Thatf(flags <= 1, "reserved bits 0", "flags 0x%02X", flags)
}
