package conformance

import (
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var connackPropertyChecks = []Check{{
	Name: "connackprops/within-their-ranges",
	Rules: []string{
		"P-3.2.2.3-connack-duplicates", "P-3.2.2.3.3-receive-maximum-zero", "P-3.2.2.3.4-maximum-qos-value",
		"P-3.2.2.3.5-retain-available-value", "P-3.2.2.3.6-maximum-packet-size-zero", "P-3.2.2.3.11-wildcard-value",
		"P-3.2.2.3.12-subscription-identifiers-value", "P-3.2.2.3.13-shared-value",
	},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, e := range t.connacks() {
			props := &e.Packet.(*codec.Connack).Props
			var twice []string
			for pr, ok := range props.All() {
				if info := pr.ID.Info(); ok && !info.Repeatable && countProp(props, pr.ID) > 1 {
					twice = append(twice, pr.ID.String())
				}
			}
			t.Judge().Thatf(len(twice) == 0, "no property but User Property twice in CONNACK", "twice: %s", strings.Join(twice, ", "))
			for _, p := range []struct {
				rule        string
				id          codec.PropID
				least, most uint32
			}{
				{"P-3.2.2.3.3-receive-maximum-zero", codec.PropReceiveMaximum, 1, 65535},
				{"P-3.2.2.3.4-maximum-qos-value", codec.PropMaximumQoS, 0, 1},
				{"P-3.2.2.3.5-retain-available-value", codec.PropRetainAvailable, 0, 1},
				{"P-3.2.2.3.6-maximum-packet-size-zero", codec.PropMaximumPacketSize, 1, 1<<32 - 1},
				{"P-3.2.2.3.11-wildcard-value", codec.PropWildcardAvailable, 0, 1},
				{"P-3.2.2.3.12-subscription-identifiers-value", codec.PropSubscriptionIDsAvail, 0, 1},
				{"P-3.2.2.3.13-shared-value", codec.PropSharedSubscriptionsAvl, 0, 1},
			} {
				got := props.Uint(p.id, p.most)
				t.Judge(p.rule).Thatf(got >= p.least && got <= p.most, fmt.Sprintf("%s from %d to %d, or absent", p.id, p.least, p.most),
					"present: %v, %d", props.Has(p.id), got)
			}
		}
	},
}, {
	Name:     "connackprops/server-reference",
	Rules:    []string{"P-3.2.2.3.16-server-reference"},
	Breaks:   []string{"MQTT-3.3.1-4"},
	Axis:     Behaviour,
	Versions: MQTT5,
	Run: func(t *T) {
		judge := func(e *peer.Event, code codec.ReasonCode, props *codec.Properties) {
			fits := code == codec.UseAnotherServer || code == codec.ServerMoved
			t.Judge().Note().That(fits || !props.Has(codec.PropServerReference), "Server Reference with the codes 0x9C and 0x9D alone",
				codec.Describe(e.Packet, t.Version()))
		}
		for _, e := range t.connacks() {
			p := e.Packet.(*codec.Connack)
			judge(e, p.Reason, &p.Props)
		}
		for _, e := range t.farewells() {
			p := e.Packet.(*codec.Disconnect)
			judge(e, p.Reason, &p.Props)
		}
	},
}, {
	Name:     "connackprops/client-id-not-replaced",
	Rules:    []string{"P-3.2.2.3.7-assigned-id-use"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open()
		ack := t.accepted(c, t.ConnectPacket())
		id := ack.Props.Text(codec.PropAssignedClientID)
		has := ack.Props.Has(codec.PropAssignedClientID)
		t.Judge().Thatf(!has || id == c.ClientID(), fmt.Sprintf("no Assigned Client Identifier beside the client's own %q", c.ClientID()), "present: %v, %q", has, id)
		t.Judge().Note().Thatf(!has, "Assigned Client Identifier for empty Client Identifiers alone", "present: %v, %q", has, id)
	},
}, {
	Name:     "connackprops/assigned-ids-unique",
	Rules:    []string{"MQTT-3.2.2-16"},
	Versions: MQTT5,
	Run:      assignedIDs,
}, {
	Name:     "connackprops/response-information-on-request",
	Rules:    []string{"MQTT-3.1.2-28"},
	Versions: MQTT5,
	Run: func(t *T) {
		for _, edit := range []func(*codec.Connect){
			func(p *codec.Connect) { p.Props.SetUint(codec.PropRequestResponseInfo, 0) },
			func(*codec.Connect) {},
		} {
			ack := t.accepted(t.Open(), t.ConnectPacket(edit))
			t.Judge().That(!ack.Props.Has(codec.PropResponseInfo), "no Response Information that was not asked for", codec.Describe(ack, t.Version()))
		}
	},
}, {
	Name:     "connackprops/reason-string-fits",
	Rules:    []string{"MQTT-3.2.2-19"},
	Versions: MQTT5,
	Run:      func(t *T) { fittingConnacks(t, codec.PropReasonString) },
}, {
	Name:     "connackprops/user-property-fits",
	Rules:    []string{"MQTT-3.2.2-20"},
	Versions: MQTT5,
	Run:      func(t *T) { fittingConnacks(t, codec.PropUserProperty) },
}}

// unknownMethod is an Authentication Method that no server has.
const unknownMethod = "no-such-method-7"

// withMethod is an edit for Connect: the Authentication Method.
func withMethod(name string) func(*codec.Connect) {
	return func(p *codec.Connect) { p.Props.SetText(codec.PropAuthMethod, name) }
}

// connacks asks for connections in ways that make a server announce what it has to say, and
// returns the answers, refusals among them.
func (t *T) connacks() []*peer.Event {
	asked := []func(*codec.Connect){
		func(*codec.Connect) {},
		func(p *codec.Connect) { p.KeepAlive = 65535 },
		func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, 3600) },
		func(p *codec.Connect) { p.Props.SetUint(codec.PropRequestResponseInfo, 1) },
		func(p *codec.Connect) { p.Props.SetUint(codec.PropReceiveMaximum, 1) },
		func(p *codec.Connect) { p.ClientID = "" },
		withMethod(unknownMethod),
	}
	if t.Target().Capabilities&CapBadLogin != 0 {
		asked = append(asked, t.badLogin)
	}
	var out []*peer.Event
	for _, edit := range asked {
		c := t.Open()
		c.Send(t.ConnectPacket(edit))
		if e := c.Take(t.Timeout(), ofType(codec.TypeConnack)); e != nil {
			out = append(out, e)
		}
	}
	if len(out) == 0 {
		t.Inconclusive("no CONNACK came")
	}
	return out
}

// assignedIDs leaves a session under an identifier that the target assigned, and then connects
// many clients without one at the same time.
func assignedIDs(t *T) {
	const many = 10
	connect := func(edits ...func(*codec.Connect)) *Conn {
		c := t.Open()
		c.Send(t.ConnectPacket(append(edits, func(p *codec.Connect) { p.ClientID = "" })...))
		return c
	}
	first := connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropSessionExpiry, 60) })
	o := first.outcome()
	switch {
	case o.refusedWith(codec.ClientIDNotValid), o.ack == nil && o.ended:
		t.NotApplicable("the target refuses empty Client Identifiers: %s", o.describe(t.Version()))
	case !o.accepted():
		t.Inconclusive("a CONNECT without Client Identifier was not accepted: %s", o.describe(t.Version()))
	}
	owner := map[string]string{}
	judge := func(c *Conn, ack *codec.Connack) bool {
		id := ack.Props.Text(codec.PropAssignedClientID)
		if id != "" {
			t.sessionToRemove(id)
		}
		const expected = "an Assigned Client Identifier that no other session has"
		actual := fmt.Sprintf("%q", id)
		if other, taken := owner[id]; taken {
			actual += ", as " + other + " has"
		}
		_, taken := owner[id]
		owner[id] = c.Name()
		return t.Judge().That(id != "" && !taken, expected, actual)
	}
	if !judge(first, o.ack) {
		return
	}
	first.Disconnect()
	var conns []*Conn
	for range many {
		conns = append(conns, connect())
	}
	for _, c := range conns {
		if o := c.outcome(); o.accepted() && !judge(c, o.ack) {
			return
		}
	}
	if len(owner) < 3 {
		t.Inconclusive("only %d of %d clients without Client Identifier were accepted", len(owner)-1, many)
	}
}

// fittingConnacks judges that no CONNACK, accepting or refusing, exceeds a Maximum Packet Size
// for the sake of the property. Only what a target sends where there is room for it can be missed
// where there is none.
func fittingConnacks(t *T, id codec.PropID) {
	sent := false
	for _, edit := range []func(*codec.Connect){func(*codec.Connect) {}, withMethod(unknownMethod)} {
		ask := func(limit int) connectOutcome {
			_, o := t.try(t.Encode(t.ConnectPacket(edit, func(p *codec.Connect) {
				if limit > 0 {
					p.Props.SetUint(codec.PropMaximumPacketSize, uint32(limit))
				}
			})))
			return o
		}
		free := ask(0)
		if free.ack == nil || !free.ack.Props.Has(id) {
			continue
		}
		sent = true
		bare := *free.ack
		bare.Props = free.ack.Props.Clone()
		bare.Props.Remove(codec.PropReasonString)
		bare.Props.Remove(codec.PropUserProperty)
		for _, limit := range []int{bare.Size(codec.V5), len(free.frame) - 1} {
			o := ask(limit)
			expected := fmt.Sprintf("no %s in a CONNACK of more than %d bytes", id, limit)
			ok := o.ack == nil || len(o.frame) <= limit || !o.ack.Props.Has(id)
			t.Judge().Thatf(ok, expected, "%d bytes: %s", len(o.frame), o.describe(t.Version()))
		}
	}
	if !sent {
		t.Inconclusive("the target puts no %s on CONNACK", id)
	}
}
