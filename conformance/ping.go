package conformance

import (
	"github.com/mqlab/mqlab/codec"
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
	},
}}
