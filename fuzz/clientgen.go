package fuzz

import (
	"errors"
	"fmt"

	"github.com/mqlab/mqlab/codec"
)

// put sends a packet, edited now and then, and writes it down.
func (x *session) put(g *Generator, p codec.Packet) {
	b, err := p.AppendTo(g.tmp[:0], x.v)
	if err != nil {
		return
	}
	g.tmp = b
	how := ""
	editing := g.editing
	if _, opening := p.(*codec.Connack); opening { // most edits of it end the connection before it has begun
		editing = min(editing, 12)
	}
	if g.src.percent(editing) {
		b, how = g.edit(b, x.v)
	}
	x.putBytes(g, b, how)
}

// putBytes sends bytes and writes them down.
func (x *session) putBytes(g *Generator, b []byte, how string) {
	b = g.keep(b)
	x.s.Steps = append(x.s.Steps, Step{Op: Send, Bytes: b, Edit: how})
	x.f.packets.Add(1)
	x.sent1(b, how)
	x.send(b, how)
}

// examine holds what is malformed about a packet of a client that was sent nothing wrong.
func (x *session) examine(frame []byte) {
	d := codec.Decoder{Version: x.v, From: codec.Client}
	_, err := d.Decode(frame)
	var e *codec.Error
	if !errors.As(err, &e) || x.wrong {
		return
	}
	x.hold = append(x.hold, trouble{
		oracle: OracleMalformed, signature: fmt.Sprintf("%s %s %s", e.Fault, e.Packet, x.v), rule: e.Rule, warn: e.Level != codec.Must,
		title: fmt.Sprintf("the client sends a malformed %s under MQTT %s: %s", e.Packet, x.v, e.Msg), detail: []string{fmt.Sprintf("received: %x", frame[:min(len(frame), 200)])},
	})
}

// answer answers a packet of the client.
func (x *session) answer(g *Generator, frame []byte) {
	d := codec.Decoder{Version: x.v, From: codec.Client, Mode: codec.Lenient}
	p, _ := d.Decode(frame)
	if p == nil {
		return
	}
	var props codec.Properties
	if g.editing > 0 {
		g.ackProps(&props)
	}
	switch p := p.(type) {
	case *codec.Connect:
		a := &codec.Connack{}
		if x.v == codec.V5 && g.editing > 0 {
			a.Props = props
			if g.src.percent(30) {
				a.Props.SetUint(codec.PropReceiveMaximum, pick(&g.src, []uint32{1, 2, 65535}))
			}
			if g.src.percent(30) {
				a.Props.SetUint(codec.PropTopicAliasMaximum, pick(&g.src, []uint32{0, 1, 10, 65535}))
			}
			if g.src.percent(15) {
				a.Props.SetUint(codec.PropServerKeepAlive, pick(&g.src, []uint32{0, 1, 60, 65535}))
			}
			if g.src.percent(15) {
				a.Props.SetUint(codec.PropMaximumPacketSize, pick(&g.src, []uint32{20, 100, 65536}))
			}
			if g.src.percent(15) {
				a.Props.SetUint(codec.PropMaximumQoS, uint32(g.src.n(2)))
			}
			if p.ClientID == "" {
				a.Props.SetText(codec.PropAssignedClientID, "assigned")
			}
		} else if x.v == codec.V5 && p.ClientID == "" {
			a.Props.SetText(codec.PropAssignedClientID, "assigned")
		}
		x.put(g, a)
	case *codec.Subscribe:
		a := &codec.Suback{PacketID: p.PacketID, Props: props}
		for _, s := range p.Filters {
			a.Reasons = append(a.Reasons, codec.ReasonCode(s.QoS))
		}
		x.subscribed = true
		x.put(g, a)
	case *codec.Unsubscribe:
		a := &codec.Unsuback{PacketID: p.PacketID, Props: props}
		if x.v == codec.V5 {
			a.Reasons = make([]codec.ReasonCode, len(p.Filters))
		}
		x.put(g, a)
	case *codec.Publish:
		switch p.QoS {
		case 1:
			x.put(g, &codec.Puback{PacketID: p.PacketID, Props: props})
		case 2:
			x.put(g, &codec.Pubrec{PacketID: p.PacketID, Props: props})
		}
	case *codec.Pubrel:
		x.put(g, &codec.Pubcomp{PacketID: p.PacketID, Props: props})
	case *codec.Pubrec:
		x.put(g, &codec.Pubrel{PacketID: p.PacketID, Props: props})
	case *codec.Pingreq:
		x.put(g, &codec.Pingresp{})
	}
}

// deliver sends a message on the client's topic, or now and then another packet of a server's.
func (x *session) deliver(g *Generator) {
	if g.editing > 0 && g.src.percent(12) {
		switch g.src.n(4) {
		case 0:
			x.put(g, &codec.Pubrel{PacketID: pick(&g.src, idPool)})
		case 1:
			x.put(g, &codec.Pingresp{})
		case 2:
			x.put(g, &codec.Puback{PacketID: pick(&g.src, idPool)})
		default:
			if x.v == codec.V5 {
				x.put(g, &codec.Disconnect{Reason: pick(&g.src, []codec.ReasonCode{0x81, 0x82, 0x8B, 0x8D, 0x9C})})
			}
		}
		return
	}
	m := &codec.Publish{Topic: clientTopic, QoS: codec.QoS(g.src.n(3)), Retain: g.src.percent(10), Payload: g.payload()}
	if m.QoS > 0 {
		m.PacketID = pick(&g.src, idPool)
	}
	if x.v == codec.V5 && g.editing > 0 {
		g.messageProps(&m.Props, m.Payload)
	}
	x.put(g, m)
}

// mimic sends once more what a script that led somewhere has sent at its end, with changes.
func (x *session) mimic(g *Generator, s, other *Script) {
	var steps []Step
	for _, from := range []*Script{s, other} {
		for i := range from.Steps {
			st := &from.Steps[i]
			if st.Op != Send || len(st.Bytes) == 0 || from.Version != x.v {
				continue
			}
			switch codec.Type(st.Bytes[0] >> 4) {
			case codec.TypeConnack, codec.TypeSuback, codec.TypeUnsuback: // answers, which have their time
			default:
				steps = append(steps, *st)
			}
		}
		if from == s && (other == s || !g.src.percent(25)) {
			break
		}
	}
	if most := 1 + g.src.n(5); len(steps) > most {
		steps = steps[len(steps)-most:]
	}
	for i := range steps {
		st := &steps[i]
		switch g.src.weighted([]int{50, 30, 8, 12}) {
		case 1:
			if frame, rest, err := codec.Cut(st.Bytes, 0); frame != nil && len(rest) == 0 && err == nil {
				b, how := g.edit(st.Bytes, x.v)
				if st.Edit != "" {
					how = st.Edit + ", " + how
				}
				x.putBytes(g, b, how)
				continue
			}
		case 2:
			continue
		case 3:
			x.putBytes(g, st.Bytes, st.Edit)
		}
		x.putBytes(g, st.Bytes, st.Edit)
	}
}
