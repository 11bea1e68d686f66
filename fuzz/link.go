package fuzz

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/internal/transport"
)

// link is one connection of an execution. The goroutine of the executor writes, one of its own reads.
type link struct {
	x     *executor
	nc    net.Conn
	idler transport.Idler     // nil where nobody knows what is under way
	try   transport.TryWriter // nil where a write may wait
	r     *codec.Reader
	valve valve
	done  chan struct{} // closed when the reader ended

	// What was sent, for the executor's goroutine alone.
	version codec.Version
	out     []byte // batch
	part    []byte // the beginning of a packet whose rest was not sent
	lost    bool   // what was sent cannot be framed any more
	first   bool   // a packet was sent
	versed  bool   // and it named the version
	odd     bool   // since the last wait something was sent whose answer nobody can tell
	want    int    // answers that are due
	pings   int    // PINGREQ sent
	fault   *codec.Error
	second  bool // CONNECT was sent again
	client  codec.Decoder
	sent    uint32 // hash of what was sent last
	now     uint64 // state
	broken  bool   // a write failed

	mu       sync.Mutex // guards the fields below
	judge    *judge.Conn
	blind    bool // no sound CONNECT was sent: nobody can tell which version the answers have
	accepted bool
	got      int
	pongs    int
	last     time.Time
	ended    ending
	todo     []duty
	tokens   []uint32
	server   codec.Decoder
	troubles []trouble
	total    int64
}

// duty is a packet that has to be acknowledged.
type duty struct {
	typ codec.Type
	qos codec.QoS
	id  uint16
}

// maxDuties bounds what is remembered to be acknowledged.
const maxDuties = 2000

func (w *link) open(ctx context.Context, v codec.Version) {
	nc, err := dialTarget(ctx, w.x.dial)
	if err != nil {
		if ctx.Err() == nil && !ours(err) {
			w.x.res.dialErr = err
		}
		return
	}
	w.try, _ = nc.(transport.TryWriter)
	if w.idler, _ = nc.(transport.Idler); w.idler != nil {
		w.idler.OnIdle(w.x.signal)
	}
	if w.try == nil {
		_ = nc.SetWriteDeadline(w.x.end)
	}
	w.nc, w.done = nc, make(chan struct{})
	w.version, w.out, w.part = v, w.out[:0], w.part[:0]
	w.lost, w.first, w.odd, w.want, w.pings, w.fault, w.second, w.sent, w.now, w.broken = false, false, false, 0, 0, nil, false, 0, 0, false
	w.client = codec.Decoder{Version: v, From: codec.Client}
	w.judge, w.blind, w.accepted, w.got, w.pongs, w.last, w.ended = w.x.newJudge(), true, false, 0, 0, time.Now(), open
	w.todo, w.tokens, w.troubles, w.total = w.todo[:0], w.tokens[:0], nil, 0
	w.server = codec.Decoder{Version: v, From: codec.Server}
	if w.judge != nil {
		w.judge.Assume(v)
	}
	w.valve.nc = nc
	w.r.Reset(&w.valve)
	go w.read()
}

// read is the goroutine that reads.
func (w *link) read() {
	defer close(w.done)
	for {
		frame, err := w.r.Next()
		if err != nil {
			w.end(err)
			return
		}
		w.arrived(frame)
	}
}

// signal tells the executor's goroutine to look again.
func (x *executor) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// over reports whether the connection has ended.
func (w *link) over() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended != open
}

// end notes the end of the connection.
func (w *link) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	how := endingOf(err)
	if w.ended == open {
		w.ended = how
	}
	if how == byFault && !w.blind {
		var e *codec.Error
		if errors.As(err, &e) {
			w.malformed(e, nil)
		}
	}
	if w.judge != nil {
		by := codec.Server
		switch how {
		case byUs:
			by = codec.Client
		case byReset:
			by = codec.Either
		}
		w.judge.End(w.last, by)
	}
	w.x.signal()
}

// arrived takes a packet in.
func (w *link) arrived(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = time.Now()
	w.total++
	if w.judge != nil {
		w.judge.Packet(codec.Server, w.last, frame)
	}
	typ := codec.Type(frame[0] >> 4)
	token := uint32(frame[0])
	if typ == codec.TypePublish {
		token &= 0xF6 // whether it is retained or sent again makes no other state
	}
	p, err := w.server.Decode(frame)
	if err != nil && !w.blind && (w.total > 1 || !refusesVersion(frame, w.version)) {
		var e *codec.Error
		if errors.As(err, &e) {
			w.malformed(e, frame)
		}
		token |= 0x1000000
	}
	switch p := p.(type) {
	case *codec.Connack:
		w.accepted = w.accepted || !p.Reason.Failed() && p.Reason == 0
		token |= uint32(p.Reason)<<8 | flag(p.SessionPresent)<<16
		w.x.left.assigned(p.Props.Text(codec.PropAssignedClientID))
	case *codec.Publish:
		if p.QoS > 0 {
			w.owe(duty{typ, p.QoS, p.PacketID})
		}
	case *codec.Pubrec:
		token |= uint32(p.Reason) << 8
		if !p.Reason.Failed() {
			w.owe(duty{typ, 0, p.PacketID})
		}
	case *codec.Pubrel:
		token |= uint32(p.Reason) << 8
		w.owe(duty{typ, 0, p.PacketID})
	case *codec.Puback:
		token |= uint32(p.Reason) << 8
	case *codec.Pubcomp:
		token |= uint32(p.Reason) << 8
	case *codec.Suback:
		token |= codes(p.Reasons)
	case *codec.Unsuback:
		token |= codes(p.Reasons)
	case *codec.Disconnect:
		token |= uint32(p.Reason) << 8
	case *codec.Auth:
		token |= uint32(p.Reason) << 8
	case *codec.Pingresp:
		w.pongs++
	}
	if typ != codec.TypePublish {
		w.got++
	}
	if len(w.tokens) < 16 && !slices.Contains(w.tokens, token) {
		w.tokens = append(w.tokens, token)
	}
	if w.idler == nil {
		w.x.signal()
	}
}

// codes is the set of reason codes, in 16 bits.
func codes(all []codec.ReasonCode) uint32 {
	var set uint32
	for _, r := range all {
		set |= 1 << (8 + (r^r>>4)&15)
	}
	return set
}

func flag(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

func (w *link) owe(d duty) {
	if len(w.todo) < maxDuties {
		w.todo = append(w.todo, d)
	}
}

// malformed notes a packet of the server's that breaks the form of the standard. mu is held.
func (w *link) malformed(e *codec.Error, frame []byte) {
	if len(w.troubles) >= 8 {
		return
	}
	t := trouble{
		oracle: OracleMalformed, signature: fmt.Sprintf("%s %s %s", e.Fault, e.Packet, w.version), rule: e.Rule, warn: e.Level != codec.Must, echo: strings.HasPrefix(string(e.Fault), "packet-id-zero-"),
		title: fmt.Sprintf("the target sends a malformed %s under MQTT %s: %s", e.Packet, w.version, e.Msg),
	}
	if frame != nil {
		t.detail = []string{fmt.Sprintf("received: %x", frame[:min(len(frame), 200)]), "fault: " + e.Error()}
	}
	w.troubles = append(w.troubles, t)
}

// queue adds a packet to the batch.
func (w *link) queue(st *Step) {
	w.note(st.Bytes, st.Edit, 1)
	w.out = append(w.out, st.Bytes...)
}

// flush writes the batch.
func (w *link) flush() {
	w.write(w.out)
	w.out = w.out[:0]
}

// write sends bytes. A connection that does not take them is left to its reader.
func (w *link) write(b []byte) {
	if w.nc == nil || w.broken || len(b) == 0 {
		return
	}
	if w.judge != nil {
		w.judge.Bytes(codec.Client, time.Now(), b)
	}
	n := 0
	var err error
	if w.try != nil {
		n, err = w.try.TryWrite(b)
	}
	if err == nil && n < len(b) {
		switch limit := time.Now().Add(stallWait); {
		case w.x.slack && limit.Before(w.x.end):
			_ = w.nc.SetWriteDeadline(limit)
		case w.try != nil: // a deadline costs a timer: most connections need none
			_ = w.nc.SetWriteDeadline(w.x.end)
		}
		var k int
		k, err = w.nc.Write(b[n:])
		n += k
	}
	w.x.res.bytes += int64(n)
	w.broken = err != nil
}

// maxChunk bounds what is kept between two bursts.
const maxChunk = 256 << 10

// burst writes the bytes of a step many times, in large writes.
func (w *link) burst(st *Step) {
	if w.nc == nil {
		return
	}
	repeat := max(1, st.Repeat)
	w.note(st.Bytes, st.Edit, repeat)
	if at := identifier(st.Bytes); st.Counting && at > 0 {
		w.count(st.Bytes, at, repeat)
		return
	}
	each := max(1, min(repeat, (64<<10)/max(1, len(st.Bytes))))
	chunk := w.x.chunk[:0]
	for range each {
		chunk = append(chunk, st.Bytes...)
	}
	if cap(chunk) <= maxChunk {
		w.x.chunk = chunk
	}
	for n := repeat; n > 0 && !w.broken; n -= each {
		if n < each {
			chunk = chunk[:n*len(st.Bytes)]
		}
		w.write(chunk)
	}
}

func (w *link) drip(ctx context.Context, st *Step) {
	if w.nc == nil {
		return
	}
	w.note(st.Bytes, st.Edit, 1)
	size := max(1, st.Size, len(st.Bytes)/100)
	pauses := 4
	for b := st.Bytes; len(b) > 0; {
		n := min(size, len(b))
		w.write(b[:n])
		b = b[n:]
		if pauses--; len(b) == 0 || st.Gap <= 0 || pauses < 0 {
			continue
		}
		if w.idler != nil { // the other side has had its turn
			w.x.calm()
		} else {
			w.x.pause(ctx, min(st.Gap, 10*time.Millisecond))
		}
	}
}

// note keeps account of what is sent: which answers are due, and whether the server has to close.
func (w *link) note(b []byte, edit string, repeat int) {
	if len(b) == 0 || w.nc == nil {
		return
	}
	w.odd = w.odd || edit != ""
	h := uint32(2166136261)
	for i := range len(edit) {
		h = (h ^ uint32(edit[i])) * 16777619
	}
	w.sent = uint32(b[0])<<16 | h&0xFFFF // the packet in the upper half, the edit in the lower
	if w.lost {
		w.x.res.packets++
		return
	}
	if len(w.part) > 0 {
		w.part = append(w.part, b...)
		b = w.part
	}
	want := w.want
	for len(b) > 0 && !w.lost {
		frame, rest, err := codec.Cut(b, 0)
		if err != nil {
			w.lost = true
			w.wrong(err)
			break
		}
		if frame == nil {
			w.odd = true
			break
		}
		w.x.res.packets += int64(repeat)
		w.frame(frame, edit)
		b = rest
	}
	w.want = want + (w.want-want)*repeat
	if w.lost {
		b = nil
	}
	if repeat > 1 && len(b) > 0 { // parts that were repeated: nobody can tell
		w.lost, b = true, nil
	}
	w.part = append(w.part[:0], b...)
}

// wrong remembers the first fault that obliges the server to close the connection.
func (w *link) wrong(err error) {
	var e *codec.Error
	if w.fault == nil && errors.As(err, &e) && e.Level == codec.Must {
		w.fault = e
	}
}

// frame keeps account of one packet.
func (w *link) frame(frame []byte, edit string) {
	typ := codec.Type(frame[0] >> 4)
	if !w.first {
		w.first, w.versed = true, namesVersion(frame)
		p, err := w.client.Decode(frame)
		w.wrong(err)
		c, ok := p.(*codec.Connect)
		if !ok && err != nil { // a server that takes it all the same goes by the version in it
			loose := codec.Decoder{From: codec.Client, Mode: codec.Lenient}
			p, _ = loose.Decode(frame)
			if c, ok = p.(*codec.Connect); ok && !slices.Contains([]codec.Version{codec.V31, codec.V4, codec.V5}, c.Version) {
				ok = false
			}
		}
		w.mu.Lock()
		if w.blind = !ok || err != nil; ok {
			w.version, w.client.Version, w.server.Version = c.Version, c.Version, c.Version
		}
		w.mu.Unlock()
		if !ok && err == nil { // whole and sound, and not CONNECT
			w.fault = &codec.Error{Packet: typ, Rule: firstRule(w.version), Fault: "first-not-connect", Msg: "the first packet is not CONNECT"}
		}
		w.want++
		return
	}
	if w.fault != nil {
		return
	}
	if edit != "" {
		_, err := w.client.Decode(frame)
		w.wrong(err)
	}
	switch typ {
	case codec.TypeConnect:
		if w.fault == nil {
			w.second = true
			w.fault = &codec.Error{Packet: typ, Rule: secondRule(w.version), Fault: "second-connect", Msg: "CONNECT was sent a second time"}
		}
		w.want++
	case codec.TypePublish:
		if frame[0]&6 != 0 {
			w.want++
		}
	case codec.TypeSubscribe, codec.TypeUnsubscribe, codec.TypePubrel:
		w.want++
	case codec.TypePingreq:
		w.want++
		w.pings++
	case codec.TypeDisconnect, codec.TypeAuth:
		w.odd = true
	}
}

func firstRule(codec.Version) string { return "MQTT-3.1.0-1" }

func secondRule(codec.Version) string { return "MQTT-3.1.0-2" }

// answer acknowledges what has arrived.
func (w *link) answer(how Ack) {
	if w.nc == nil {
		return
	}
	w.mu.Lock()
	duties := w.todo
	if how == AckReversed {
		slices.Reverse(duties)
	}
	b := w.x.acks[:0]
	for _, d := range duties {
		b = w.ackFor(b, d, how)
		if how == AckTwice {
			b = w.ackFor(b, d, how)
		}
	}
	w.todo = w.todo[:0]
	w.mu.Unlock()
	if how == AckUnknown {
		for _, t := range []byte{0x40, 0x50, 0x70} {
			b = append(b, t, 2, 0x7F, 0xFF)
		}
	}
	w.x.acks = b
	if len(b) > 0 {
		edit := ""
		if how != AckRight {
			edit = how.String()
		}
		w.note(b, edit, 1)
		w.write(b)
	}
}

// ackFor appends the acknowledgement of one packet.
func (w *link) ackFor(b []byte, d duty, how Ack) []byte {
	var first byte
	switch {
	case d.typ == codec.TypePublish && d.qos == 1:
		first = 0x40
	case d.typ == codec.TypePublish:
		first = 0x50
	case d.typ == codec.TypePubrec:
		first = 0x62
	default:
		first = 0x70
	}
	id := d.id
	switch how {
	case AckWrongType:
		first = map[byte]byte{0x40: 0x50, 0x50: 0x40, 0x62: 0x70, 0x70: 0x62}[first]
	case AckUnknown:
		id ^= 0x5555
		if id == 0 {
			id = 1
		}
	case AckRefuse:
		if w.version == codec.V5 && (first == 0x40 || first == 0x50) {
			b = append(b, first, 3)
			return append(binary.BigEndian.AppendUint16(b, id), 0x80)
		}
	}
	b = append(b, first, 2)
	return binary.BigEndian.AppendUint16(b, id)
}

// state adds what was answered since the last call to the states of the execution.
func (w *link) state() {
	if w.nc == nil {
		return
	}
	w.mu.Lock()
	slices.Sort(w.tokens)
	h := uint64(14695981039346656037)
	mix := func(v uint64) { h = (h ^ v) * 1099511628211 }
	mix(uint64(w.version))
	mix(uint64(w.sent >> 16))
	for _, t := range w.tokens {
		mix(uint64(t))
	}
	mix(uint64(w.ended))
	w.tokens = w.tokens[:0]
	w.mu.Unlock()
	r := &w.x.res
	r.states = append(r.states, h)
	r.edges = append(r.edges, h*31^w.now^uint64(w.sent&0xFFFF)*0x9E3779B97F4A7C15)
	w.now = h
}
