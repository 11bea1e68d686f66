package conformance

import (
	"fmt"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

const (
	// lasting is how long an idle session is watched for being forgotten, and a message
	// without acknowledgement for being sent again.
	lasting = 2400 * time.Millisecond
	// unrepeated is how long an open exchange is watched for retries on a live connection.
	unrepeated = 3 * time.Second
)

var redeliveryChecks = []Check{{
	Name:     "redelivery/open-exchanges-on-resume",
	Rules:    []string{"MQTT-4.4.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		pub := t.Connect()
		for _, o := range t.openExchanges(pub, func(id string) *Conn {
			c, _ := t.keep(id)
			return c
		}) {
			o.conn.Drop()
			t.settle()
			back := t.Open().Manual()
			if ack := t.accepted(back, t.ConnectPacket(t.Persistent(o.conn.ClientID()))); !ack.SessionPresent {
				t.notKept(back)
			}
			e := t.Judge().ArrivesMatching(back, o.what()+" again", o.matches)
			t.Judge().Thatf(o.packetID(e) == o.id, fmt.Sprintf("Packet Identifier %d", o.id), "%d", o.packetID(e))
		}
	},
}, {
	Name:     "redelivery/not-while-connected",
	Rules:    []string{"MQTT-4.4.0-1"},
	Versions: MQTT5,
	Needs:    CapQoS1,
	Slow:     unrepeated,
	Run: func(t *T) {
		pub := t.Connect()
		open := t.openExchanges(pub, func(id string) *Conn {
			return t.Connect(func(p *codec.Connect) { p.ClientID = id })
		})
		cs := []*Conn{pub}
		for _, o := range open {
			cs = append(cs, o.conn)
		}
		for range 3 {
			t.idle(t.Patience(unrepeated/3), cs...)
		}
		for _, o := range open {
			t.Judge().Silent(o.conn, o.what()+" again on the live connection", o.matches, o.conn.Ping)
		}
	},
}, {
	Name:     "redelivery/none-after-refusal",
	Rules:    []string{"MQTT-4.4.0-2"},
	Versions: MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		pub := t.Connect()
		for _, qos := range t.levels(1) {
			id, topic := t.ClientID(), t.Topic(fmt.Sprint(qos))
			sub, _ := t.keep(id)
			sub.Manual().Subscribe(qos, topic)
			pub.Deliver(topic, qos, "unwanted")
			e := sub.Take(t.Timeout(), withPayload(topic, "unwanted"))
			if e == nil {
				t.Inconclusive("%s: the message did not arrive", sub.Name())
			}
			packetID := e.Packet.(*codec.Publish).PacketID
			if qos == 1 {
				sub.Send(&codec.Puback{PacketID: packetID, Reason: codec.ImplementationSpecificError})
			} else {
				sub.Send(&codec.Pubrec{PacketID: packetID, Reason: codec.ImplementationSpecificError})
			}
			t.Judge().Silent(sub, "PUBREL for a message that was refused", ofType(codec.TypePubrel), sub.Ping)
			sub.Disconnect()

			back, ack := t.keep(id)
			if !ack.SessionPresent {
				t.notKept(back)
			}
			t.Judge().Silent(back, "message that was refused", func(e *peer.Event) bool {
				return withPayload(topic, "unwanted")(e) || ofType(codec.TypePubrel)(e)
			}, func() {
				// The marker's own PUBREL must not be mistaken for one of the refused message.
				back.SetAutoAck(false)
				t.Fence(pub, back, topic, qos)
			})
		}
	},
}, {
	Name:     "redelivery/none-after-clean-start",
	Rules:    []string{"MQTT-3.1.2-6"},
	Rules5:   []string{"P-4.4-resend-after-clean"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1,
	Run: func(t *T) {
		pub := t.Connect()
		for _, o := range t.openExchanges(pub, func(id string) *Conn {
			c, _ := t.keep(id)
			return c
		}) {
			o.conn.Drop()
			clean := t.Open().Manual()
			t.accepted(clean, t.ConnectPacket(func(p *codec.Connect) { p.ClientID = o.conn.ClientID() }))
			clean.Subscribe(o.qos, o.topic)
			t.Judge().Silent(clean, o.what()+" of the dropped session", o.matches, func() { t.Fence(pub, clean, o.topic, o.qos) })
		}
	},
}, {
	Name:     "delivery/to-every-matching-session",
	Rules:    []string{"MQTT-4.5.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapQoS1 | CapSessionExpiry,
	Run: func(t *T) {
		base := t.Topic("to")
		topic, id := base+"/all", t.ClientID()
		away, _ := t.keep(id)
		away.Subscribe(1, topic)
		away.Disconnect()
		watchers := []*Conn{t.Connect()}
		watchers[0].Subscribe(1, topic)
		if t.Target().Capabilities&CapWildcard != 0 {
			c := t.Connect()
			ack := c.SubscribeWith(&codec.Subscribe{Filters: []codec.Subscription{{Filter: base + "/+", QoS: 1}}})
			if ack.Reasons[0] == 1 {
				watchers = append(watchers, c)
			}
		}
		t.Connect().Deliver(topic, 1, "for all")
		back, ack := t.keep(id)
		if ack.SessionPresent {
			watchers = append(watchers, back)
		} else {
			back.Note("the session was not kept, and is not judged")
		}
		for _, c := range watchers {
			t.Judge().Arrives(c, topic, "for all")
		}
	},
}}

// openExchange is a delivery that the client leaves half done.
type openExchange struct {
	conn  *Conn
	topic string
	qos   codec.QoS
	id    uint16 // the Packet Identifier
	rel   bool   // PUBREL has arrived and is not answered; else the PUBLISH is not
}

func (o *openExchange) what() string {
	if o.rel {
		return "PUBREL that no PUBCOMP has answered"
	}
	return fmt.Sprintf("PUBLISH at QoS %d that nothing has answered", o.qos)
}

// matches accepts the packet that the server owes. One session has one open exchange.
func (o *openExchange) matches(e *peer.Event) bool {
	if o.rel {
		return ofType(codec.TypePubrel)(e)
	}
	return withPayload(o.topic, "half done")(e)
}

func (o *openExchange) packetID(e *peer.Event) uint16 {
	if p, ok := e.Packet.(*codec.Publish); ok {
		return p.PacketID
	}
	_, id, _ := ackOf(e)
	return id
}

// openExchanges leaves a PUBLISH at QoS 1 without PUBACK, one at QoS 2 without PUBREC and one
// without PUBCOMP, each in a session of its own, so that a server which sends one message at a
// time is served as well.
func (t *T) openExchanges(pub *Conn, connect func(id string) *Conn) []*openExchange {
	list := []*openExchange{{qos: 1}, {qos: 2}, {qos: 2, rel: true}}
	if t.atMost(2) < 2 {
		list = list[:1]
	}
	for i, o := range list {
		o.topic = t.Topic(fmt.Sprintf("open%d", i))
		o.conn = connect(t.ClientID()).Manual()
		o.conn.Subscribe(o.qos, o.topic)
		pub.Deliver(o.topic, o.qos, "half done")
		e := o.conn.Take(t.Timeout(), withPayload(o.topic, "half done"))
		if e == nil {
			t.Inconclusive("%s: the message did not arrive", o.conn.Name())
		}
		o.id = o.packetID(e)
		if !o.rel {
			continue
		}
		o.conn.Send(&codec.Pubrec{PacketID: o.id})
		if e = o.conn.Take(t.Timeout(), ofType(codec.TypePubrel)); e == nil || o.packetID(e) != o.id {
			t.Inconclusive("%s: no PUBREL for Packet Identifier %d", o.conn.Name(), o.id)
		}
	}
	return list
}
