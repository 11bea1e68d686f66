package fuzz

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// GenConfig says what a Generator makes. The zero value makes scripts of all versions.
type GenConfig struct {
	Versions           []codec.Version // empty: all
	Prefix             string          // of Client Identifiers and topics
	Username, Password string          // of every CONNECT
	// Light leaves out what takes long: bursts, large payloads, pauses and churn are small.
	Light bool
}

// A Generator makes scripts. Each depends on the seed, the configuration and the number of scripts before it alone. It
// is for one goroutine.
type Generator struct {
	cfg  GenConfig
	main source // seeds of scripts
	src  source // choices within a script

	s       *Script
	arena   []byte
	conns   [MaxConns]genConn
	editing int  // per cent of the packets
	brief   bool // what may come due does so in a second
	weights []int

	connect   codec.Connect
	publish   codec.Publish
	subscribe codec.Subscribe
	unsub     codec.Unsubscribe
	ack       codec.Puback
	rec       codec.Pubrec
	rel       codec.Pubrel
	comp      codec.Pubcomp
	disc      codec.Disconnect
	auth      codec.Auth
	dec       codec.Decoder
	fields    []codec.Field
	tmp, tmp2 []byte
	text      []byte
}

// genConn is what the generator knows of a connection of the script it writes.
type genConn struct {
	open, connected bool
	subscribed      bool
	aliases         uint16 // bit n: alias n+1 was set
	lastID          uint16 // of the last PUBLISH
}

// NewGenerator returns a generator for the seed.
func NewGenerator(seed uint64, cfg GenConfig) *Generator {
	if len(cfg.Versions) == 0 {
		cfg.Versions = []codec.Version{codec.V5, codec.V4, codec.V31}
	}
	g := &Generator{cfg: cfg}
	g.main.pcg = rand.NewPCG(seed, 0x6d716c6162)
	g.src.pcg = rand.NewPCG(0, 0)
	return g
}

// Next makes the next script. It is the caller's.
func (g *Generator) Next() *Script { return g.Make(g.main.pcg.Uint64()) }

// Make makes the script of a seed, which Script.Seed names.
func (g *Generator) Make(seed uint64) *Script {
	g.src.pcg.Seed(seed, 1)
	g.begin(seed)
	g.theme()
	return g.end()
}

// FromBytes makes the script that bytes choose, each byte one choice: by it a fuzzer that knows no more than bytes
// drives the generator. The script is light.
func FromBytes(b []byte) *Script {
	g := &Generator{cfg: GenConfig{Versions: []codec.Version{codec.V5, codec.V4, codec.V31}, Light: true}}
	g.src.bytes = b
	g.begin(0)
	g.theme()
	return g.end()
}

func (g *Generator) begin(seed uint64) {
	g.s = &Script{Seed: seed, Version: g.version(), Steps: make([]Step, 0, 16)}
	g.arena = make([]byte, 0, 1024)
	g.conns = [MaxConns]genConn{}
	g.brief = false
	g.editing = []int{0, 25, 50, 80}[g.src.weighted([]int{25, 30, 30, 15})]
}

func (g *Generator) end() *Script {
	s := g.s
	g.s, g.arena = nil, nil
	return s
}

// version prefers the versions in the order in which they are given.
func (g *Generator) version() codec.Version {
	vs := g.cfg.Versions
	k := g.src.n(len(vs) * (len(vs) + 1) / 2)
	for i := range vs {
		if k -= len(vs) - i; k < 0 {
			return vs[i]
		}
	}
	return vs[0]
}

// theme writes the script: a walk, mostly, whose weights the theme decides.
func (g *Generator) theme() {
	themes := []struct {
		weight  int
		weights []int
		conns   []int // weights of 1, 2, 3 and 4 connections
	}{
		//      connect publish sub unsub ack pubrel ping disconnect auth drop answer settle half burst hold server
		{40, []int{3, 26, 14, 7, 8, 8, 5, 4, 3, 4, 6, 4, 2, 1, 1, 3}, []int{45, 35, 12, 8}},    // anything
		{12, []int{1, 35, 6, 2, 16, 20, 1, 1, 0, 6, 10, 2, 0, 0, 0, 0}, []int{50, 40, 5, 5}},   // delivery
		{10, []int{10, 25, 18, 4, 3, 3, 1, 6, 1, 16, 8, 6, 0, 0, 0, 0}, []int{10, 50, 25, 15}}, // sessions, takeover and wills
		{10, []int{1, 36, 26, 16, 2, 2, 1, 1, 0, 3, 6, 3, 0, 0, 0, 0}, []int{20, 50, 20, 10}},  // subscriptions
	}
	if g.src.n(1000) >= 1000-g.max(rareLight, rare) {
		g.rarely()
		return
	}
	if g.src.percent(22) {
		g.special()
		return
	}
	w := make([]int, 0, len(themes))
	for _, t := range themes {
		w = append(w, t.weight)
	}
	t := &themes[g.src.weighted(w)]
	g.weights = t.weights
	n := 1 + g.src.weighted(t.conns)
	steps := 2 + g.src.n(4)
	if g.src.percent(40) {
		steps += g.src.n(12)
	}
	for range steps {
		if g.src.ended() && len(g.s.Steps) > 0 {
			return
		}
		g.act(uint8(g.src.n(n)))
	}
}

// special writes a script of one of the rarer kinds.
func (g *Generator) special() {
	switch g.src.weighted([]int{30, 22, 8, 6, 14, 8, 12}) {
	case 0: // one edited packet in a sound session
		g.editing = 0
		g.begun(0)
		if g.src.percent(40) {
			g.act1(0, 2)
		}
		g.editing = 100
		g.act1(0, g.src.weighted([]int{4, 30, 24, 12, 10, 8, 3, 8, 5}))
	case 1: // the first packet is edited, or no CONNECT
		g.step(Step{Op: Open})
		g.conns[0].open = true
		g.editing = 100
		if g.src.percent(75) {
			g.sendConnect(0)
		} else {
			g.act1(0, g.src.weighted([]int{0, 20, 20, 10, 10, 10, 10, 10, 10}))
		}
	case 2:
		g.burst(0)
	case 3:
		g.churn()
	case 4: // what does not wait for CONNACK
		g.step(Step{Op: Open})
		g.conns[0].open = true
		g.sendConnect(0)
		for range 1 + g.src.n(4) {
			g.act1(0, g.src.weighted([]int{4, 30, 24, 12, 10, 8, 3, 8, 5}))
		}
		if g.src.percent(50) {
			g.step(Step{Op: Settle, Gap: settleGap})
			g.act1(0, 1)
		}
	case 5:
		g.begun(0)
		g.half(0)
		g.act1(0, 1)
	case 6: // a session is left and taken up
		g.begun(0)
		g.act1(0, 2)
		for range 1 + g.src.n(3) {
			g.act1(0, 1)
		}
		g.leave(0)
		if g.src.percent(60) {
			g.begun(1)
			g.act1(1, 1)
		}
		g.begun(0)
		g.step(Step{Op: Answer, Ack: Ack(g.src.n(6))})
		g.act1(0, g.src.weighted([]int{2, 10, 10, 10, 10, 10}))
	}
}

// begun opens a connection and sends CONNECT.
func (g *Generator) begun(c uint8) {
	g.step(Step{Op: Open, Conn: c})
	g.conns[c] = genConn{open: true}
	g.sendConnect(c)
	if g.src.percent(75) {
		g.step(Step{Op: Settle, Conn: c, Gap: settleGap})
	}
}

// settleGap is the most that a script waits for answers.
const settleGap = 50 * time.Millisecond

// act makes one step of a walk.
func (g *Generator) act(c uint8) {
	x := &g.conns[c]
	if !x.open {
		g.step(Step{Op: Open, Conn: c})
		*x = genConn{open: true}
	}
	if !x.connected && g.src.percent(94) {
		g.sendConnect(c)
		if g.src.percent(70) {
			g.step(Step{Op: Settle, Conn: c, Gap: settleGap})
		}
		return
	}
	g.act1(c, g.src.weighted(g.weights))
}

// act1 makes the step of the kind.
func (g *Generator) act1(c uint8, kind int) {
	edits := len(g.s.Steps)
	switch kind {
	case 0:
		g.sendConnect(c)
	case 1:
		g.sendPublish(c)
	case 2:
		g.sendSubscribe(c)
		if len(g.subscribe.Filters) > 1 && g.s.Steps[len(g.s.Steps)-1].Edit == "" && g.src.percent(25) {
			g.publishToFilters(c)
		}
	case 3:
		g.sendUnsubscribe(c)
	case 4:
		g.sendAck(c)
	case 5:
		g.sendPubrel(c)
	case 6:
		g.send(c, []byte{byte(codec.TypePingreq) << 4, 0})
	case 7:
		g.sendDisconnect(c)
	case 8:
		g.sendAuth(c)
	case 9:
		g.leave(c)
	case 10:
		g.step(Step{Op: Answer, Conn: c, Ack: Ack(g.src.weighted([]int{60, 10, 10, 8, 6, 6}))})
	case 11:
		g.step(Step{Op: Settle, Conn: c, Gap: settleGap})
	case 12:
		g.half(c)
	case 13:
		g.burst(c)
	case 14:
		most := 3
		if g.src.percent(5) {
			most = g.max(3, 30)
		}
		g.step(Step{Op: Pause, Gap: time.Duration(1+g.src.n(most)) * time.Millisecond})
	case 15:
		g.sendServers(c)
	}
	// A packet that breaks a rule ends most connections: another one lets the rest of the walk live.
	if n := len(g.s.Steps); n > edits && g.s.Steps[n-1].Edit != "" && g.src.percent(60) {
		g.step(Step{Op: Settle, Conn: c, Gap: settleGap})
		g.step(Step{Op: Drop, Conn: c})
		g.conns[c] = genConn{}
	}
}

// max returns the smaller bound where the script has to be light.
func (g *Generator) max(light, full int) int {
	if g.cfg.Light {
		return light
	}
	return full
}

func (g *Generator) step(s Step) { g.s.Steps = append(g.s.Steps, s) }

// leave ends a connection in one of several ways.
func (g *Generator) leave(c uint8) {
	x := &g.conns[c]
	switch {
	case g.src.percent(35):
		g.sendDisconnect(c)
		g.step(Step{Op: Close, Conn: c})
	case g.src.percent(50):
		g.step(Step{Op: Close, Conn: c})
	default:
		g.step(Step{Op: Drop, Conn: c})
	}
	*x = genConn{}
}

// half sends a part of a packet, or a packet in pieces.
func (g *Generator) half(c uint8) {
	g.makePublish(c)
	frame := g.encode(&g.publish)
	if len(frame) < 3 {
		return
	}
	if g.src.percent(50) {
		g.step(Step{Op: Drip, Conn: c, Bytes: g.keep(frame), Size: 1 + g.src.n(7), Gap: time.Duration(g.src.n(3)) * 200 * time.Microsecond})
		return
	}
	cut := 1 + g.src.n(len(frame)-1)
	g.step(Step{Op: Send, Conn: c, Bytes: g.keep(frame[:cut]), Edit: "half a packet"})
	switch g.src.n(4) {
	case 0: // the rest comes after a while
		g.step(Step{Op: Settle, Conn: c, Gap: 5 * time.Millisecond})
		g.step(Step{Op: Send, Conn: c, Bytes: g.keep(frame[cut:]), Edit: "the other half"})
	case 1:
		g.step(Step{Op: Close, Conn: c})
		g.conns[c] = genConn{}
	case 2:
		g.step(Step{Op: Drop, Conn: c})
		g.conns[c] = genConn{}
	}
}

// burst sends the same packet many times.
func (g *Generator) burst(c uint8) {
	g.editing = 0
	if !g.conns[c].connected {
		g.begun(c)
	}
	if g.src.percent(60) {
		to := c
		if g.src.percent(50) {
			to = (c + 1) % MaxConns
			g.begun(to)
		}
		g.sendSubscribe(to)
		g.step(Step{Op: Settle, Conn: to, Gap: settleGap})
	}
	repeat := []int{10, 30, 100, 300, 1000, 10_000, 100_000}[g.src.weighted([]int{20, 25, 25, 15, 10, 4, 1})]
	repeat = g.max(min(repeat, 40), repeat)
	var b []byte
	switch g.src.weighted([]int{50, 15, 10, 8, 8, 5}) {
	case 0:
		g.makePublish(c)
		if g.src.percent(40) {
			g.publish.Payload = g.filler(pick(&g.src, bigSizes))
		}
		b = g.encode(&g.publish)
	case 1:
		g.makeSubscribe()
		b = g.encode(&g.subscribe)
	case 2:
		g.makeUnsubscribe()
		b = g.encode(&g.unsub)
	case 3:
		b = []byte{byte(codec.TypePingreq) << 4, 0}
	case 4:
		g.rel = codec.Pubrel{PacketID: pick(&g.src, idPool)}
		b = g.encode(&g.rel)
	case 5:
		g.ack = codec.Puback{PacketID: pick(&g.src, idPool)}
		b = g.encode(&g.ack)
	}
	if len(b) == 0 {
		return
	}
	repeat = max(2, min(repeat, g.max(1<<20, 24<<20)/len(b)))
	g.step(Step{Op: Send, Conn: c, Bytes: g.keep(b), Repeat: repeat})
	switch g.src.n(3) {
	case 0:
		g.step(Step{Op: Drop, Conn: c})
		g.conns[c] = genConn{}
	case 1:
		g.step(Step{Op: Answer, Conn: c})
	}
}

// churn makes connections at once that run the same packets and are dropped.
func (g *Generator) churn() {
	g.editing = 0
	var all []byte
	add := func(p codec.Packet) { all = append(all, g.encode(p)...) }
	g.makeConnect(0)
	if g.src.percent(50) { // an identifier of the server's choice: the connections do not take one another over
		g.connect.ClientID, g.connect.CleanStart = "", true
		g.connect.Props.Remove(codec.PropSessionExpiry)
	}
	add(&g.connect)
	for range 1 + g.src.n(4) {
		switch g.src.weighted([]int{40, 45, 15}) {
		case 0:
			g.makeSubscribe()
			add(&g.subscribe)
		case 1:
			g.makePublish(0)
			add(&g.publish)
		case 2:
			g.makeUnsubscribe()
			add(&g.unsub)
		}
	}
	repeat := []int{2, 5, 20, 60}[g.src.weighted([]int{40, 30, 20, 10})]
	g.step(Step{Op: Churn, Bytes: g.keep(all), Size: g.max(2+g.src.n(2), 4+g.src.n(9)), Repeat: g.max(min(repeat, 3), repeat)})
}

// keep copies bytes into the script's own memory.
func (g *Generator) keep(b []byte) []byte {
	if len(g.arena)+len(b) > cap(g.arena) {
		g.arena = make([]byte, 0, max(1024, len(b)))
	}
	n := len(g.arena)
	g.arena = append(g.arena, b...)
	return slices.Clip(g.arena[n:])
}
