package conformance

import (
	"fmt"
	"math"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// messageWait is how long a message with an expiry waits: long enough for a target that counts
// in whole seconds and looks only now and then.
const messageWait = 3 * time.Second

var expiryChecks = []Check{{
	Name:     "expiry/queued-message-dropped",
	Rules:    []string{"MQTT-3.3.2-5"},
	Versions: MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Slow:     messageWait,
	Run: func(t *T) {
		pub, id, topic := t.Connect(), t.ClientID(), t.Topic("a")
		sub := t.Connect(t.Persistent(id))
		sub.Subscribe(1, topic)
		sub.Disconnect()
		pub.Deliver(topic, 1, "expires", expiry(1))
		pub.Deliver(topic, 1, "stays")
		t.idle(t.Patience(messageWait), pub)
		back := t.Open()
		if !back.Connect(t.ConnectPacket(t.Persistent(id))).SessionPresent {
			t.notKept(back)
		}
		if back.Take(t.Timeout(), withPayload(topic, "stays")) == nil {
			t.Inconclusive("%s: not even the message without expiry arrived", back.Name())
		}
		// A copy with DUP 1 was on its way before the session went offline.
		t.Judge().Silent(back, "message whose expiry has passed", func(e *peer.Event) bool {
			return withPayload(topic, "expires")(e) && !e.Packet.(*codec.Publish).Dup
		}, func() { t.Fence(pub, back, topic, 1) })
	},
}, {
	Name:     "expiry/retained-message-dropped",
	Rules:    []string{"P-3.3.1.3-retained-expiry"},
	Versions: MQTT5,
	Needs:    CapQoS1 | CapRetain,
	Slow:     messageWait,
	Run: func(t *T) {
		pub, late, topic := t.Connect(), t.Connect(), t.Topic("a")
		pub.Deliver(topic, 1, "expires", expiry(1), Retained)
		t.idle(t.Patience(messageWait), pub, late)
		late.Subscribe(1, topic)
		t.Judge().Silent(late, "retained message whose expiry has passed", withPayload(topic, "expires"), func() { t.Fence(pub, late, topic, 1) })
	},
}, {
	Name:     "expiry/counted-down",
	Rules:    []string{"MQTT-3.3.2-6"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Slow:     messageWait,
	Run: func(t *T) {
		have := t.Target().Capabilities
		live, pub, id, topic := t.Connect(), t.Connect(), t.ClientID(), t.Topic("a")
		live.Subscribe(1, topic)
		if have&CapSessionExpiry != 0 {
			sub := t.Connect(t.Persistent(id))
			sub.Subscribe(1, topic)
			sub.Disconnect()
		}
		sent := time.Now()
		pub.Deliver(topic, 1, "counts", expiry(60), func(p *codec.Publish) { p.Retain = have&CapRetain != 0 })
		acknowledged := time.Now()
		judge := func(route string, c *Conn, waited time.Duration) {
			e := c.Take(t.Timeout(), withPayload(topic, "counts"))
			if e == nil {
				t.Inconclusive("%s: the message did not arrive", c.Name())
			}
			p := e.Packet.(*codec.Publish)
			// Two seconds either way are left to rounding and transfer.
			least := 60 - int(math.Ceil(time.Since(sent).Seconds())) - 2
			most := min(60, 60-int(waited.Seconds())+2)
			got := int(p.Props.Uint(codec.PropMessageExpiry, 0))
			ok := p.Props.Has(codec.PropMessageExpiry) && got >= least && got <= most
			t.Judge().That(ok, fmt.Sprintf("%s copy: Message Expiry Interval from %d to %d after %v of 60 s", route, least, most, waited.Round(time.Second)),
				codec.Describe(p, codec.V5))
		}
		judge("live", live, 0)
		if have&(CapSessionExpiry|CapRetain) == 0 {
			return
		}
		t.Wait(t.Patience(messageWait))
		waited := time.Since(acknowledged)
		if have&CapSessionExpiry != 0 {
			back := t.Open()
			if back.Connect(t.ConnectPacket(t.Persistent(id))).SessionPresent {
				judge("queued", back, waited)
			}
		}
		if have&CapRetain != 0 {
			late := t.Connect()
			late.Subscribe(1, topic)
			judge("retained", late, waited)
		}
	},
}}

// expiry is an edit for Publish: the Message Expiry Interval.
func expiry(seconds uint32) func(*codec.Publish) {
	return func(p *codec.Publish) { p.Props.SetUint(codec.PropMessageExpiry, seconds) }
}
