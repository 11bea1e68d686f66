package conformance

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// badRequestChecks send SUBSCRIBE and UNSUBSCRIBE packets that a server has to refuse.
var badRequestChecks = []Check{{
	Name:     "subscribe/reserved-flags-refused",
	Rules:    []string{"MQTT-3.8.1-1"},
	Breaks:   []string{"MQTT-3.8.1-1", "MQTT-2.2.2-1"},
	Breaks5:  []string{"MQTT-3.8.1-1", "MQTT-2.1.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		var frames [][]byte
		for _, first := range []byte{0x80, 0x81, 0x83, 0x8A} {
			f := t.rawSubscribe(7, rawFilter{t.Topic("a"), 0})
			f[0] = first
			frames = append(frames, f)
		}
		t.Refuse(t.Judge(), frames, codec.MalformedPacket)
	},
}, {
	Name:     "subscribe/ill-formed-filter-refused",
	Rules:    []string{"MQTT-3.8.3-1"},
	Breaks:   []string{"MQTT-3.8.3-1", "MQTT-1.5.3-1"},
	Breaks5:  []string{"MQTT-3.8.3-1", "MQTT-1.5.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		var frames [][]byte
		for _, bad := range []string{"\xC3\x28", "\xED\xA0\x80", "\xFF"} {
			frames = append(frames, t.rawSubscribe(7, rawFilter{bad, 0}))
		}
		if !t.V5() {
			t.Refuse(t.Judge(), frames)
			return
		}
		t.each(frames, func(c *Conn) bool { return t.Judge().Warn().RefusedRequest(c, denialPasses) })
	},
}, {
	Name:     "subscribe/overrunning-filter-refused",
	Rules5:   []string{"MQTT-3.8.3-1"},
	Breaks5:  []string{"MQTT-3.8.3-1", "MQTT-1.5.4-2", "MQTT-4.7.3-2", "P-2.1.4-length-mismatch"},
	Versions: MQTT5,
	Run: func(t *T) {
		t.Refuse(t.Judge(), [][]byte{rawPacket(0x82, append(t.requestHead(7), 0, 16, 'a', 0))}, codec.MalformedPacket)
	},
}, {
	Name:     "subscribe/no-filter-refused",
	Rules:    []string{"MQTT-3.8.3-3"},
	Rules5:   []string{"MQTT-3.8.3-2"},
	Breaks:   []string{"MQTT-3.8.3-3"},
	Breaks5:  []string{"MQTT-3.8.3-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.rawSubscribe(7)...)
		t.Judge().Refuses(c, nil, codec.ProtocolError, codec.MalformedPacket)
	},
}, {
	Name:     "subscribe/reserved-option-bits-refused",
	Rules:    []string{"MQTT-3.8.3-4"},
	Rules5:   []string{"MQTT-3.8.3-5"},
	Breaks:   []string{"MQTT-3.8.3-4"},
	Breaks5:  []string{"MQTT-3.8.3-5"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		options := []byte{0x03, 0x04, 0x80, 0xFD}
		if t.V5() {
			options = []byte{0x40, 0x80, 0xC1}
		}
		var frames [][]byte
		for _, o := range options {
			frames = append(frames, t.rawSubscribe(7, rawFilter{t.Topic("a"), o}))
		}
		frames = append(frames, t.rawSubscribe(7, rawFilter{t.Topic("a"), 0}, rawFilter{t.Topic("b"), options[0]}))
		t.Refuse(t.Judge(), frames, codec.MalformedPacket)
	},
}, {
	Name:     "subscribe/qos3-refused",
	Rules5:   []string{"P-3.8.3.1-qos-3"},
	Breaks5:  []string{"P-3.8.3.1-qos-3"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.rawSubscribe(7, rawFilter{t.Topic("a"), 0x03})...)
		t.Judge().RefusedRequest(c, denialNoted)
	},
}, {
	Name:     "subscribe/retain-handling-3-refused",
	Rules5:   []string{"P-3.8.3.1-retain-handling-3"},
	Breaks5:  []string{"P-3.8.3.1-retain-handling-3"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.rawSubscribe(7, rawFilter{t.Topic("a"), 0x30})...)
		t.Judge().RefusedRequest(c, denialNoted)
	},
}, {
	Name:     "subscribe/options-missing-refused",
	Rules5:   []string{"P-3.8.3-options-missing"},
	Breaks5:  []string{"P-3.8.3-options-missing", "P-2.1.4-length-mismatch"},
	Versions: MQTT5,
	Run: func(t *T) {
		first := rawPacket(0x82, appendString(t.requestHead(7), t.Topic("a")))
		second := append(appendString(t.requestHead(7), t.Topic("a")), 0)
		second = rawPacket(0x82, appendString(second, t.Topic("b")))
		t.Refuse(t.Judge(), [][]byte{first, second}, codec.MalformedPacket, codec.ProtocolError)
	},
}, {
	Name:     "subscribe/identifier-zero-refused",
	Rules5:   []string{"P-3.8.2.1.2-subscription-identifier-zero"},
	Breaks5:  []string{"P-3.8.2.1.2-subscription-identifier-zero"},
	Versions: MQTT5,
	Run:      func(t *T) { refuseIdentifiers(t, 0x0B, 0) },
}, {
	Name:     "subscribe/two-identifiers-refused",
	Rules5:   []string{"P-3.8.2.1.2-subscription-identifier-duplicate"},
	Breaks5:  []string{"P-3.8.2.1.2-subscription-identifier-duplicate"},
	Versions: MQTT5,
	Run:      func(t *T) { refuseIdentifiers(t, 0x0B, 1, 0x0B, 2) },
}, {
	Name:     "subscribe/no-local-on-shared-refused",
	Rules5:   []string{"MQTT-3.8.3-4"},
	Breaks5:  []string{"MQTT-3.8.3-4"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.rawSubscribe(7, rawFilter{"$share/g/" + t.Topic("a"), 0x05})...)
		t.Judge().RefusedRequest(c, denialPasses)
	},
}, {
	Name:     "unsubscribe/reserved-flags-refused",
	Rules:    []string{"MQTT-3.10.1-1"},
	Breaks:   []string{"MQTT-3.10.1-1", "MQTT-2.2.2-1"},
	Breaks5:  []string{"MQTT-3.10.1-1", "MQTT-2.1.3-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		var frames [][]byte
		for _, first := range []byte{0xA0, 0xA1, 0xA3, 0xAA} {
			f := t.rawUnsubscribe(7, t.Topic("a"))
			f[0] = first
			frames = append(frames, f)
		}
		t.Refuse(t.Judge(), frames, codec.MalformedPacket)
	},
}, {
	Name:     "unsubscribe/ill-formed-filter-refused",
	Rules:    []string{"MQTT-3.10.3-1"},
	Breaks:   []string{"MQTT-3.10.3-1", "MQTT-1.5.3-1"},
	Breaks5:  []string{"MQTT-3.10.3-1", "MQTT-1.5.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		var frames [][]byte
		for _, bad := range []string{"\xC3\x28", "\xFF"} {
			frames = append(frames, t.rawUnsubscribe(7, bad))
		}
		if !t.V5() {
			t.Refuse(t.Judge(), frames)
			return
		}
		t.each(frames, func(c *Conn) bool { return t.Judge().Warn().RefusedRequest(c, denialPasses) })
	},
}, {
	Name:     "unsubscribe/overrunning-filter-refused",
	Rules:    []string{"MQTT-3.10.3-1"},
	Breaks:   []string{"MQTT-3.10.3-1"},
	Breaks5:  []string{"MQTT-3.10.3-1", "P-2.1.4-length-mismatch"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		t.Refuse(t.Judge(), [][]byte{rawPacket(0xA2, append(t.requestHead(7), 0, 16, 'a'))}, codec.MalformedPacket)
	},
}, {
	Name:     "unsubscribe/no-filter-refused",
	Rules:    []string{"MQTT-3.10.3-2"},
	Breaks:   []string{"MQTT-3.10.3-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.SendRaw(t.rawUnsubscribe(7)...)
		t.Judge().Refuses(c, nil, codec.ProtocolError, codec.MalformedPacket)
	},
}, {
	Name:     "topics/misplaced-hash-refused",
	Rules:    []string{"MQTT-4.7.1-2"},
	Rules5:   []string{"MQTT-4.7.1-1"},
	Breaks:   []string{"MQTT-4.7.1-2"},
	Breaks5:  []string{"MQTT-4.7.1-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refuseFilters(t, "a#", t.Topic("a#"), t.Topic("a/#/b"), "#/"+t.Topic("a"), t.Topic("##"), t.Topic("a/b#"))
		if t.V5() {
			return
		}
		ack := t.Connect().SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: t.Topic("a/+")}, {Filter: t.Topic("a/#")}}})
		if !ack.Reasons[0].Failed() {
			t.Judge().Thatf(!ack.Reasons[1].Failed(), "a/# granted as a/+ is", "code 0x%02X", uint8(ack.Reasons[1]))
		}
	},
}, {
	Name:     "topics/misplaced-plus-refused",
	Rules:    []string{"MQTT-4.7.1-3"},
	Rules5:   []string{"MQTT-4.7.1-2"},
	Breaks:   []string{"MQTT-4.7.1-3"},
	Breaks5:  []string{"MQTT-4.7.1-2"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		refuseFilters(t, "a+", t.Topic("a+"), t.Topic("+a"), t.Topic("a/b+/c"), t.Topic("++"), "+"+t.Topic("a"))
	},
}, {
	Name:     "shared/no-share-name-refused",
	Rules5:   []string{"MQTT-4.8.2-1"},
	Breaks5:  []string{"MQTT-4.8.2-1"},
	Versions: MQTT5,
	Needs:    CapShared,
	Run: func(t *T) {
		refuseFilters(t, "$share//"+t.Topic("a"), "$share/")
	},
}, {
	Name:     "shared/bad-share-name-refused",
	Rules5:   []string{"MQTT-4.8.2-2"},
	Breaks5:  []string{"MQTT-4.8.2-2", "MQTT-4.7.1-1"},
	Versions: MQTT5,
	Needs:    CapShared,
	Run: func(t *T) {
		refuseFilters(t, "$share/a+/"+t.Topic("a"), "$share/#/"+t.Topic("a"), "$share/g"+strings.ReplaceAll(t.Topic(""), "/", ""),
			"$share/g/", "$share/g/"+t.Topic("a#"))
	},
}}

// refuseFilters sends each filter in a SUBSCRIBE on a connection of its own and judges that none
// is granted. Under 3.1.1 only the end of the connection is right, though SUBACK 0x80 is common.
func refuseFilters(t *T, filters ...string) {
	var frames [][]byte
	for _, f := range filters {
		frames = append(frames, t.rawSubscribe(7, rawFilter{f, 0}))
	}
	how := denialPasses
	if !t.V5() {
		how = denialWarns
	}
	t.each(frames, func(c *Conn) bool { return t.Judge().RefusedRequest(c, how) })
}

// refuseIdentifiers sends a SUBSCRIBE with the given properties. A target without Subscription
// Identifiers refuses it just as well.
func refuseIdentifiers(t *T, props ...byte) {
	body := append([]byte{0, 7, byte(len(props))}, props...)
	c := t.Connect()
	c.SendRaw(rawPacket(0x82, append(appendString(body, t.Topic("a")), 0))...)
	t.Judge().RefusedRequest(c, denialNoted)
}
