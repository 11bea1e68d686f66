package conformance

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// topicNameChecks send Topic Names and filters that no packet may hold.
var topicNameChecks = []Check{{
	Name:     "topics/wildcard-in-name-refused",
	Rules:    []string{"MQTT-4.7.1-1"},
	Rules5:   []string{"MQTT-4.7.0-1"},
	Breaks:   []string{"MQTT-4.7.1-1", "MQTT-3.3.2-2"},
	Breaks5:  []string{"MQTT-4.7.0-1", "MQTT-3.3.2-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watch := t.watcher()
		var frames [][]byte
		for _, name := range []string{"+", "a/#", "a/+/b"} {
			frames = append(frames, t.rawPublish(7, t.Topic(name), "bad"))
		}
		t.refuseNames(frames)
		t.unseen(watch, func(p *codec.Publish) bool { return strings.ContainsAny(p.Topic, "+#") })
	},
}, {
	Name:     "topics/wildcard-in-will-topic",
	Rules:    []string{"MQTT-4.7.1-1"},
	Rules5:   []string{"MQTT-4.7.0-1"},
	Breaks:   []string{"MQTT-4.7.1-1"},
	Breaks5:  []string{"MQTT-4.7.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watch := t.watcher()
		c := t.Open()
		frame := t.Encode(t.ConnectPacket(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: t.Topic("w/!"), Payload: []byte("bad")}
		}))
		c.SendRaw(t.swapText(frame, t.Topic("w/!"), t.Topic("w/#"))...)
		if !t.refusedWill(c) {
			// Harmless unless it is published.
			c.Drop()
			t.unseen(watch, func(p *codec.Publish) bool { return strings.ContainsAny(p.Topic, "+#") })
		}
	},
}, {
	Name:     "topics/empty-name-refused",
	Rules:    []string{"MQTT-4.7.3-1"},
	Breaks:   []string{"MQTT-4.7.3-1"},
	Breaks5:  []string{"MQTT-4.7.3-1", "P-3.3.2.1-empty-topic-without-alias"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		frames := [][]byte{t.rawPublish(7, "", "bad"), t.rawPublish(0, "", "bad")}
		if !t.V5() {
			t.Refuse(t.Judge(), frames)
			return
		}
		t.each(frames, func(c *Conn) bool {
			acked := func(e *peer.Event) bool {
				typ, _, reason := ackOf(e)
				return typ == codec.TypePuback && !reason.Failed()
			}
			return t.refusedName(c, acked, false)
		})
	},
}, {
	Name:     "topics/empty-filter-refused",
	Rules:    []string{"MQTT-4.7.3-1"},
	Breaks:   []string{"MQTT-4.7.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refuseFilters(t, "")
		// An UNSUBSCRIBE that changes nothing has to be answered: an answer that does not refuse is a
		// warning at most, whether it reports success or that no subscription existed.
		c, unsuback := t.Connect(), ofType(codec.TypeUnsuback)
		c.SendRaw(t.rawUnsubscribe(7, "")...)
		c.Disturbed(t.Timeout(), unsuback)
		es := c.Pending(unsuback)
		refused := slices.ContainsFunc(es, func(e *peer.Event) bool {
			return slices.ContainsFunc(e.Packet.(*codec.Unsuback).Reasons, codec.ReasonCode.Failed)
		})
		_, ended := c.Closed()
		actual := describeEvents(es, t.Version())
		if ended {
			actual += ", and the end"
		}
		t.Judge().Warn().That(refused || ended && len(es) == 0, "the connection ends or the answer refuses", actual)
	},
}, {
	Name:     "topics/empty-will-topic",
	Rules:    []string{"MQTT-4.7.3-1"},
	Breaks:   []string{"MQTT-4.7.3-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Global:   true,
	Run: func(t *T) {
		watch := t.watcher()
		if t.Target().Capabilities&CapWildcard != 0 {
			// Only a filter that begins with a wildcard could match.
			watch.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: "#", QoS: 1}}})
		}
		payload := "bad " + t.unique()
		c := t.Open()
		c.SendRaw(t.Broken(t.ConnectPacket(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: t.Topic("w"), Payload: []byte(payload)}
		}), codec.BreakWillTopicEmpty)...)
		if !t.refusedWill(c) {
			c.Drop()
			t.unseen(watch, func(p *codec.Publish) bool { return p.Topic == "" && string(p.Payload) == payload })
		}
	},
}, {
	Name:     "topics/nul-refused",
	Rules:    []string{"MQTT-4.7.3-2"},
	Breaks:   []string{"MQTT-4.7.3-2", "MQTT-1.5.3-2", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.8.3-1"},
	Breaks5:  []string{"MQTT-4.7.3-2", "MQTT-1.5.4-2", "MQTT-3.10.3-1", "MQTT-3.3.2-1", "MQTT-3.8.3-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		watch := t.watcher()
		bad := t.Topic("a\x00b")
		publish := t.rawPublish(7, bad, "bad")
		requests := [][]byte{t.rawSubscribe(7, rawFilter{bad, 0}), t.rawUnsubscribe(7, bad)}
		if t.V5() {
			t.refuseNames([][]byte{publish})
			t.each(requests, func(c *Conn) bool { return t.Judge().Warn().RefusedRequest(c, denialPasses) })
		} else {
			t.Refuse(t.Judge(), append(requests, publish))
		}
		t.unseen(watch, func(p *codec.Publish) bool { return strings.Contains(p.Topic, "\x00") || string(p.Payload) == "bad" })
	},
}, {
	Name:     "topics/nul-in-will-topic-refused",
	Rules5:   []string{"MQTT-4.7.3-2"},
	Breaks5:  []string{"MQTT-4.7.3-2", "MQTT-1.5.4-2", "MQTT-3.1.3-11"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Open()
		frame := t.Encode(t.ConnectPacket(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: t.Topic("w!w"), Payload: []byte("bad")}
		}))
		c.SendRaw(t.swapText(frame, t.Topic("w!w"), t.Topic("w\x00w"))...)
		t.refusedWill(c)
		_ = c.Close()
	},
}}

// watcher opens a connection that sees everything below the check's topics, where the target
// has wildcards, and in any case what is published to the topic "ok".
func (t *T) watcher() *Conn {
	c := t.Connect()
	c.Subscribe(1, t.Topic("ok"))
	if t.Target().Capabilities&CapWildcard != 0 {
		c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: t.Topic("#"), QoS: 1}}})
	}
	return c
}

// unseen judges that the watcher has got no message of the kind. Whoever sent it may be gone,
// so the marker comes from another connection, and a grace is added.
func (t *T) unseen(watch *Conn, bad func(*codec.Publish) bool) {
	t.Judge().Silent(watch, "forwarded message", func(e *peer.Event) bool {
		p, ok := e.Packet.(*codec.Publish)
		return ok && bad(p)
	}, func() {
		t.Fence(t.Connect(), watch, t.Topic("ok"), 1)
		t.Quiet()
	})
}

// refuseNames sends each PUBLISH of QoS 1 on a connection of its own. Under 3.1.1 it has to end;
// under 5.0 PUBACK may refuse instead, and an error that is not noticed is a warning.
func (t *T) refuseNames(frames [][]byte) {
	if !t.V5() {
		t.Refuse(t.Judge(), frames)
		return
	}
	t.each(frames, func(c *Conn) bool { return t.refusedName(c, nil, true) })
}

// refusedName judges what follows an illegal PUBLISH under 5.0. What breaks accepts is a fail,
// every other way of going on a warning.
func (t *T) refusedName(c *Conn, breaks func(*peer.Event) bool, ackWarns bool) bool {
	const expected = "the connection ends or PUBACK refuses"
	answer := ofType(codec.TypePuback)
	c.Disturbed(t.Timeout(), answer)
	es := c.Pending(answer)
	if len(es) == 0 {
		if end, ok := c.Closed(); ok {
			return t.Judge().record(c, true, false, expected, "it ended: "+end.Closed.Error())
		}
		return t.Judge().Warn().record(c, false, false, expected, fmt.Sprintf("neither happened within %v", t.Timeout()))
	}
	_, _, reason := ackOf(es[0])
	actual := describeEvents(es, t.Version())
	switch {
	case breaks != nil && breaks(es[0]):
		return t.Judge().record(c, false, false, expected, actual)
	case ackWarns && !reason.Failed():
		return t.Judge().Warn().record(c, false, false, expected, actual)
	}
	return t.Judge().record(c, true, false, expected, actual)
}

// refusedWill judges what follows a CONNECT with an illegal Will Topic: a refusal, or the end of
// the connection. Acceptance is a warning, as nothing has been published yet.
func (t *T) refusedWill(c *Conn) bool {
	const expected = "the connection ends, without CONNACK or after one that refuses"
	e := c.Take(t.Timeout(), ofType(codec.TypeConnack))
	if e == nil {
		if _, closed := c.Closed(); closed {
			return t.Judge().record(c, true, false, expected, "it ended")
		}
		return t.Judge().Warn().record(c, false, false, expected, "neither happened")
	}
	ack := e.Packet.(*codec.Connack)
	x := t.Judge()
	if ack.Reason == codec.Success {
		x = x.Warn()
	}
	return x.record(c, ack.Reason != codec.Success, false, expected, codec.Describe(ack, t.Version()))
}
