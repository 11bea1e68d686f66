package fuzz

import (
	"bytes"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

// encode writes a packet into a buffer that the next call reuses. A packet that the encoder refuses, which the
// generator makes by odd combinations alone, is nothing.
func (g *Generator) encode(p codec.Packet) []byte {
	b, err := p.AppendTo(g.tmp[:0], g.s.Version)
	if err != nil {
		return nil
	}
	g.tmp = b
	return b
}

// packet sends a packet, edited as often as the script wants it.
func (g *Generator) packet(c uint8, p codec.Packet) {
	if b := g.encode(p); len(b) > 0 {
		g.send(c, b)
	}
}

func (g *Generator) send(c uint8, frame []byte) {
	how := ""
	if g.src.percent(g.editing) {
		frame, how = g.edit(frame, g.s.Version)
	}
	g.step(Step{Op: Send, Conn: c, Bytes: g.keep(frame), Edit: how})
}

// name puts the prefix before a word of a pool.
func (g *Generator) name(word string) string {
	if g.cfg.Prefix == "" {
		return word
	}
	return g.cfg.Prefix + word
}

func (g *Generator) topic() string {
	switch {
	case g.src.percent(6):
		return pick(&g.src, oddTopics)
	default:
		return g.name(pick(&g.src, topicPool))
	}
}

func (g *Generator) filter() string {
	f := pick(&g.src, filterPool)
	if f[0] != '#' && f[0] != '+' {
		f = g.name(f)
	}
	switch {
	case g.src.percent(8):
		return pick(&g.src, oddFilters)
	case g.s.Version == codec.V5 && g.src.percent(15):
		return "$share/" + pick(&g.src, sharePool) + "/" + f
	}
	return f
}

// filler returns n like bytes.
func (g *Generator) filler(n int) []byte {
	if g.cfg.Light {
		n = min(n, 65600)
	}
	if cap(g.text) < n {
		g.text = bytes.Repeat([]byte{'p'}, n)
	}
	return g.text[:n]
}

func (g *Generator) payload() []byte {
	switch g.src.weighted([]int{50, 15, 20, 10, 1}) {
	case 0:
		return g.filler(1 + g.src.n(20))
	case 1:
		return nil
	case 2:
		return g.filler(pick(&g.src, oddSizes))
	case 3:
		return []byte(pick(&g.src, badTexts))
	default:
		return g.filler(pick(&g.src, bigSizes[:6]))
	}
}

func (g *Generator) sendConnect(c uint8) {
	g.makeConnect(c)
	g.packet(c, &g.connect)
	g.conns[c].connected = true
}

func (g *Generator) makeConnect(c uint8) {
	p := &g.connect
	p.Props.Reset()
	will := p.Will.Props
	will.Reset()
	*p = codec.Connect{Version: g.s.Version, KeepAlive: 60, Props: p.Props, CleanStart: g.src.percent(60)}
	p.ClientID = g.name(clientPool[(int(c)+g.src.weighted([]int{70, 15, 10, 5}))%len(clientPool)])
	switch {
	case g.src.percent(4) && g.s.Version != codec.V31:
		p.ClientID, p.CleanStart = "", true
	case g.src.percent(3):
		p.ClientID = g.name(pick(&g.src, oddTexts[1:]))
		if g.s.Version == codec.V31 {
			p.ClientID = p.ClientID[:min(len(p.ClientID), 23)]
		}
	}
	if g.brief {
		p.KeepAlive = 1
	} else if g.src.percent(15) {
		p.KeepAlive = uint16(pick(&g.src, odd16))
	}
	if g.cfg.Username != "" || g.src.percent(4) {
		p.HasUsername, p.Username = true, pick(&g.src, oddTexts)
		if g.cfg.Username != "" {
			p.Username = g.cfg.Username
		}
		if p.HasPassword = g.cfg.Password != "" || g.src.percent(50); p.HasPassword {
			p.Password = []byte(g.cfg.Password)
		}
	}
	if g.src.percent(25) {
		p.HasWill = true
		p.Will = codec.Will{Topic: g.topic(), Payload: g.payload(), QoS: codec.QoS(g.src.n(3)), Retain: g.src.percent(25)}
		if g.s.Version == codec.V5 {
			if g.src.percent(40) {
				will.SetUint(codec.PropWillDelay, pick(&g.src, g.due([]uint32{0, 0, 1, 60})))
			}
			g.messageProps(&will, p.Will.Payload)
		}
	}
	p.Will.Props = will
	if g.s.Version != codec.V5 {
		return
	}
	// A session under an identifier that the server makes up would stay for good: nobody could take it up.
	if g.src.percent(50) && p.ClientID != "" {
		p.Props.SetUint(codec.PropSessionExpiry, pick(&g.src, g.due([]uint32{0, 1, 30, 120, 0x7FFFFFFF, 0xFFFFFFFF})))
	}
	if !g.src.percent(40) {
		return
	}
	if g.src.percent(40) {
		p.Props.SetUint(codec.PropReceiveMaximum, pick(&g.src, []uint32{1, 2, 10, 65535}))
	}
	if g.src.percent(25) {
		p.Props.SetUint(codec.PropMaximumPacketSize, pick(&g.src, []uint32{1, 2, 10, 20, 30, 100, 65536, 0xFFFFFFFF}))
	}
	if g.src.percent(40) {
		p.Props.SetUint(codec.PropTopicAliasMaximum, pick(&g.src, []uint32{0, 1, 2, 10, 65535}))
	}
	if g.src.percent(25) {
		p.Props.SetUint(codec.PropRequestProblemInfo, uint32(g.src.n(2)))
	}
	if g.src.percent(25) {
		p.Props.SetUint(codec.PropRequestResponseInfo, uint32(g.src.n(2)))
	}
	g.userProps(&p.Props)
	if g.src.percent(12) {
		p.Props.SetText(codec.PropAuthMethod, pick(&g.src, []string{"SCRAM-SHA-256", "PLAIN", "", "x"}))
		if g.src.percent(50) {
			p.Props.SetBytes(codec.PropAuthData, g.payload())
		}
	}
}

// userProps adds User Properties now and then, rarely many.
func (g *Generator) userProps(p *codec.Properties) {
	if !g.src.percent(15) {
		return
	}
	n := []int{1, 2, 10, 100}[g.src.weighted([]int{60, 25, 12, 3})]
	for range n {
		p.AddUser(pick(&g.src, oddTexts), pick(&g.src, oddTexts))
	}
}

// messageProps adds the properties that a message and a Will may have.
func (g *Generator) messageProps(p *codec.Properties, payload []byte) {
	if !g.src.percent(40) {
		return
	}
	if g.src.percent(25) && utf8.Valid(payload) {
		p.SetUint(codec.PropPayloadFormat, uint32(g.src.n(2)))
	}
	if g.src.percent(30) || g.brief && g.src.percent(50) {
		p.SetUint(codec.PropMessageExpiry, pick(&g.src, g.due([]uint32{0, 1, 60, 0xFFFFFFFF})))
	}
	if g.src.percent(20) {
		p.SetText(codec.PropContentType, pick(&g.src, oddTexts))
	}
	if g.src.percent(20) {
		p.SetText(codec.PropResponseTopic, g.topic())
	}
	if g.src.percent(20) {
		p.SetBytes(codec.PropCorrelationData, g.payload())
	}
	g.userProps(p)
}

func (g *Generator) sendPublish(c uint8) {
	g.makePublish(c)
	g.packet(c, &g.publish)
}

func (g *Generator) makePublish(c uint8) {
	p, x := &g.publish, &g.conns[c]
	p.Props.Reset()
	*p = codec.Publish{Topic: g.topic(), Payload: g.payload(), QoS: codec.QoS(g.src.weighted([]int{25, 35, 40})), Retain: g.src.percent(18), Props: p.Props}
	if p.QoS > 0 {
		p.PacketID = pick(&g.src, idPool)
		x.lastID = p.PacketID
		p.Dup = g.src.percent(12)
	}
	if g.s.Version != codec.V5 {
		return
	}
	g.messageProps(&p.Props, p.Payload)
	if g.src.percent(18) {
		alias := pick(&g.src, []uint32{1, 2, 3, 10, 11, 65535})
		p.Props.SetUint(codec.PropTopicAlias, alias)
		if bit := uint16(1) << ((alias - 1) & 15); alias <= 16 && x.aliases&bit != 0 && g.src.percent(60) {
			p.Topic = ""
		} else if alias <= 16 {
			x.aliases |= bit
		}
	}
}

func (g *Generator) sendSubscribe(c uint8) {
	g.makeSubscribe()
	g.packet(c, &g.subscribe)
	g.conns[c].subscribed = true
}

func (g *Generator) makeSubscribe() {
	p := &g.subscribe
	p.Props.Reset()
	p.PacketID = pick(&g.src, idPool)
	p.Filters = p.Filters[:0]
	n := []int{1, 2, 3, 10, 100}[g.src.weighted([]int{65, 18, 10, 6, 1})]
	for range n {
		f := codec.Subscription{Filter: g.filter(), QoS: codec.QoS(g.src.n(3))}
		if g.s.Version == codec.V5 && g.src.percent(35) {
			shared := len(f.Filter) > 7 && f.Filter[:7] == "$share/"
			f.NoLocal = !shared && g.src.percent(30)
			f.RetainAsPublished = g.src.percent(40)
			f.RetainHandling = uint8(g.src.n(3))
		}
		p.Filters = append(p.Filters, f)
	}
	if g.s.Version == codec.V5 {
		if g.src.percent(15) {
			p.Props.SetUint(codec.PropSubscriptionID, pick(&g.src, oddVar[1:]))
		}
		g.userProps(&p.Props)
	}
}

func (g *Generator) sendUnsubscribe(c uint8) {
	g.makeUnsubscribe()
	g.packet(c, &g.unsub)
}

func (g *Generator) makeUnsubscribe() {
	p := &g.unsub
	p.Props.Reset()
	p.PacketID = pick(&g.src, idPool)
	p.Filters = p.Filters[:0]
	for range 1 + g.src.weighted([]int{75, 15, 10}) {
		p.Filters = append(p.Filters, g.filter())
	}
	if g.s.Version == codec.V5 {
		g.userProps(&p.Props)
	}
}

// reason chooses a code for an acknowledgement, mostly success.
func (g *Generator) reason(failed ...codec.ReasonCode) codec.ReasonCode {
	if g.s.Version != codec.V5 || !g.src.percent(15) {
		return 0
	}
	return pick(&g.src, failed)
}

// ackProps fills the properties of an acknowledgement now and then.
func (g *Generator) ackProps(p *codec.Properties) {
	p.Reset()
	if g.s.Version != codec.V5 {
		return
	}
	if g.src.percent(5) {
		p.SetText(codec.PropReasonString, pick(&g.src, oddTexts))
	}
	if g.src.percent(20) {
		g.userProps(p)
	}
}

// ackID chooses the identifier of an acknowledgement: of what the connection itself sent, or of the pool, where
// the server's own first identifiers are too.
func (g *Generator) ackID(c uint8) uint16 {
	if id := g.conns[c].lastID; id != 0 && g.src.percent(50) {
		return id
	}
	return pick(&g.src, idPool)
}

// sendAck sends PUBACK, PUBREC or PUBCOMP for an identifier that may be nobody's.
func (g *Generator) sendAck(c uint8) {
	switch g.src.n(3) {
	case 0:
		g.ackProps(&g.ack.Props)
		g.ack.PacketID, g.ack.Reason = g.ackID(c), g.reason(0x80, 0x83, 0x97)
		g.packet(c, &g.ack)
	case 1:
		g.ackProps(&g.rec.Props)
		g.rec.PacketID, g.rec.Reason = g.ackID(c), g.reason(0x80, 0x91, 0x97)
		g.packet(c, &g.rec)
	default:
		g.ackProps(&g.comp.Props)
		g.comp.PacketID, g.comp.Reason = g.ackID(c), g.reason(0x92)
		g.packet(c, &g.comp)
	}
}

func (g *Generator) sendPubrel(c uint8) {
	g.ackProps(&g.rel.Props)
	g.rel.PacketID, g.rel.Reason = g.ackID(c), g.reason(0x92)
	g.packet(c, &g.rel)
}

func (g *Generator) sendDisconnect(c uint8) {
	p := &g.disc
	p.Props.Reset()
	p.Reason = g.reason(0x04, 0x80, 0x81, 0x82, 0x93, 0x98)
	if g.s.Version == codec.V5 && g.src.percent(25) {
		if g.src.percent(50) {
			p.Props.SetUint(codec.PropSessionExpiry, pick(&g.src, []uint32{0, 1, 60, 0xFFFFFFFF}))
		}
		g.userProps(&p.Props)
	}
	g.packet(c, p)
}

func (g *Generator) sendAuth(c uint8) {
	if g.s.Version != codec.V5 {
		g.step(Step{Op: Send, Conn: c, Bytes: g.keep([]byte{0xF0, 0}), Edit: "AUTH before version 5.0"})
		return
	}
	p := &g.auth
	p.Props.Reset()
	p.Reason = pick(&g.src, []codec.ReasonCode{0x18, 0x19})
	p.Props.SetText(codec.PropAuthMethod, pick(&g.src, []string{"SCRAM-SHA-256", "PLAIN", "", "x"}))
	if g.src.percent(60) {
		p.Props.SetBytes(codec.PropAuthData, g.payload())
	}
	g.packet(c, p)
}
