package fuzz

import "github.com/mqlab/mqlab/codec"

// sendServers sends a packet that only a server may send, or of a type that does not exist: in the form of the version or
// of another one, and as often as not with an edit.
func (g *Generator) sendServers(c uint8) {
	form := g.s.Version
	if g.src.percent(35) {
		form = pick(&g.src, []codec.Version{codec.V5, codec.V4})
	}
	b, what := g.servers(form)
	switch {
	case len(b) < 2 || g.src.percent(50):
	case g.src.percent(30):
		how := ""
		b, how = g.flags(b)
		what += ", " + how
	default:
		how := ""
		b, how = g.edit(b, form)
		what += ", " + how
	}
	g.step(Step{Op: Send, Conn: c, Bytes: g.keep(b), Edit: what})
}

// servers makes the packet, and says what it is.
func (g *Generator) servers(form codec.Version) ([]byte, string) {
	var p codec.Packet
	what := "a packet of the server's"
	switch g.src.n(8) {
	case 0, 1:
		a := &codec.Connack{SessionPresent: g.src.percent(25), Reason: pick(&g.src, []codec.ReasonCode{0, 0, 1, 2, 5})}
		if form == codec.V5 {
			if a.Reason > 0 {
				a.Reason = pick(&g.src, []codec.ReasonCode{0x80, 0x84, 0x87, 0x9C})
			}
			g.serversProps(&a.Props, codec.PropSessionExpiry, codec.PropReceiveMaximum, codec.PropTopicAliasMaximum, codec.PropServerKeepAlive)
		}
		if a.Reason != 0 {
			a.SessionPresent = false
		}
		p = a
	case 2:
		a := &codec.Suback{PacketID: pick(&g.src, idPool), Reasons: []codec.ReasonCode{0, 1, 2, 0x80}[:1+g.src.n(4)]}
		g.serversProps(&a.Props)
		p = a
	case 3:
		a := &codec.Unsuback{PacketID: pick(&g.src, idPool)}
		if form == codec.V5 {
			a.Reasons = []codec.ReasonCode{0, 0x11, 0x80}[:1+g.src.n(3)]
		}
		g.serversProps(&a.Props)
		p = a
	case 4:
		p = &codec.Pingresp{}
	case 5:
		d := &codec.Disconnect{}
		if form == codec.V5 {
			d.Reason = pick(&g.src, []codec.ReasonCode{0x89, 0x8B, 0x8D, 0x8E, 0x9D})
			if g.src.percent(50) {
				d.Props.SetText(codec.PropServerReference, pick(&g.src, oddTexts))
			}
		}
		p = d
	case 6:
		return []byte{0, 0}, "a reserved packet type"
	default:
		return []byte{byte(g.src.n(16)<<4) | byte(g.src.n(16)), 0}, "an empty packet of any type"
	}
	if form != g.s.Version {
		what += " in the form of MQTT " + form.String()
	}
	b, err := p.AppendTo(g.tmp[:0], form)
	if err != nil {
		return []byte{byte(p.Type()) << 4, 0}, "an empty packet of the server's"
	}
	g.tmp = b
	return b, what
}

// serversProps adds numbers and a Reason String now and then, where the encoder writes them at all.
func (g *Generator) serversProps(p *codec.Properties, numbers ...codec.PropID) {
	for _, id := range numbers {
		if g.src.percent(20) {
			p.SetUint(id, 1+uint32(g.src.n(100)))
		}
	}
	if g.src.percent(20) {
		p.SetText(codec.PropReasonString, pick(&g.src, oddTexts))
	}
}

// flags sets some of the lower four bits.
func (g *Generator) flags(frame []byte) ([]byte, string) {
	b := append(g.tmp2[:0], frame...)
	g.tmp2 = b
	b[0] ^= byte(1 + g.src.n(15))
	return b, "other flags"
}
