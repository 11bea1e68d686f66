package conformance

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

var pingChecks = []Check{{
	Name:     "ping/answered",
	Rules:    []string{"MQTT-3.12.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		for range 3 {
			c.Send(&codec.Pingreq{})
			t.Judge().Answer(c, "PINGRESP", ofType(codec.TypePingresp))
		}
		for range 3 {
			c.Send(&codec.Pingreq{})
		}
		for range 3 {
			t.Judge().Answer(c, "one PINGRESP for each PINGREQ", ofType(codec.TypePingresp))
		}
	},
}, {
	Name:     "ping/length",
	Rules:    []string{"P-3.12-ping-length"},
	Breaks:   []string{"P-3.12-ping-length", "P-2.1.4-length-mismatch"},
	Versions: MQTT5,
	Run: func(t *T) {
		c := t.Connect()
		c.Send(&codec.Pingreq{})
		e := c.Take(t.Timeout(), func(e *peer.Event) bool { return len(e.Frame) > 0 && e.Frame[0]>>4 == byte(codec.TypePingresp) })
		if e == nil {
			t.Inconclusive("%s: PINGREQ was not answered", c.Name())
		}
		_, n := codec.Varint(e.Frame[1:])
		t.Judge().Warn().Thatf(len(e.Frame) == 1+n, "PINGRESP with Remaining Length 0", "% X", e.Frame)
		t.offend(t.Judge(), []codec.ReasonCode{codec.MalformedPacket},
			offence{what: "PINGREQ with Remaining Length 1", raw: []byte{0xC0, 1, 0}, tolerable: true})
	},
}}
