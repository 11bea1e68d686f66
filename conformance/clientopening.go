package conformance

import (
	"cmp"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// forEver is how long a client may wait in silence for an answer before it is said to wait for ever:
// the standard speaks of a reasonable time, and patient clients are known to wait for a minute.
const forEver = 2 * time.Minute

// clientOpeningChecks are about the time before and around CONNACK, and about an absent server.
var clientOpeningChecks = []Check{{
	Name:     "client/refused",
	Rules:    []string{"MQTT-3.1.0-1"},
	Rules5:   []string{"MQTT-3.1.0-1", "P-4.11-redirect"},
	Versions: MQTT311 | MQTT5,
	Run:      clientRefusals,
}, {
	Name:     "client/connack-late",
	Rules:    []string{"MQTT-3.1.0-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Launch().Accept()
		c.Manual()
		hello := func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypeConnect }
		c.Disturbed(t.Patience(time.Second), hello)
		if early := c.Pending(func(e *peer.Event) bool { return e.Packet != nil }); len(early) > 0 {
			t.Note("before CONNACK the client sends %s, as it may", describeEvents(early, t.Version()))
		}
		if _, ended := c.Closed(); ended {
			t.Inconclusive("the client does not wait %v for CONNACK", t.Patience(time.Second))
		}
		c.Accepted()
		c.SetAutoAck(true)
		c.Serve(t.Patience(300*time.Millisecond), ofType(codec.TypeDisconnect)) // for the judge that watches
		again := c.Pending(hello)
		t.Judge().Thatf(len(again) == 0, "one CONNECT on the connection, however late its answer", "%d more", len(again))
	},
}, {
	Name:     "client/connack-never",
	Rules5:   []string{"P-3.2-client-connack-timeout"},
	Versions: MQTT5,
	Slow:     20 * time.Second,
	Run: func(t *T) {
		c := t.Launch().Accept()
		c.Manual()
		t.judgeGivesUp(c, 20*time.Second, "CONNACK")
	},
}, {
	Name:     "client/pingresp-never",
	Rules5:   []string{"P-3.1.2.10-client-pingresp-timeout"},
	Versions: MQTT5,
	Slow:     20 * time.Second,
	Run: func(t *T) {
		const longest = 10
		t.needs(t.seen().stays, "stay connected")
		k := t.seen().hello.KeepAlive
		t.needs(k > 0, "ask for a Keep Alive")
		if k > longest {
			t.NotApplicable("the client asks for a Keep Alive of %d s: give it %d s or less, so that it can be waited for", k, longest)
		}
		c := t.Launch().Accept()
		c.Accepted()
		if t.seen().subscribes {
			c.Subscribed()
		}
		if c.Take(time.Duration(k)*2*time.Second+t.Timeout(), ofType(codec.TypePingreq)) == nil {
			t.Inconclusive("no PINGREQ came, which another check judges")
		}
		t.judgeGivesUp(c, 20*time.Second, "PINGRESP")
	},
}}

// judgeGivesUp judges that a client whom nobody answers gives up. Where it has not done so when
// the wait is over, but might still, nothing is said.
func (t *T) judgeGivesUp(c *Conn, d time.Duration, answer string) {
	limit := cmp.Or(t.run.client.endless, forEver)
	began := time.Now()
	c.AwaitClose(min(t.Patience(d), limit))
	expected := "the client gives up when no " + answer + " comes"
	if _, ended := c.Closed(); ended {
		t.Judge().Thatf(true, expected, "after %v", time.Since(began).Round(time.Millisecond))
		return
	}
	if waited := time.Since(began); waited < limit {
		t.Inconclusive("the client still waits for %s after %v: --patience %.0f waits for %v", answer, waited.Round(time.Second), limit.Seconds()/d.Seconds(), limit)
	}
	t.Judge().Warn().Thatf(false, expected, "still open after %v", limit)
}
