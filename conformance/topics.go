package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// matchTable says which of the Topic Names each filter matches. It is written down rather than
// computed, so that a mistake in a matcher cannot hide in it.
var matchTable = []struct {
	filter string
	names  []string
}{
	{"sport/#", []string{"sport", "sport/", "sport/a", "sport/a/b"}},
	{"sport/+", []string{"sport/", "sport/a"}},
	{"+/+", []string{"sport/", "sport/a", "/finance"}},
	{"/+", []string{"/finance"}},
	{"+", []string{"sport", "finance"}},
	{"#", []string{"sport", "sport/", "sport/a", "sport/a/b", "/finance", "finance", "a//b"}},
	{"+/a/#", []string{"sport/a", "sport/a/b"}},
	{"a/+/b", []string{"a//b"}},
	{"sport/+/b", []string{"sport/a/b"}},
}

var matchNames = []string{"sport", "sport/", "sport/a", "sport/a/b", "/finance", "finance", "a//b"}

// exactFilters are equal to nobody but themselves, however alike some look. The first plainOnes
// differ in case, slashes and spaces.
var exactFilters = []string{
	"a/b", "A/b", "a//b", "/a/b", "a/b/", "a", "A", "a b", "caf\u00E9", "cafe\u0301", "\uFEFFa", "%41",
}

const plainOnes = 8

var topicChecks = []Check{{
	Name:     "topics/wildcards-match-by-level",
	Rules:    []string{"MQTT-4.7.1-3"},
	Rules5:   []string{"P-4.7.1-match-table"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapWildcard,
	Run: func(t *T) {
		pub := t.Connect()
		var subs []*Conn
		for _, row := range matchTable {
			c := t.Connect()
			c.Subscribe(1, t.Topic(row.filter))
			subs = append(subs, c)
		}
		for _, n := range matchNames {
			pub.Publish(t.Topic(n), 1, "m")
		}
		for i, row := range matchTable {
			for _, n := range row.names {
				if !subs[i].Disturbed(t.Timeout(), withPayload(t.Topic(n), "m")) {
					t.Judge().Crossing(false, fmt.Sprintf("%q matches %q", row.filter, n), "no message")
					return
				}
			}
			t.Fence(pub, subs[i], t.Topic(row.names[0]), 1)
			for _, n := range matchNames {
				arrived := len(subs[i].Pending(withPayload(t.Topic(n), "m"))) > 0
				if want := slices.Contains(row.names, n); want || arrived {
					t.Judge().Thatf(arrived == want, fmt.Sprintf("%q matches %q: %v", row.filter, n, want), "%v", arrived)
				}
			}
		}
	},
}, {
	Name:     "topics/leading-slash-is-a-level",
	Rules:    []string{"MQTT-4.7.1-3"},
	Rules5:   []string{"P-4.7.1-match-table"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapWildcard,
	Global:   true,
	Run: func(t *T) {
		// The last level is unique, so that filters at the root see no more than they must.
		name := "/" + strings.ReplaceAll(t.Topic("root"), "/", "-")
		pub, every, root, level, plain := t.Connect(), t.Connect(), t.Connect(), t.Connect(), t.Connect()
		every.Subscribe(1, "+"+name)
		root.Subscribe(1, "/+")
		level.Subscribe(1, "+")
		plain.Subscribe(1, name)
		pub.Publish(name, 1, "m")
		if plain.Take(t.Timeout(), withPayload(name, "m")) == nil {
			t.Inconclusive("nobody gets messages on %q", name)
		}
		t.Judge().Arrives(every, name, "m")
		t.Judge().Arrives(root, name, "m")
		t.Judge().Silent(level, "message on "+name+" for the filter +", onTopic(name), func() { level.Ping(); t.Quiet() })
	},
}, {
	Name:     "topics/dollar-hidden-from-wildcards",
	Rules:    []string{"MQTT-4.7.2-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapWildcard,
	Global:   true,
	Run: func(t *T) {
		name := strings.ReplaceAll(t.Topic("root"), "/", "-")
		dollar := "$" + name + "/x"
		pub, watch := t.Connect(), t.Connect()
		any := 0
		for _, f := range []string{"#", "+/x", "+/#"} {
			ack := watch.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: f, QoS: 1}}})
			if !ack.Reasons[0].Failed() {
				any++
			}
		}
		if any == 0 {
			t.NotApplicable("no filter that begins with a wildcard is granted")
		}
		// The target may end the connection that publishes to such a topic.
		pub.Send(&codec.Publish{Topic: dollar, QoS: 1, PacketID: pub.NextID(), Payload: []byte("m")})
		pub.Take(t.Grace(), ofType(codec.TypePuback))
		other := t.Connect()
		other.Publish(name+"/x", 1, "marker")
		if watch.Take(t.Timeout(), withPayload(name+"/x", "marker")) == nil {
			t.Inconclusive("the filters do not even get an ordinary message")
		}
		t.Judge().Silent(watch, "message whose topic begins with $", func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && strings.HasPrefix(p.Topic, "$")
		}, t.Quiet)
	},
}, {
	Name:     "topics/compared-byte-by-byte",
	Rules:    []string{"MQTT-4.7.3-4"},
	Rules5:   []string{"MQTT-4.7.3-4", "P-4.7.3-case-and-slash"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub := t.Connect()
		subs := make([]*Conn, len(exactFilters))
		for i, f := range exactFilters {
			// A policy may keep such topics out, by a code or by closing.
			c := t.Connect()
			c.Send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: t.Topic(f), QoS: 1}}})
			if e := c.Take(t.Timeout(), subackFor(1)); e != nil && slices.Equal(e.Packet.(*codec.Suback).Reasons, []codec.ReasonCode{codec.GrantedQoS1}) {
				subs[i] = c
			}
		}
		t.settle()
		for i, f := range exactFilters {
			if subs[i] == nil {
				continue
			}
			id := pub.NextID()
			pub.Send(&codec.Publish{Topic: t.Topic(f), QoS: 1, PacketID: id, Payload: []byte(f)})
			e := pub.Take(t.Timeout(), ofType(codec.TypePuback))
			if e == nil {
				pub = t.Connect()
			}
			if e == nil || e.Packet.(*codec.Puback).Reason.Failed() {
				subs[i] = nil
			}
		}
		if !slices.ContainsFunc(subs, func(c *Conn) bool { return c != nil }) {
			t.Inconclusive("every topic is refused")
		}
		for i, f := range exactFilters {
			if subs[i] == nil {
				continue
			}
			if !subs[i].Disturbed(t.Timeout(), withPayload(t.Topic(f), f)) {
				t.Inconclusive("%q is granted and %q does not arrive", t.Topic(f), f)
			}
			t.Fence(pub, subs[i], t.Topic(f), 1)
		}
		for i, f := range exactFilters {
			if subs[i] == nil {
				continue
			}
			rule := t.Judge()
			if t.V5() && i < plainOnes {
				rule = t.Judge("P-4.7.3-case-and-slash")
			}
			foreign := subs[i].Pending(func(e *peer.Event) bool {
				p, ok := e.Packet.(*codec.Publish)
				return ok && string(p.Payload) != f && !strings.HasPrefix(string(p.Payload), "fence ")
			})
			rule.Thatf(len(foreign) == 0, fmt.Sprintf("nothing but its own messages for the filter %q", f), "%s", describeEvents(foreign, t.Version()))
		}
	},
}, {
	Name:     "topics/root-slash-and-space",
	Rules5:   []string{"MQTT-4.7.3-1", "P-4.7.3-case-and-slash"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Global:   true,
	Run: func(t *T) {
		pub := t.Connect()
		for _, name := range []string{"/", " "} {
			c := t.Connect()
			r := c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: name, QoS: 1}}}).Reasons[0]
			if r.Failed() && r != codec.TopicFilterInvalid {
				t.Inconclusive("the filter %q is refused by a policy: %s", name, r)
			}
			t.Judge("MQTT-4.7.3-1").Thatf(!r.Failed(), fmt.Sprintf("the filter %q granted, as one character is enough", name), "%s", r)
			if r != codec.GrantedQoS1 {
				return
			}
			payload := t.unique() + name
			r = pub.PublishPacket(&codec.Publish{Topic: name, QoS: 1, Payload: []byte(payload)})
			if r.Failed() && r != codec.TopicNameInvalid {
				t.Inconclusive("the topic %q is refused by a policy: %s", name, r)
			}
			t.Judge("MQTT-4.7.3-1").Thatf(!r.Failed(), fmt.Sprintf("the topic %q accepted, as one character is enough", name), "%s", r)
			if r.Failed() {
				return
			}
			t.Judge("P-4.7.3-case-and-slash").Arrives(c, name, payload)
		}
	},
}}
