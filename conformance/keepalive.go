package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
)

var keepAliveChecks = []Check{{
	Name:     "keepalive/silence-ends-connection",
	Rules:    []string{"MQTT-3.1.2-24", "MQTT-3.1.2-8"},
	Rules5:   []string{"MQTT-3.1.2-22", "MQTT-3.1.2-8"},
	Versions: MQTT311 | MQTT5,
	Slow:     1500 * time.Millisecond,
	Run: func(t *T) {
		topic, watcher, qos := t.Topic("w"), t.Connect(), t.mustArrive()
		watcher.Subscribe(qos, topic)
		c := t.Open()
		began := time.Now()
		ack := t.accepted(c, t.ConnectPacket(withWill(topic, lastWords, qos), func(p *codec.Connect) { p.KeepAlive = 1 }))
		seconds := ack.Props.Uint(codec.PropServerKeepAlive, 1)
		if seconds == 0 {
			t.NotApplicable("the target turns Keep Alive off (Server Keep Alive 0)")
		}
		period := time.Duration(seconds) * time.Second
		if period > 30*time.Second {
			t.Inconclusive("the target asks for a Keep Alive of %v, which is too long to wait for", period)
		}
		// No upper bound is given, so the timer may be a coarse one.
		limit := period*3/2 + max(period, t.Patience(2*t.Timeout()))
		x := t.Judge("MQTT-3.1.2-24", "MQTT-3.1.2-22")
		expected := fmt.Sprintf("the connection ends after %v of silence", period*3/2)
		end, ended := c.AwaitClose(0)
		for !ended && time.Since(began) < limit {
			end, ended = c.AwaitClose(min(limit-time.Since(began), time.Second))
			watcher.Send(&codec.Pingreq{}) // a Keep Alive that the target asks for holds here as well
		}
		if !ended {
			x.Thatf(false, expected, "still open after %v", limit)
			return
		}
		after := end.At.Sub(began)
		x.Thatf(true, expected, "it ended after %v: %v", after.Round(time.Millisecond), end.Closed)
		x.Warn().Thatf(after >= period, fmt.Sprintf("no end before %v of silence", period), "%v", after.Round(time.Millisecond))
		e := t.takeAwake(watcher, t.Timeout(), withPayload(topic, lastWords))
		for _, rule := range []*Expectation{x, t.Judge("MQTT-3.1.2-8")} {
			rule.Crossing(e != nil, "the Will, as after a failure of the network", seen(e, t))
		}
	},
}}
