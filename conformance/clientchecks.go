package conformance

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// ClientChecks returns every check of a client. Each provokes the client from a scripted server;
// what their rules do not name is judged by the passive judge on the same connections.
func ClientChecks() []*Check {
	var out []*Check
	for _, chapter := range [][]Check{
		clientSessionChecks, clientOpeningChecks, clientReceiverChecks, clientReceiveChecks, clientSenderChecks, clientSendChecks, clientFaultChecks(),
	} {
		for i := range chapter {
			out = append(out, &chapter[i])
		}
	}
	return out
}

// seen is what the client did when everything was granted.
func (t *T) seen() *profile { return &t.run.client.seen }

// needs ends the check where the client does not do what the check is about.
func (t *T) needs(ok bool, what string) {
	if !ok {
		t.NotApplicable("the client does not %s", what)
	}
}

var clientSessionChecks = []Check{{
	Name:     "client/connect-first",
	Rules:    []string{"MQTT-3.1.0-1"},
	Rules5:   []string{"MQTT-3.1.0-1", "MQTT-3.1.2-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c := t.Launch().Accept()
		t.Judge().That(true, "CONNECT as the first packet", "CONNECT")
		if t.V5() {
			t.Judge("MQTT-3.1.2-1").Thatf(string(c.protocol) == "MQTT", "the protocol name MQTT", "%q", c.protocol)
		}
		c.Accepted()
		c.Serve(t.Patience(time.Second), ofType(codec.TypeDisconnect)) // for the judge that watches
	},
}, {
	Name:     "client/disconnect-ends-the-connection",
	Rules:    []string{"MQTT-3.14.4-1", "MQTT-3.14.4-2"},
	Rules5:   []string{"MQTT-3.14.4-2", "MQTT-3.14.4-1"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		client := t.Launch()
		c := client.Accept()
		c.Accepted()
		if t.seen().stays {
			c.Serve(t.Patience(time.Second), ofType(codec.TypeDisconnect))
			client.end(false) // a client with manners takes its leave
		}
		if c.Serve(t.Timeout(), ofType(codec.TypeDisconnect)) == nil {
			t.NotApplicable("the client sent no DISCONNECT, nor when it was asked to end")
		}
		t.Judge().Closed(c)
		late := c.Pending(func(e *peer.Event) bool { return len(e.Frame) > 0 && e.Closed == nil && e.At.After(c.left) })
		t.Judge("MQTT-3.14.4-2", "MQTT-3.14.4-1").That(len(late) == 0, "no packet after DISCONNECT", describeEvents(late, t.Version()))
	},
}, {
	Name:     "client/keep-alive-kept",
	Rules:    []string{"MQTT-3.1.2-23"},
	Rules5:   []string{"MQTT-3.1.2-20"},
	Versions: MQTT311 | MQTT5,
	Slow:     25 * time.Second,
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
		t.judgeGaps(c, time.Duration(k)*time.Second)
	},
}, {
	Name:     "client/server-keep-alive-honoured",
	Rules5:   []string{"MQTT-3.1.2-21", "MQTT-3.2.2-21"},
	Versions: MQTT5,
	Slow:     6 * time.Second,
	Run: func(t *T) {
		const k = 2
		t.needs(t.seen().stays, "stay connected")
		if asked := t.seen().hello.KeepAlive; asked > 0 && asked <= 2*k {
			t.NotApplicable("the client asks for a Keep Alive of %d s, which cannot be told from one of %d s", asked, k)
		}
		c := t.Launch().Accept()
		c.Accepted(func(p *codec.Connack) { p.Props.SetUint(codec.PropServerKeepAlive, k) })
		t.judgeGaps(c, k*time.Second)
	},
}, {
	Name:     "client/unexpected-session-left",
	Rules5:   []string{"MQTT-3.2.2-4"},
	Versions: MQTT5,
	Axis:     MalformedInput,
	Run: func(t *T) {
		t.needs(t.seen().stays, "stay connected")
		c := t.Launch().Accept()
		if !c.hello.CleanStart {
			t.NotApplicable("the client asks to go on with a session, and may have one")
		}
		c.Accepted(func(p *codec.Connack) { p.SessionPresent = true })
		c.Serve(t.Timeout(), ofType(codec.TypeDisconnect)) // a client that goes on is served
		if _, ended := c.AwaitClose(t.Grace()); ended {
			t.Judge().That(true, "the client ends the connection", "it ended")
			return
		}
		t.Judge().Thatf(false, "the client ends the connection", "still open after %v", t.Timeout())
	},
}}

// judgeGaps judges that no more time passes between two packets of the client than the Keep Alive,
// on a clock that stands still while the suite is late. A breach is what a server would act on, half
// as much again.
func (t *T) judgeGaps(c *Conn, keepAlive time.Duration) {
	any := func(e *peer.Event) bool { return e.Packet != nil }
	limit := keepAlive*3/2 + packetDelay
	began, late := time.Now(), t.lateness()
	last, longest := began, time.Duration(0)
	for late.pause(began, last) < 2*limit+keepAlive/2 {
		e := c.Serve(limit+t.Grace(), any)
		now := time.Now()
		for e == nil && late.pause(last, now) <= limit+late.worst(last, now) && now.Sub(last) < 6*limit {
			if _, ended := c.Closed(); ended {
				break
			}
			e = c.Serve(max(limit-late.pause(last, now), 0)+late.worst(last, now)+t.Grace(), any)
			now = time.Now()
		}
		if e != nil {
			if now = e.At; now.Before(last) {
				now = last // it was in the mailbox
			}
		}
		pause := late.pause(last, now)
		if _, ended := c.Closed(); ended && e == nil && pause <= limit {
			t.Inconclusive("the client ended the connection before its Keep Alive was over")
		}
		// The client on the same machine may have been as late as the suite.
		if worst := late.worst(last, now); (e == nil || pause > limit) && pause <= limit+worst {
			t.onceMore("no packet came for %v, and this machine is up to %v late itself", now.Sub(last).Round(time.Millisecond), worst.Round(time.Millisecond))
		}
		if longest = max(longest, pause); e == nil {
			break
		}
		last = now
	}
	expected := fmt.Sprintf("a packet at least every %v", keepAlive)
	for i := range t.check.RulesFor(t.version) {
		t.Judge(t.check.RulesFor(t.version)[i]).Crossing(longest <= limit, expected, fmt.Sprintf("none for %v", longest.Round(time.Millisecond)))
	}
}

// packetDelay is what a packet may be late on its way, or on a busy machine, without its sender being late.
const packetDelay = time.Second

var clientReceiverChecks = []Check{{
	Name:     "client/qos1-acknowledged-in-order",
	Rules:    []string{"MQTT-4.5.0-2", "MQTT-4.6.0-2"},
	Versions: MQTT311 | MQTT5,
	Run:      func(t *T) { t.burst(1, codec.TypePuback, "MQTT-4.6.0-2") },
}, {
	Name:     "client/qos2-received-in-order",
	Rules:    []string{"MQTT-4.5.0-2", "MQTT-4.6.0-3", "MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.5.0-2", "MQTT-4.6.0-3", "MQTT-4.3.3-11"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		c, ids := t.burst(2, codec.TypePubrec, "MQTT-4.6.0-3")
		for _, id := range ids {
			c.Send(&codec.Pubrel{PacketID: id})
		}
		t.answers(t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-11"), c, codec.TypePubcomp, ids)
	},
}, {
	Name:     "client/qos2-repeated-after-reconnect",
	Rules:    []string{"MQTT-4.3.3-2"},
	Rules5:   []string{"MQTT-4.3.3-8", "MQTT-4.3.3-10", "MQTT-4.3.3-11"},
	Versions: MQTT311 | MQTT5,
	Run: func(t *T) {
		const id = 7
		text := t.token(0)
		t.needs(t.seen().subscribes && t.seen().subscribed == 2 && t.seen().stays, "subscribe at QoS 2 and stay")
		t.needs(t.keepsSession(t.seen().hello), "ask for a session that outlives the connection")
		client := t.Launch()
		c := client.Accept()
		c.Accepted()
		topic, _ := c.Subscribed()
		c.Manual().Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: id, Payload: []byte(text)})
		if c.Take(t.Timeout(), acknowledges(codec.TypePubrec, id)) == nil {
			t.Inconclusive("no PUBREC came, which another check judges")
		}
		c.Drop()
		again := t.comesBack(client)
		again.Manual().Send(&codec.Publish{Topic: topic, QoS: 2, PacketID: id, Dup: true, Payload: []byte(text)})
		t.answers(t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-8"), again, codec.TypePubrec, []uint16{id})
		if t.V5() {
			t.Judge("MQTT-4.3.3-10").That(true, "PUBREC again for the same identifier", "PUBREC")
		}
		again.Send(&codec.Pubrel{PacketID: id})
		t.answers(t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-11"), again, codec.TypePubcomp, []uint16{id})
		t.written(t.Judge("MQTT-4.3.3-2", "MQTT-4.3.3-10"), again, text, 1)
	},
}}

// subscriber starts a client that subscribes and returns its connection, and a topic that it gets
// messages of.
func (t *T) subscriber(qos codec.QoS) (*Conn, string) {
	t.needs(t.seen().subscribes && t.seen().subscribed >= qos, fmt.Sprintf("subscribe at QoS %d", qos))
	c := t.Launch().Accept()
	c.Accepted()
	topic, got := c.Subscribed()
	if got < qos {
		t.NotApplicable("the first subscription of the client is at QoS %d", got)
	}
	return c, topic
}

// burst sends messages with Packet Identifiers that are not in order, and judges that each is
// acknowledged, in the order in which they were sent.
func (t *T) burst(qos codec.QoS, ack codec.Type, order string) (*Conn, []uint16) {
	c, topic := t.subscriber(qos)
	c.Manual()
	ids := []uint16{5, 3, 9, 1}
	if t.V5() {
		if n := c.hello.Props.Uint(codec.PropReceiveMaximum, 65535); int(n) < len(ids) {
			ids = ids[:n]
		}
	}
	var all []byte
	for i, id := range ids {
		all = append(all, t.Encode(&codec.Publish{Topic: topic, QoS: qos, PacketID: id, Payload: fmt.Append(nil, "message ", i)})...)
	}
	c.SendRaw(all...)
	got := t.answers(t.Judge("MQTT-4.5.0-2"), c, ack, ids)
	t.Judge(order).Thatf(slices.Equal(got, ids), fmt.Sprintf("%s with the identifiers %v", ack, ids), "%v", got)
	return c, ids
}

// answers judges that the client acknowledges all of the identifiers while it stays connected, and
// returns them in the order in which they came. The check ends undecided where the client leaves first.
func (t *T) answers(x *Expectation, c *Conn, typ codec.Type, ids []uint16) []uint16 {
	var got []uint16
	limit := time.Now().Add(t.Timeout())
	for len(got) < len(ids) {
		e := c.Serve(time.Until(limit), func(e *peer.Event) bool {
			a, id, _ := ackOf(e)
			return a == typ && slices.Contains(ids, id) && !slices.Contains(got, id)
		})
		if e == nil {
			break
		}
		_, id, _ := ackOf(e)
		got = append(got, id)
	}
	if len(got) < len(ids) {
		if _, ended := c.Closed(); ended {
			t.Inconclusive("the client ended the connection when %d of %d messages were answered", len(got), len(ids))
		}
	}
	if !x.Thatf(len(got) == len(ids), fmt.Sprintf("%s for the identifiers %v", typ, ids), "%v", got) {
		panic(stop{verdict: Pass}) // the recorded breach decides
	}
	return got
}

// keepsSession reports whether the CONNECT asks for a session that outlives the connection.
func (t *T) keepsSession(p *codec.Connect) bool {
	if t.V5() {
		return p.Props.Uint(codec.PropSessionExpiry, 0) > 0
	}
	return !p.CleanStart
}

// comesBack waits until the client has come back to its session, and accepts it there.
func (t *T) comesBack(client *Client) *Conn {
	c := client.Next(t.Timeout())
	if c == nil {
		t.NotApplicable("the client does not connect again within %v", t.Timeout())
	}
	if c.hello.CleanStart {
		t.NotApplicable("the client connects again without its session")
	}
	c.Accepted(func(p *codec.Connack) { p.SessionPresent = true })
	return c
}
