package fuzz

import (
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// How many of a thousand scripts are of a kind that takes a server, and the run, as long as many others do.
const (
	rare      = 4
	rareLight = 12
)

// rarely writes a script of such a kind.
func (g *Generator) rarely() {
	g.editing = 0
	switch g.src.n(3) {
	case 0:
		g.away()
	case 1:
		g.vanish()
	case 2:
		g.meet()
	}
}

// due prefers what comes due within a second or two, where the script waits for that.
func (g *Generator) due(from []uint32) []uint32 {
	if g.brief {
		return []uint32{1, 1, 1, 2, 0}
	}
	return from
}

// hello sends CONNECT under the identifier of the pool, which a server is to admit: its session stays, or begins anew.
func (g *Generator) hello(c uint8, id int, stays bool) {
	g.makeConnect(c)
	p := &g.connect
	p.ClientID, p.CleanStart = g.name(clientPool[id%len(clientPool)]), !stays
	if g.s.Version == codec.V5 {
		p.Props.Remove(codec.PropAuthMethod)
		p.Props.Remove(codec.PropAuthData)
		p.Props.Remove(codec.PropMaximumPacketSize)
		if stays {
			p.Props.SetUint(codec.PropSessionExpiry, pick(&g.src, g.due([]uint32{30, 120, 0xFFFFFFFF})))
		}
	}
	g.step(Step{Op: Open, Conn: c})
	g.conns[c] = genConn{open: true, connected: true}
	g.packet(c, p)
	g.settle(c)
}

func (g *Generator) settle(c uint8) { g.step(Step{Op: Settle, Conn: c, Gap: settleGap}) }

// subscribeTo sends SUBSCRIBE with one filter.
func (g *Generator) subscribeTo(c uint8, filter string, qos codec.QoS) {
	g.subscribe.Props.Reset()
	g.subscribe.PacketID = pick(&g.src, idPool)
	g.subscribe.Filters = append(g.subscribe.Filters[:0], codec.Subscription{Filter: filter, QoS: qos})
	g.packet(c, &g.subscribe)
	g.conns[c].subscribed = true
	g.settle(c)
}

// flood publishes to a topic many times, each time under an identifier of its own.
func (g *Generator) flood(c uint8, topic string, qos codec.QoS, payload, repeat int) {
	g.publish.Props.Reset()
	g.publish = codec.Publish{Topic: topic, Payload: g.filler(payload), QoS: qos, Props: g.publish.Props}
	if qos > 0 {
		g.publish.PacketID = 1
	}
	if b := g.encode(&g.publish); len(b) > 0 {
		repeat = max(2, min(repeat, g.max(1<<18, 8<<20)/len(b)))
		g.step(Step{Op: Send, Conn: c, Bytes: g.keep(b), Repeat: repeat, Counting: qos > 0})
	}
}

// away sends many messages to a session whose client is away, and takes it up.
func (g *Generator) away() {
	topic, qos := g.name(pick(&g.src, topicPool)), codec.QoS(1+g.src.n(2))
	g.hello(0, 0, true)
	g.subscribeTo(0, topic, qos)
	g.step(Step{Op: Close + Op(g.src.n(2))})
	g.hello(1, 1, g.src.percent(30))
	total := []int{100, 1000, 5000}[g.src.weighted([]int{60, 30, 10})]
	each := total
	if qos == 2 { // what is not acknowledged in between may be more than the server takes at once
		each = pick(&g.src, []int{15, 100, 1000})
	}
	for i := 0; i < 8 && total > 0; i++ {
		g.flood(1, topic, qos, 1+g.src.n(20), g.max(20, min(total, each)))
		g.step(Step{Op: Answer, Conn: 1})
		total -= each
	}
	g.hello(0, 0, true)
	switch g.src.n(4) {
	case 0:
		g.step(Step{Op: Answer, Ack: Ack(g.src.n(6))})
	case 1, 2:
		for range 1 + g.src.n(3) {
			g.step(Step{Op: Answer})
		}
		g.settle(0)
	}
	g.step(Step{Op: Close + Op(g.src.n(2))})
	if g.src.percent(50) { // and leave nothing
		g.hello(0, 0, false)
	}
}

// vanish has a subscriber go in the middle of many messages to it, which it may not have read.
func (g *Generator) vanish() {
	topic, qos := g.name(pick(&g.src, topicPool)), codec.QoS(g.src.weighted([]int{60, 25, 15}))
	g.hello(1, 1, g.src.percent(50))
	g.subscribeTo(1, topic, qos)
	if g.src.percent(70) {
		g.step(Step{Op: Stall, Conn: 1})
	}
	g.hello(0, 0, false)
	size, repeat := pick(&g.src, []int{20, 1000, 16383, 65536}), 50+g.src.n(500)
	g.flood(0, topic, qos, size, g.max(20, repeat))
	switch g.src.weighted([]int{35, 15, 30, 20}) {
	case 0:
		g.step(Step{Op: Drop, Conn: 1})
	case 1:
		g.step(Step{Op: Close, Conn: 1})
	case 2: // another client takes its session over
		g.hello(2, 1, g.src.percent(70))
		if g.src.percent(50) {
			g.step(Step{Op: Answer, Conn: 2})
		}
	case 3:
		g.step(Step{Op: Resume, Conn: 1})
		g.step(Step{Op: Answer, Conn: 1})
	}
	g.flood(0, topic, qos, size, g.max(20, repeat))
	switch g.src.n(3) {
	case 0:
		g.step(Step{Op: Drop})
	case 1:
		g.settle(0)
	}
}

// meet has clients of the same identifiers and topics come, publish and go at the same time.
func (g *Generator) meet() {
	topic := g.name(pick(&g.src, topicPool))
	if g.src.percent(50) {
		g.hello(3, 3, false)
		g.subscribeTo(3, topic, codec.QoS(g.src.n(3)))
	}
	for range 2 + g.src.n(g.max(2, 5)) {
		g.step(Step{Op: Meanwhile, Repeat: g.max(1+g.src.n(3), 2+g.src.n(14))})
		g.conns = [MaxConns]genConn{}
		for c := range uint8(1 + g.src.n(2)) {
			g.hello(c, g.src.weighted([]int{60, 25, 10}), g.src.percent(50))
			if g.src.percent(40) { // who does not wait for CONNACK meets others sooner
				g.s.Steps = g.s.Steps[:len(g.s.Steps)-1]
			}
			for range g.src.n(3) {
				switch g.src.n(5) {
				case 0:
					g.subscribeTo(c, topic, codec.QoS(g.src.n(3)))
				case 1:
					g.flood(c, topic, codec.QoS(g.src.n(3)), 1+g.src.n(100), 2+g.src.n(g.max(5, 40)))
				default:
					g.act1(c, g.src.weighted([]int{0, 40, 20, 15, 0, 0, 2, 8, 0, 0, 10}))
				}
			}
		}
		if g.src.percent(50) {
			g.step(Step{Op: Drop})
		}
	}
	g.step(Step{Op: Afterwards})
	g.conns = [MaxConns]genConn{}
	if g.src.percent(50) {
		g.begun(0)
		g.act1(0, 1)
	}
}

// publishToFilters sends messages to what a SUBSCRIBE of several filters has asked for, which a server has to tell apart.
func (g *Generator) publishToFilters(c uint8) {
	editing := g.editing
	g.editing = 0
	defer func() { g.editing = editing }()
	g.settle(c)
	from := c
	if other := uint8(g.src.n(MaxConns)); g.conns[other].connected {
		from = other
	}
	for range 1 + g.src.n(3) {
		topic := within(pick(&g.src, g.subscribe.Filters).Filter)
		if topic == "" {
			continue
		}
		g.makePublish(from)
		p := &g.publish
		p.Topic, p.QoS, p.PacketID = topic, 2, pick(&g.src, idPool)
		p.Props.Remove(codec.PropTopicAlias)
		g.packet(from, p)
	}
	g.step(Step{Op: Answer, Conn: from})
	g.settle(from)
	if from != c { // by the time of its answer, what was published has come
		g.send(c, []byte{byte(codec.TypePingreq) << 4, 0})
		g.settle(c)
	}
}

// within returns a topic that the filter matches; "" where a client had better not publish to it.
func within(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	if strings.HasPrefix(filter, "$") {
		return ""
	}
	levels := strings.Split(filter, "/")
	for i := range levels {
		if levels[i] == "+" || levels[i] == "#" {
			levels[i] = "a"
		}
	}
	return strings.Join(levels, "/")
}

// Slow makes a script that waits for what comes due: the end of a Keep Alive, of a session or of a message, or a Will. It
// takes seconds, in which nothing is sent.
func (g *Generator) Slow() *Script {
	seed := g.main.pcg.Uint64()
	g.src.pcg.Seed(seed, 3)
	g.begin(seed)
	g.brief = true
	if g.src.percent(60) {
		g.editing = 0
	}
	switch kind := g.src.weighted([]int{35, 35, 15, 15}); {
	case kind == 0:
		g.silent()
	case kind == 1 && g.s.Version == codec.V5:
		g.expired()
	case kind == 2 && g.s.Version == codec.V5: // a retained message
		g.begun(0)
		g.makePublish(0)
		g.publish.Retain = true
		g.publish.Props.SetUint(codec.PropMessageExpiry, 1)
		g.packet(0, &g.publish)
		g.settle(0)
		g.overdue()
		g.begun(1)
		g.act1(1, 2)
		g.settle(1)
	default: // in the middle of anything
		g.theme()
		g.brief = true
		return g.slowed()
	}
	return g.end()
}

// Slowed makes a slow script out of one that led somewhere.
func (g *Generator) Slowed(s *Script) *Script {
	seed := g.main.pcg.Uint64()
	g.src.pcg.Seed(seed, 4)
	g.begin(seed)
	g.s.Version = s.Version
	for i := range s.Steps {
		st := s.Steps[i]
		switch st.Op {
		case Pause:
			st.Gap = min(st.Gap, mostPause)
		case Send:
			st.Bytes = g.hasten(st.Bytes)
		}
		g.step(st)
	}
	return g.slowed()
}

// slowed puts a wait between two steps, or at the end, and goes on a little.
func (g *Generator) slowed() *Script {
	steps := g.s.Steps
	if i := 1 + g.src.n(len(steps)); i < len(steps) && g.src.percent(70) {
		tail := slices.Clone(steps[i:])
		g.s.Steps = steps[:i]
		g.overdue()
		g.s.Steps = append(g.s.Steps, tail...)
		return g.end()
	}
	g.model(len(steps))
	g.weights = []int{3, 26, 14, 7, 8, 8, 5, 4, 3, 4, 6, 4, 0, 0, 0, 1}
	g.overdue()
	for range 1 + g.src.n(3) {
		g.act(uint8(g.src.n(2)))
	}
	return g.end()
}

// overdue waits until what lasts a second is over, one and a half seconds of Keep Alive included.
func (g *Generator) overdue() {
	g.step(Step{Op: Pause, Gap: time.Duration(1150+g.src.n(1150)) * time.Millisecond})
}

// silent has a client say nothing for longer than its Keep Alive, with something under way.
func (g *Generator) silent() {
	g.begun(0)
	if g.src.percent(70) {
		g.act1(0, 2)
	}
	for range g.src.n(3) {
		g.act1(0, g.src.weighted([]int{0, 50, 10, 10, 10, 5, 5}))
	}
	switch g.src.n(8) {
	case 0:
		g.half(0)
	case 1:
		g.step(Step{Op: Stall})
	case 2:
		g.step(Step{Op: Open, Conn: 2}) // and one that never says who it is
	}
	if g.src.percent(50) {
		g.begun(1)
		g.act1(1, 1+g.src.n(2))
	}
	g.step(Step{Op: Pause, Gap: time.Duration(1550+g.src.n(850)) * time.Millisecond})
	for range g.src.n(3) {
		g.act1(uint8(g.src.n(2)), 1)
	}
	if g.src.percent(60) {
		g.begun(g.src.byte() & 1)
		g.act1(0, g.src.weighted([]int{0, 30, 10, 10, 10, 10, 10}))
	}
}

// expired leaves a session, with messages and a Will perhaps, comes back when it is over, or just not.
func (g *Generator) expired() {
	g.hello(0, 0, true)
	g.act1(0, 2)
	if g.src.percent(40) {
		g.act1(0, 1)
	}
	g.step(Step{Op: Close + Op(g.src.weighted([]int{30, 70}))})
	g.conns[0] = genConn{}
	if g.src.percent(70) {
		g.hello(1, 1, false)
		for range 1 + g.src.n(3) {
			g.act1(1, 1)
		}
	}
	g.overdue()
	g.hello(0, 0, true)
	g.step(Step{Op: Answer, Ack: Ack(g.src.weighted([]int{60, 10, 10, 8, 6, 6}))})
	g.act1(0, g.src.weighted([]int{2, 10, 10, 10, 10, 10}))
}

// hasten has what a CONNECT or a PUBLISH lets last a while be over in a second.
func (g *Generator) hasten(frame []byte) []byte {
	switch codec.Type(frame[0] >> 4) {
	case codec.TypeConnect, codec.TypePublish:
	default:
		return frame
	}
	if whole, rest, err := codec.Cut(frame, 0); whole == nil || err != nil || len(rest) > 0 {
		return frame
	}
	g.fields = codec.AppendFields(g.fields[:0], frame, g.s.Version)
	var b []byte
	for i := range g.fields {
		f := &g.fields[i]
		n := 0
		switch {
		case f.Name == codec.FieldKeepAlive:
			n = 2
		case f.Prop == codec.PropSessionExpiry || f.Prop == codec.PropWillDelay || f.Prop == codec.PropMessageExpiry:
			n = 4
		}
		at := value(f)
		if n == 0 || at+n > f.Offset+f.Len || g.src.percent(15) {
			continue
		}
		if b == nil {
			b = g.keep(frame)
		}
		for k := range n {
			b[at+k] = 0
		}
		b[at+n-1] = 1
	}
	if b == nil {
		return frame
	}
	return b
}
