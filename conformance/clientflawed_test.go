package conformance_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// flawed is a client with some flaws, or with none. It subscribes at QoS 2, publishes four messages
// at QoS 2 one behind the other, writes what it gets, stays, and connects again when it has to.
type flawed struct {
	version codec.Version
	flaws   []string
	message string // to be published; empty: numbers

	conns   int
	next    uint16    // identifier of the next message, up to 4
	open    []outward // what is not complete, in order
	in      map[uint16]inward
	aliases map[uint16]string
	stuck   bool
	unheard int // PINGREQs since anything came
}

type outward struct {
	id       uint16
	qos      codec.QoS
	at       time.Time
	released bool
	lost     bool // its slot is not given back
}

// inward is a message of QoS 2 that waits for PUBREL.
type inward struct {
	at   time.Time
	life time.Duration
	done bool
}

// What it announces under 5.0.
const (
	flawedAliases = 5
	flawedQuota   = 8
	flawedSize    = 20_000
)

func (f *flawed) has(flaw string) bool { return slices.Contains(f.flaws, flaw) }

// flawedClient is the program.
func flawedClient(port string, flaws ...string) int {
	f := &flawed{version: codec.V4, flaws: flaws, next: 1, in: map[uint16]inward{}}
	if f.has("v5") {
		f.version = codec.V5
	}
	for _, flaw := range flaws {
		if text, ok := strings.CutPrefix(flaw, "message="); ok {
			f.message = text
		}
	}
	for range 50 {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return 0 // the server is gone
		}
		if f.has("never closes") {
			nc = stubborn{nc}
		}
		c := peer.New(nc, peer.Config{Version: f.version})
		again := f.converse(c)
		_ = c.Close()
		if !again {
			return 0
		}
	}
	return 1
}

// stubborn is a connection that its own side never closes.
type stubborn struct{ net.Conn }

func (stubborn) Close() error { return nil }

// limits are what the server announces.
type limits struct {
	qos   codec.QoS
	quota int
	size  int
	alive time.Duration
}

func (f *flawed) limits(ack *codec.Connack) limits {
	l := limits{
		codec.QoS(ack.Props.Uint(codec.PropMaximumQoS, 2)), int(ack.Props.Uint(codec.PropReceiveMaximum, 65535)),
		int(ack.Props.Uint(codec.PropMaximumPacketSize, 1<<20)), time.Duration(ack.Props.Uint(codec.PropServerKeepAlive, 5)) * time.Second,
	}
	switch {
	case f.has("qos 0"):
		l.qos = 0
	case f.has("qos 1"):
		l.qos = 1
	}
	if f.has("any qos") {
		l.qos = 2
	}
	if f.has("any quota") {
		l.quota = 65535
	}
	if f.has("any size") {
		l.size = 1 << 20
	}
	if f.has("own rhythm") {
		l.alive = 8 * time.Second
	}
	if f.has("brief") {
		l.alive = time.Second
	}
	if f.has("no pings") {
		l.alive = time.Hour
	}
	return l
}

func (f *flawed) hello() *codec.Connect {
	p := &codec.Connect{Version: f.version, ClientID: "flawed", KeepAlive: 5, CleanStart: true}
	if f.has("no pings") || f.has("brief") {
		p.KeepAlive = 1
	}
	if f.has("persistent") {
		p.CleanStart = false
		if f.version == codec.V5 {
			p.Props.SetUint(codec.PropSessionExpiry, 100)
		}
	}
	if f.version == codec.V5 {
		p.Props.SetUint(codec.PropTopicAliasMaximum, flawedAliases)
		p.Props.SetUint(codec.PropReceiveMaximum, flawedQuota)
		p.Props.SetUint(codec.PropMaximumPacketSize, flawedSize)
		p.Props.SetUint(codec.PropRequestProblemInfo, 0)
	}
	if f.has("other id") && f.conns > 1 {
		p.ClientID = "other"
	}
	return p
}

// publish sends what the limits allow.
func (f *flawed) publish(c *peer.Conn, l limits) {
	for ; f.next <= 4 && len(f.open) < l.quota; f.next++ {
		p := &codec.Publish{Topic: "mine", QoS: min(2, l.qos), PacketID: f.next, Payload: []byte{byte('0' + f.next)}}
		if f.message != "" {
			p.Payload = []byte(f.message)
		}
		if p.QoS == 0 {
			p.PacketID = 0
			if f.has("identifier at qos 0") {
				p.Payload = append([]byte{0, 9}, p.Payload...)
			}
		}
		if f.has("alias") {
			p.Props.SetUint(codec.PropTopicAlias, 1)
		}
		p.Retain = f.has("retains")
		if f.has("short lives") {
			p.Props.SetUint(codec.PropMessageExpiry, 1)
		}
		if p.Size(f.version) > l.size {
			continue
		}
		if p.QoS > 0 {
			f.open = append(f.open, outward{id: f.next, qos: p.QoS, at: time.Now()})
		}
		_ = c.Send(p)
	}
}

// resend sends again what an older connection left open.
func (f *flawed) resend(c *peer.Conn) {
	if f.has("forgets") {
		f.open = nil
	}
	for _, o := range f.open {
		if o.released {
			if !f.has("no pubrel again") {
				_ = c.Send(&codec.Pubrel{PacketID: o.id})
			}
			continue
		}
		_ = c.Send(&codec.Publish{Topic: "mine", QoS: o.qos, PacketID: o.id, Dup: !f.has("no dup"), Payload: []byte{byte('0' + o.id)}})
	}
}

// anything matches every event.
func anything(*peer.Event) bool { return true }

// greet sends CONNECT and waits for CONNACK, or returns nil.
func (f *flawed) greet(c *peer.Conn, hello *codec.Connect) *codec.Connack {
	wait := 10 * time.Second
	switch {
	case f.conns > 1:
		wait = time.Minute
	case f.has("hasty"):
		wait = 300 * time.Millisecond
	case f.has("impatient"):
		wait = 100 * time.Millisecond
	}
	if f.has("wrong name") {
		b, _ := hello.AppendTo(nil, f.version)
		b, _ = codec.Break(b, f.version, codec.BreakProtocolName)
		_ = c.SendRaw(b)
	} else {
		_ = c.Send(hello)
	}
	e, err := c.Await(wait, anything)
	if f.has("impatient") && errors.Is(err, peer.ErrTimeout) {
		_ = c.Send(hello)
		e, err = c.Await(10*time.Second, anything)
	}
	if err != nil {
		return nil
	}
	ack, ok := e.Packet.(*codec.Connack)
	if !ok || len(e.Faults) > 0 && !f.has("tolerant") {
		return nil
	}
	return ack
}

// converse is one connection. It reports whether to connect again.
func (f *flawed) converse(c *peer.Conn) bool {
	f.conns++
	subscribe := &codec.Subscribe{PacketID: 99, Filters: []codec.Subscription{{Filter: "flawed/#", QoS: 2}}}
	if f.has("subscribes first") {
		_ = c.Send(subscribe)
	}
	if f.has("skips hello") && f.conns > 1 {
		_ = c.Send(&codec.Pingreq{})
	}
	hello := f.hello()
	ack := f.greet(c, hello)
	switch {
	case ack == nil:
		return false
	case ack.Reason != 0 && f.has("stays refused"):
		<-time.After(time.Minute)
	case ack.Reason != 0:
		return f.has("skips hello") && f.conns < 3
	case ack.SessionPresent && f.version == codec.V5 && hello.CleanStart && !f.has("takes any session"):
		return false
	case ack.SessionPresent || f.has("old state") && f.conns > 1:
		f.resend(c)
	default:
		f.next, f.open = 1, nil
		clear(f.in)
	}
	if !f.has("keeps aliases") || f.aliases == nil {
		f.aliases = map[uint16]string{}
	}
	l := f.limits(ack)
	_ = c.Send(subscribe)
	f.publish(c, l)
	if f.has("leaves") {
		_ = c.Send(&codec.Disconnect{})
		if f.has("talks on") {
			_ = c.Send(&codec.Pingreq{})
		}
		if f.has("never closes") {
			<-time.After(time.Minute)
		}
		return false
	}
	var held []codec.Packet
	for {
		wait := l.alive / 2
		if len(held) > 0 {
			wait = 200 * time.Millisecond
		}
		e, err := c.Await(wait, anything)
		switch {
		case errors.Is(err, peer.ErrTimeout) && len(held) > 0: // acknowledgements in the wrong order
			slices.Reverse(held)
			for _, p := range held {
				_ = c.Send(p)
			}
			held = nil
			continue
		case errors.Is(err, peer.ErrTimeout):
			if f.unheard++; f.unheard > 2 && !f.has("deaf to silence") {
				return false
			}
			_ = c.Send(&codec.Pingreq{})
			continue
		case err != nil:
			if f.has("never closes") {
				<-time.After(time.Minute)
			}
			return true
		}
		f.unheard = 0
		if !f.sound(e) {
			switch {
			case f.has("tolerant"):
				continue
			case f.has("never closes"):
				<-time.After(time.Minute)
			case f.has("lingers"):
				_ = c.Send(&codec.Disconnect{Reason: codec.ProtocolError})
				<-time.After(time.Minute)
			}
			return false
		}
		if ack, ok := e.Packet.(*codec.Pubrec); ok && ack.Reason.Failed() && f.has("cuts on error") {
			return true
		}
		switch out := f.answer(e, l); {
		case out == nil:
			f.publish(c, l)
		case f.has("backwards"):
			held = append(held, out)
		default:
			_ = c.Send(out)
		}
	}
}

// sound reports whether a packet may come from a server, and may come now.
func (f *flawed) sound(e *peer.Event) bool {
	if len(e.Faults) > 0 || e.Packet == nil {
		return false
	}
	if f.version != codec.V5 {
		return true
	}
	if p, ok := e.Packet.(*codec.Publish); ok {
		return f.soundPublish(e, p)
	}
	var props *codec.Properties
	switch p := e.Packet.(type) {
	case *codec.Connect, *codec.Subscribe, *codec.Unsubscribe, *codec.Pingreq, *codec.Auth, *codec.Disconnect:
		return false
	case *codec.Suback:
		props = &p.Props
	case *codec.Puback:
		props = &p.Props
	case *codec.Pubrec:
		props = &p.Props
	case *codec.Pubrel:
		props = &p.Props
	case *codec.Pubcomp:
		props = &p.Props
	}
	return props == nil || !props.Has(codec.PropReasonString)
}

func (f *flawed) soundPublish(e *peer.Event, p *codec.Publish) bool {
	open := 0
	for _, m := range f.in {
		if !m.done {
			open++
		}
	}
	last := codec.PropID(0)
	ordered := true
	for prop := range p.Props.All() {
		ordered = ordered && prop.ID >= last
		last = prop.ID
	}
	alias := uint16(p.Props.Uint(codec.PropTopicAlias, 0))
	switch {
	case len(e.Frame) > flawedSize, alias > flawedAliases, alias > 0 && f.has("no aliases"), !ordered && f.has("one order"), open > flawedQuota:
		return false
	case alias == 0:
		return true
	case p.Topic == "":
		p.Topic = f.aliases[alias]
		return p.Topic != ""
	case f.aliases[alias] == "" || !f.has("first alias"):
		f.aliases[alias] = strings.Clone(p.Topic)
	}
	return true
}

// answer is what a packet asks for, or nil.
func (f *flawed) answer(e *peer.Event, l limits) codec.Packet {
	if f.stuck {
		return nil
	}
	switch p := e.Packet.(type) {
	case *codec.Publish:
		if f.has("window stops all") && len(f.open) >= l.quota || f.has("unasked") && !strings.HasPrefix(p.Topic, "flawed/") {
			return nil
		}
		return f.take(p)
	case *codec.Puback:
		if !f.opened(p.PacketID) && f.has("panics") {
			panic("nobody waits for it")
		}
		f.stuck = !f.opened(p.PacketID) && f.has("stuck")
		f.open = slices.DeleteFunc(f.open, func(o outward) bool { return o.id == p.PacketID })
	case *codec.Pubrec:
		return f.release(e, p)
	case *codec.Pubrel:
		return f.complete(p)
	case *codec.Pubcomp:
		f.open = slices.DeleteFunc(f.open, func(o outward) bool { return o.id == p.PacketID && !o.lost })
	}
	return nil
}

func (f *flawed) opened(id uint16) bool {
	return slices.ContainsFunc(f.open, func(o outward) bool { return o.id == id })
}

// take writes a message, each once, and acknowledges it.
func (f *flawed) take(p *codec.Publish) codec.Packet {
	known := false
	if p.QoS == 2 {
		_, known = f.in[p.PacketID]
	}
	if !(known && !f.has("prints twice") || p.QoS == 1 && p.Dup && f.has("dedups qos1")) {
		fmt.Println(p.Topic, string(p.Payload))
	}
	switch {
	case p.QoS == 1 && !f.has("deaf"):
		return &codec.Puback{PacketID: p.PacketID}
	case p.QoS == 2 && !(known && f.has("no second pubrec")):
		if !known {
			f.in[p.PacketID] = inward{at: time.Now(), life: time.Duration(p.Props.Uint(codec.PropMessageExpiry, 0)) * time.Second}
		}
		return &codec.Pubrec{PacketID: p.PacketID}
	}
	return nil
}

// release answers PUBREC.
func (f *flawed) release(e *peer.Event, p *codec.Pubrec) codec.Packet {
	if p.Reason.Failed() {
		f.open = slices.DeleteFunc(f.open, func(o outward) bool { return o.id == p.PacketID })
		return nil
	}
	for i := range f.open {
		o := &f.open[i]
		if o.id != p.PacketID {
			continue
		}
		if old := time.Since(o.at); f.has("forgets late") && old > 400*time.Millisecond || f.has("drops expired") && old > time.Second {
			return nil
		}
		o.released, o.lost = true, f.has("slot lost")
	}
	if f.has("long acks only") && len(e.Frame) == 4 {
		return nil
	}
	return &codec.Pubrel{PacketID: p.PacketID}
}

// complete answers PUBREL.
func (f *flawed) complete(p *codec.Pubrel) codec.Packet {
	m, known := f.in[p.PacketID]
	m.done = true
	if delete(f.in, p.PacketID); f.has("remembers ids") && known {
		f.in[p.PacketID] = m
	}
	switch {
	case f.has("wrong pubcomp"):
		return &codec.Pubcomp{PacketID: p.PacketID + 1}
	case !known && f.has("no pubcomp"):
		return nil
	case f.has("expires") && m.life > 0 && time.Since(m.at) > m.life:
		return &codec.Pubcomp{PacketID: p.PacketID, Reason: codec.PacketIDNotFound}
	case !known && f.version == codec.V5:
		return &codec.Pubcomp{PacketID: p.PacketID, Reason: codec.PacketIDNotFound}
	}
	return &codec.Pubcomp{PacketID: p.PacketID}
}
