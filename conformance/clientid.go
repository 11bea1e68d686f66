package conformance

import (
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

var clientIDChecks = []Check{{
	Name:     "clientid/missing-refused",
	Rules:    []string{"MQTT-3.1.3-3"},
	Breaks:   []string{"MQTT-3.1.3-3"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refusesEach(t, t.Judge(), connectCase{"no payload", func(b *connectBytes) {
			b.anonymous()
			b.emptyPayload()
		}})
	},
}, {
	Name:     "clientid/not-utf8-refused",
	Rules:    []string{"MQTT-3.1.3-4"},
	Breaks:   []string{"MQTT-3.1.3-4", "MQTT-1.5.3-1", "MQTT-1.5.3-2"},
	Breaks5:  []string{"MQTT-3.1.3-4", "MQTT-1.5.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		id := func(s string) func(*connectBytes) {
			return func(b *connectBytes) { b.clientID = field(s) }
		}
		cases := []connectCase{
			{"a surrogate in the Client Identifier", id("\xED\xA0\x80")},
			{"a broken sequence in the Client Identifier", id("\xC3\x28")},
			{"bytes that UTF-8 never has in the Client Identifier", id("\xFF\xFE")},
		}
		if !t.V5() {
			cases[2] = connectCase{"U+0000 in the Client Identifier", id("a\x00")}
		}
		refusesEach(t, t.Judge(), cases...)
	},
}, {
	Name:     "clientid/guaranteed-ids-accepted",
	Rules:    []string{"MQTT-3.1.3-5"},
	Versions: MQTT311 | MQTT5,
	Run:      guaranteedIDs,
}, {
	Name:     "clientid/empty-gets-a-unique-one",
	Rules:    []string{"MQTT-3.1.3-6"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run:      emptyIDs,
}, {
	Name:     "clientid/empty-without-clean-session-refused",
	Rules:    []string{"MQTT-3.1.3-8"},
	Breaks:   []string{"MQTT-3.1.3-7"},
	Versions: MQTT311,
	Run: func(t *T) {
		t.Connect().Disconnect()
		b := t.connectBytes()
		b.flags &^= connectClean
		b.clientID = field("")
		_, o := t.tryAgain(b.encode())
		const expected = "20 02 00 02, then the connection ends"
		switch {
		case o.refusedWith(codec.ReturnServerUnavailable):
			t.Inconclusive("the target is not available: %s", o.describe(t.Version()))
		case o.ack == nil && o.ended:
			t.Judge().Warn().That(false, expected, o.describe(t.Version()))
		default:
			t.Judge().That(o.refusedWith(codec.ReturnIdentifierRejected) && o.ended, expected, o.describe(t.Version()))
		}
	},
}, {
	Name:     "clientid/empty-with-clean-start-0",
	Rules:    []string{"MQTT-3.1.3-6"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open()
		c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID, p.CleanStart = "", false }))
		o := c.outcome()
		if !o.accepted() {
			t.Judge().That(o.ended, "CONNACK with an Assigned Client Identifier, or the connection ends", o.describe(t.Version()))
			return
		}
		id := o.ack.Props.Text(codec.PropAssignedClientID)
		t.Judge().That(id != "", "an Assigned Client Identifier", o.describe(t.Version()))
		c.Disconnect()
	},
}, {
	Name:     "clientid/assigned-id-is-the-clients",
	Rules:    []string{"MQTT-3.1.3-7"},
	Versions: MQTT5,
	Needs:    CapSessionExpiry,
	Run: func(t *T) {
		c := t.Open()
		c.Send(t.ConnectPacket(func(p *codec.Connect) {
			p.ClientID = ""
			p.Props.SetUint(codec.PropSessionExpiry, 60)
		}))
		o := c.outcome()
		if !o.accepted() {
			t.NotApplicable("the target refuses an empty Client Identifier: %s", o.describe(t.Version()))
		}
		id := o.ack.Props.Text(codec.PropAssignedClientID)
		t.Judge().That(id != "", "an Assigned Client Identifier", o.describe(t.Version()))
		if id == "" {
			return
		}
		t.sessionToRemove(id)
		if o.ack.Props.Uint(codec.PropSessionExpiry, 60) == 0 {
			t.NotApplicable("the target keeps no Session after the connection")
		}
		c.Subscribe(0, t.Topic("a"))
		c.Disconnect()
		again := t.Open()
		again.Send(t.ConnectPacket(t.Persistent(id)))
		o = again.outcome()
		if !o.accepted() {
			t.Inconclusive("the assigned Client Identifier %q was refused: %s", id, o.describe(t.Version()))
		}
		t.settle()
		t.Judge().Crossing(o.ack.SessionPresent, "Session Present 1 under the assigned Client Identifier", o.describe(t.Version()))
	},
}, {
	Name:     "clientid/other-ids-accepted-or-refused",
	Rules:    []string{"MQTT-3.1.3-9"},
	Rules5:   []string{"MQTT-3.1.3-8", "P-3.1.3.1-other-client-ids"},
	Versions: MQTT311 | MQTT5,
	Run:      otherIDs,
}, {
	Name:     "clientid/long-ids-told-apart",
	Rules:    []string{"P-3.1.3.1-other-client-ids"},
	Versions: MQTT5,
	Run: func(t *T) {
		long := t.ClientID() + strings.Repeat("x", 280)
		var conns []*Conn
		for _, id := range []string{long + "1", long + "2", long[:50] + "1", long[:50] + "2"} {
			c := t.Open()
			c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id }))
			if !c.outcome().accepted() {
				continue // clientid/other-ids-accepted-or-refused judges how
			}
			conns = append(conns, c)
		}
		if len(conns) < 2 {
			t.NotApplicable("the target refuses long Client Identifiers")
		}
		for _, c := range conns {
			t.Judge().StaysOpen(c)
		}
	},
}}

// sessionToRemove has the session removed from the target after the check.
func (t *T) sessionToRemove(id string) {
	t.mu.Lock()
	t.sessions[id] = true
	t.mu.Unlock()
}

// letters are the characters that every server must accept in a Client Identifier.
const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// guaranteedIDs connects with ids that every server must accept: one and 23 characters long,
// and together of all letters and digits.
func guaranteedIDs(t *T) {
	var ids []string
	if t.Config().ClientIDPrefix == "" {
		// The runs of both versions must not take the same one-letter id from each other.
		n := 2*t.run.checkNumber(t.check, t.version, t.attempt) + int(t.run.id[0])
		ids = append(ids, letters[n%len(letters):][:1])
	}
	rest := letters
	for rest != "" {
		id := t.ClientID()
		if len(id) >= 23 {
			t.Inconclusive("with --client-id-prefix no Client Identifier of 23 characters can be made")
		}
		n := min(23-len(id), len(rest))
		id += rest[:n]
		rest = rest[n:]
		ids = append(ids, id+letters[:23-len(id)])
	}
	t.Connect().Disconnect()
	for _, id := range ids {
		c, o := t.tryAgain(t.Encode(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id })))
		switch {
		case o.accepted():
			c.Disconnect()
		case o.ack != nil && t.policyRefusal(o.ack.Reason),
			o.refusedWith(codec.ClientIDNotValid) && (t.Config().Username != "" || t.Config().ClientIDPrefix != ""):
			t.Inconclusive("the target refused for a reason of its own: %s", o.describe(t.Version()))
		}
		t.Judge().Thatf(o.accepted(), "CONNACK with code 0", "Client Identifier %q: %s", id, o.describe(t.Version()))
	}
}

// emptyIDs connects two clients without a Client Identifier at the same time. A server may
// refuse both.
func emptyIDs(t *T) {
	connect := func() (*Conn, connectOutcome) {
		c := t.Open()
		c.Send(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = "" }))
		return c, c.outcome()
	}
	a, first := connect()
	b, second := connect()
	if !first.accepted() || !second.accepted() {
		if first.accepted() != second.accepted() {
			t.Inconclusive("one of two clients without a Client Identifier was refused: %s; %s", first.describe(t.Version()), second.describe(t.Version()))
		}
		rejected := t.V5() || first.ack == nil || first.refusedWith(codec.ReturnIdentifierRejected)
		if !rejected || t.V5() && first.ack != nil && t.policyRefusal(first.ack.Reason) {
			t.Inconclusive("the target refused for a reason of its own: %s", first.describe(t.Version()))
		}
		t.Judge().That(first.ended && second.ended, "two clients accepted, or both connections end", first.describe(t.Version()))
		return
	}
	if t.V5() {
		ids := [2]string{first.ack.Props.Text(codec.PropAssignedClientID), second.ack.Props.Text(codec.PropAssignedClientID)}
		t.Judge().Thatf(ids[0] != "" && ids[1] != "" && ids[0] != ids[1], "two different Assigned Client Identifiers", "%q and %q", ids[0], ids[1])
	}
	t.Judge().StaysOpen(a)
	t.Judge().StaysOpen(b)
	if _, ended := a.Closed(); ended {
		return
	}
	// Each is a client of its own: what one subscribes to must not reach the other.
	ta, tb := t.Topic("a"), t.Topic("b")
	a.Subscribe(1, ta)
	b.Subscribe(1, tb)
	publisher := t.Connect()
	publisher.Publish(ta, 1, "for a")
	publisher.Publish(tb, 1, "for b")
	t.Judge().Arrives(a, ta, "for a")
	t.Judge().Arrives(b, tb, "for b")
	t.Judge().Silent(a, "message for the other client", onTopic(tb), a.Ping)
	t.Judge().Silent(b, "message for the other client", onTopic(ta), b.Ping)
}

// otherIDs connects with ids that a server may refuse. How it does that is judged.
func otherIDs(t *T) {
	base := t.ClientID()
	ids := []string{
		base + strings.Repeat("a", max(1, 24-len(base))), base + strings.Repeat("b", 200), base + " x", base + "/x", base + "-ü",
	}
	if t.V5() {
		ids = append(ids, base+"\x01")
		// A CONNECT of this size is refused for its size where a limit is announced.
		if limit := t.Target().MaximumPacketSize; limit == 0 || limit > 70_000 {
			ids = append(ids, base+strings.Repeat("c", codec.MaxStringLen-len(base)))
		}
	}
	const expected = "CONNACK with code 0, or a refusal and the connection ends"
	var odd []string
	for _, id := range ids {
		c, o := t.tryAgain(t.Encode(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id })))
		name := fmt.Sprintf("Client Identifier of %d bytes %.30q", len(id), id)
		switch {
		case o.accepted():
			t.Judge().That(true, expected, name+": accepted")
			if t.V5() {
				t.Judge("P-3.1.3.1-other-client-ids").That(true, expected, name+": accepted")
			}
			c.Disconnect()
			continue
		case t.V5():
			t.Judge().That(o.ended, expected, name+": "+o.describe(t.Version()))
			t.Judge("P-3.1.3.1-other-client-ids").That(o.ended || o.ack == nil, expected, name+": "+o.describe(t.Version()))
		case o.ack == nil && t.minds(len(id)):
			t.Note("%s: a CONNECT of that size is not answered, whatever its Client Identifier", name)
		case o.ack == nil:
			odd = append(odd, name+": "+o.describe(t.Version()))
		case o.refusedWith(codec.ReturnIdentifierRejected):
			t.Judge().That(o.ended, expected, name+": "+o.describe(t.Version()))
		default:
			t.Note("%s: refused for another reason: %s", name, o.describe(t.Version()))
		}
		if !o.ended {
			break // each would wait for the end in vain
		}
	}
	if len(odd) > 0 {
		t.Judge().Warn().That(false, "CONNACK 20 02 00 02 before the end", strings.Join(odd, "; "))
	}
	if len(t.findings) == 0 {
		t.Inconclusive("every unusual Client Identifier was refused for another reason")
	}
}

// minds reports whether the target ends a connection for a CONNECT whose size comes from
// elsewhere: under 3.1.1 a limit on packets is not announced.
func (t *T) minds(size int) bool {
	if size <= 64 {
		return false
	}
	_, o := t.tryAgain(t.Encode(t.ConnectPacket(withWill(t.Topic("size"), strings.Repeat("s", size), 0))))
	return o.ack == nil && o.ended
}
