package fuzz

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/internal/process"
)

// What a client may take and do, and how long it is watched for it.
const (
	clientMemory  = 256 << 20 // bytes, for a server that sends a few KiB
	clientQuiet   = 30 * time.Millisecond
	clientTurn    = 60 * time.Millisecond // for its next packet
	clientBack    = 60 * time.Millisecond // for its next connection
	clientEnd     = 20 * time.Millisecond // for what it says to the last step of a replay
	clientSteps   = 200                   // of one client, so that its script can be run again
	clientRounds  = 64                    // exchanges with one client
	fenceID       = 0xFFF0                // Packet Identifiers from here on are those of fences
	backForgotten = 3                     // waits for another connection in vain until nobody waits any more
)

// session is one run of the client, with one connection at a time.
type session struct {
	f     *clientFuzzer
	p     *process.Process
	nc    net.Conn
	in    chan []byte // packets of the client; closed at the end of the connection
	how   atomic.Uint32
	judge *judge.Conn
	old   []*judge.Conn // of its earlier connections, where what they say can be believed
	book  *judge.Book
	v     codec.Version
	s     *Script // all that was sent
	sent  int64
	wrong bool // something else than the standard demands was sent
	hold  []trouble

	subscribed bool
	ended      bool // the connection
	torn       bool // by half a packet, behind which nothing can be understood
	rounds     int
	mute       int    // fences that were not answered, in a row
	seen       uint64 // what the client did in this exchange
	last       uint64 // and in the one before
	did        []byte // types that were sent, and edits
}

// over reports whether the client is of no more use.
func (x *session) over() bool {
	return ended(x.p) || x.ended || x.mute > 2 || x.rounds >= clientRounds || len(x.s.Steps) >= clientSteps
}

// start starts the client and waits for its connection. A session without a connection has ended.
func (p *player) start(ctx context.Context) (*session, error) {
	p.drain()
	run, err := process.Start(p.words, process.Options{})
	if err != nil {
		return nil, err
	}
	p.f.starts.Add(1)
	x := &session{f: p.f, p: run, book: new(judge.Book), v: codec.V5, s: &Script{Version: codec.V5}}
	x.connect(p.accept(ctx, run, p.f.cfg.Patience))
	p.g.s, p.g.arena = x.s, nil
	return x, nil
}

// connect begins a connection; none at all is one that has ended.
func (x *session) connect(nc net.Conn) {
	if x.judge != nil && !x.torn {
		x.old = append(x.old, x.judge)
	}
	x.nc, x.ended, x.torn, x.judge, x.in = nc, nc == nil, false, judge.New(x.book), make(chan []byte, 64)
	x.how.Store(uint32(open))
	if nc == nil {
		close(x.in)
		return
	}
	go x.read(nc, x.in)
}

// accept waits for a connection of the client, or returns nil.
func (p *player) accept(ctx context.Context, run *process.Process, wait time.Duration) net.Conn {
	accepted := make(chan net.Conn, 1)
	_ = p.ln.SetDeadline(time.Now().Add(wait))
	go func() {
		nc, err := p.ln.Accept()
		if err != nil {
			nc = nil
		}
		accepted <- nc
	}()
	select {
	case nc := <-accepted:
		return nc
	case <-run.Done():
		_ = p.ln.SetDeadline(time.Now().Add(10 * time.Millisecond))
	case <-ctx.Done():
		_ = p.ln.SetDeadline(time.Now())
	}
	return <-accepted
}

// drain closes connections that an earlier client has opened behind its last.
func (p *player) drain() {
	for {
		_ = p.ln.SetDeadline(time.Now().Add(500 * time.Microsecond))
		nc, err := p.ln.Accept()
		if err != nil {
			return
		}
		_ = nc.Close()
	}
}

// read hands over what the client sends, for as long as it is taken.
func (x *session) read(nc net.Conn, in chan<- []byte) {
	defer close(in)
	r := codec.NewReader(nc, 1024)
	for {
		frame, err := r.Next()
		if err != nil {
			x.how.Store(uint32(endingOf(err)))
			return
		}
		select {
		case in <- slices.Clone(frame):
		default: // it floods us: the rest is of no interest
			_, _ = io.Copy(io.Discard, nc)
			return
		}
	}
}

// next returns the client's next packet, nil where none comes in time or the connection has ended.
func (x *session) next(ctx context.Context, wait time.Duration) []byte {
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case frame, ok := <-x.in:
		if !ok {
			x.ended = true
			return nil
		}
		x.judge.Packet(codec.Client, time.Now(), frame)
		x.saw(frame)
		x.examine(frame)
		return frame
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

func (x *session) send(b []byte, edit string) {
	if x.nc == nil || len(b) == 0 {
		return
	}
	x.wrong = x.wrong || edit != ""
	x.judge.Bytes(codec.Server, time.Now(), b)
	if frame, rest, err := codec.Cut(b, 0); frame == nil || err != nil || len(rest) > 0 {
		x.torn = true
	}
	_ = x.nc.SetWriteDeadline(time.Now().Add(x.f.cfg.Patience))
	n, _ := x.nc.Write(b)
	x.sent += int64(n)
}

// mix adds to a hash.
func mix(h uint64, b byte) uint64 { return (h ^ uint64(b)) * 0x100000001b3 }

// saw takes a packet of the client into what it did: its type, and its Reason Code or QoS.
func (x *session) saw(frame []byte) {
	h := mix(x.seen, frame[0])
	switch typ := codec.Type(frame[0] >> 4); {
	case typ == codec.TypeDisconnect && len(frame) > 2:
		h = mix(h, frame[2])
	case typ >= codec.TypePuback && typ <= codec.TypePubcomp && len(frame) > 4:
		h = mix(h, frame[4])
	}
	x.seen = h
}

// sent1 takes what was sent into what the next reaction belongs to.
func (x *session) sent1(b []byte, how string) {
	if len(b) > 0 {
		x.did = append(x.did, b[0]>>4)
	}
	if how != "" {
		x.did = append(append(x.did, '+'), how...)
	}
}

// hello waits for CONNECT and answers it. It reports whether it came.
func (p *player) hello(ctx context.Context) bool {
	x := p.x
	x.s.Steps = append(x.s.Steps, Step{Op: Settle, Gap: p.f.cfg.Patience})
	frame := x.next(ctx, p.f.cfg.Patience)
	if frame == nil {
		return false
	}
	d := codec.Decoder{}
	q, err := d.Decode(frame)
	c, ok := q.(*codec.Connect)
	if err != nil || !ok {
		x.answer(p.g, frame)
		return false
	}
	x.v, x.s.Version = c.Version, c.Version
	x.answer(p.g, frame)
	return true
}

// exchange sends a few packets to the client that runs, or to a fresh one, and notes what it does.
func (p *player) exchange(ctx context.Context) error {
	g := p.g
	g.src.pcg.Seed(g.main.pcg.Uint64(), 3)
	g.editing = []int{0, 25, 60, 90}[g.src.weighted([]int{15, 35, 30, 20})]
	began := time.Now()
	if p.x == nil {
		x, err := p.start(ctx)
		if err != nil {
			return err
		}
		p.x = x
		p.hello(ctx)
		p.settle(ctx, clientTurn)
	}
	x := p.x
	x.rounds++
	x.did, x.seen = x.did[:0], uint64(x.v)
	if !x.ended && g.src.percent(4) {
		p.part(ctx)
	}
	if !x.ended {
		p.provoke()
		switch {
		case x.torn: // what comes next would be read as the rest of it
			p.settle(ctx, 5*time.Millisecond)
			if !x.ended {
				x.s.Steps = append(x.s.Steps, Step{Op: Close})
				_ = x.nc.Close()
				x.drainIn()
			}
		case p.f.manners.acks:
			if x.fence(ctx, g, clientTurn) {
				x.mute = 0
			} else if !x.ended {
				x.mute++
			}
		default:
			p.settle(ctx, clientQuiet)
		}
	}
	p.learn(began)
	if x.ended && !ended(x.p) {
		p.again(ctx)
	}
	return nil
}

// provoke sends what this exchange is about.
func (p *player) provoke() {
	g, x := p.g, p.x
	var a, b *Script
	p.f.mu.Lock()
	if a = p.f.corpus.takeSeed(); a != nil {
		b = a
	} else if g.src.percent(50) {
		a, b = p.f.corpus.pick(&g.src), p.f.corpus.pick(&g.src)
	}
	p.f.mu.Unlock()
	if a != nil {
		x.mimic(g, a, b)
		return
	}
	for range 1 + g.src.n(4) {
		x.deliver(g)
	}
}

// settle answers what the client asks for, until it is quiet for a moment, or for the wait where it says nothing.
func (p *player) settle(ctx context.Context, wait time.Duration) {
	x := p.x
	for range 32 {
		frame := x.next(ctx, wait)
		if frame == nil {
			return
		}
		x.s.Steps = append(x.s.Steps, Step{Op: Settle, Gap: clientTurn})
		x.answer(p.g, frame)
		wait = 3 * time.Millisecond
	}
}

// fence sends a message that is as it should be and waits for its acknowledgement, which says that all before it was
// taken. What the client asks for meanwhile is answered.
func (x *session) fence(ctx context.Context, g *Generator, wait time.Duration) bool {
	id := uint16(fenceID + x.rounds%8)
	b, err := (&codec.Publish{Topic: clientTopic, QoS: 1, PacketID: id, Payload: []byte("fence")}).AppendTo(nil, x.v)
	if err != nil {
		return false
	}
	x.s.Steps = append(x.s.Steps, Step{Op: Send, Bytes: b}, Step{Op: Settle, Gap: clientTurn})
	x.send(b, "")
	d := codec.Decoder{Version: x.v, From: codec.Client, Mode: codec.Lenient}
	for limit := time.Now().Add(wait); ; {
		frame := x.next(ctx, time.Until(limit))
		if frame == nil {
			return false
		}
		q, _ := d.Decode(frame)
		if a, ok := q.(*codec.Puback); ok && a.PacketID == id {
			return true
		}
		x.answer(g, frame)
	}
}

// part ends the connection from the server's side, in one of several ways.
func (p *player) part(ctx context.Context) {
	g, x := p.g, p.x
	switch g.src.n(3) {
	case 0:
		x.s.Steps = append(x.s.Steps, Step{Op: Drop})
		reset(x.nc)
	case 1:
		x.s.Steps = append(x.s.Steps, Step{Op: Close})
		_ = x.nc.Close()
	default:
		if x.v != codec.V5 {
			return
		}
		x.put(g, &codec.Disconnect{Reason: codec.ServerShuttingDown})
		x.next(ctx, clientTurn)
		return
	}
	x.drainIn()
	x.did = append(x.did, 'p')
}

// drainIn waits for the reader of a connection that was closed.
func (x *session) drainIn() {
	for range x.in {
		continue
	}
	x.ended = true
}

// again waits for the client's next connection: one that makes it keeps its process. Nobody waits for a client that does
// not come back, but for one time in sixteen.
func (p *player) again(ctx context.Context) {
	x := p.x
	if x.rounds >= clientRounds || len(x.s.Steps) >= clientSteps || p.waits >= backForgotten && !p.g.src.percent(6) {
		return
	}
	if x.nc != nil {
		_ = x.nc.Close()
		x.drainIn()
	}
	nc := p.accept(ctx, x.p, clientBack)
	if nc == nil {
		p.waits++
		return
	}
	p.waits = 0
	x.judge.End(time.Now(), codec.Either)
	x.s.Steps = append(x.s.Steps, Step{Op: Open})
	x.connect(nc)
	p.hello(ctx)
	p.settle(ctx, clientQuiet)
}

// learn keeps the script where the client did something that it had not done, or not there.
func (p *player) learn(began time.Time) {
	x := p.x
	h := x.seen
	if x.ended {
		h = mix(mix(h, 'e'), byte(x.how.Load()))
	}
	if e, gone := x.p.Ending(); gone {
		h = mix(mix(h, 'x'), byte(e.Code))
	}
	took := time.Since(began)
	for i, limit := range []time.Duration{50 * time.Millisecond, time.Second} {
		if took > limit {
			h = mix(h, byte('0'+i))
		}
	}
	edge := mix(h, 'd')
	for _, b := range x.did {
		edge = mix(edge, b)
	}
	r := &result{states: []uint64{h}, edges: []uint64{edge, mix(mix(h, byte(x.last)), byte(x.last>>8))}}
	x.last = h
	p.f.learn(x.s, r)
}

func ended(p *process.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// replay runs a fresh client against a script, with so many times the wait for what it says: a machine may be slower than
// it was, and a wait that is not needed ends early.
func (p *player) replay(ctx context.Context, s *Script, slow time.Duration) ([]trouble, error) {
	x, err := p.start(ctx)
	if err != nil {
		return nil, err
	}
	x.v, x.s = s.Version, s
	for i := range s.Steps {
		switch st := &s.Steps[i]; st.Op {
		case Settle:
			for wait := min(slow*st.Gap, p.f.cfg.Patience); x.next(ctx, wait) != nil; { // and all that comes along with it
				wait = slow * 2 * time.Millisecond
			}
		case Send:
			for range max(1, st.Repeat) {
				x.send(st.Bytes, st.Edit)
			}
		case Pause:
			x.next(ctx, st.Gap)
		case Close, Drop:
			if x.nc != nil {
				if st.Op == Drop {
					reset(x.nc)
				}
				_ = x.nc.Close()
				x.drainIn()
			}
		case Open:
			if x.nc != nil {
				_ = x.nc.Close()
				x.drainIn()
			}
			x.connect(p.accept(ctx, x.p, p.f.cfg.Patience))
		}
	}
	for wait := slow * clientEnd; !x.ended && x.next(ctx, wait) != nil; {
		wait = slow * 2 * time.Millisecond
	}
	p.asked = askEvery + 1
	return x.end(ctx, p), nil
}

// shut ends the connection and waits for its reader.
func (x *session) shut() {
	if x.nc != nil {
		_ = x.nc.Close()
		x.drainIn()
	}
}

// farewell ends the server's side of the connection in order and reports whether the client then ends its own.
func (x *session) farewell(wait time.Duration) bool {
	half, ok := x.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case _, more := <-x.in:
			if !more {
				x.ended = true
				return true
			}
		case <-t.C:
			return false
		}
	}
}

// askEvery is how many clients are killed for one that is asked to end, where they take their time.
const askEvery = 16

// crashes are the signals by which a program ends that did something wrong. Nobody here sends them.
var crashes = []string{
	"segmentation fault", "aborted", "bus error", "illegal instruction", "floating point exception", "trace/breakpoint trap", "bad system call",
}

// end closes the connection, ends the client, and says what was wrong with it.
func (x *session) end(ctx context.Context, p *player) []trouble {
	all := x.hold
	add := func(t trouble) { all = append(all, t) }
	for !x.ended && x.next(ctx, 3*time.Millisecond) != nil {
		continue
	}
	if u, err := x.p.Sample(); err == nil && !ended(x.p) {
		if u.RSS > clientMemory && u.RSS > 100*x.sent {
			add(trouble{
				oracle: OracleMemory, signature: "resident memory", title: "the client takes much more memory than it was sent",
				detail: []string{fmt.Sprintf("%d MiB resident after %d bytes", u.RSS>>20, x.sent)},
			})
		}
		if u.CPU > 100*time.Millisecond && spins(ctx, x.p, u) {
			add(trouble{oracle: OracleSpin, signature: "processor", title: "the client is busy though the server sends nothing", detail: []string{"more than 90 % of a processor for 2 seconds"}})
		}
	}
	x.judge.End(time.Now(), codec.Server)
	all = append(all, x.endProcess(p)...)
	if !x.torn { // else nobody knows what the client has read
		x.old = append(x.old, x.judge)
	}
	for _, j := range x.old {
		for _, fd := range j.Findings() {
			if fd.By == codec.Client {
				add(trouble{
					oracle: OracleRule, signature: fmt.Sprintf("%s %s", fd.Rule, fd.Version), rule: fd.Rule, warn: fd.Grade == judge.Warn,
					title: fmt.Sprintf("the client breaks %s under MQTT %s: expected %s", fd.Rule, fd.Version, fd.Expected), detail: []string{"expected: " + fd.Expected, "got: " + fd.Actual},
				})
			}
		}
	}
	return all
}

// endProcess takes leave of the client as it is legal to, and ends it. Most clients are killed where they do not end at
// once when they are asked to: that some do not at all is found out now and then.
func (x *session) endProcess(p *player) (all []trouble) {
	m := &x.f.manners
	p.asked++
	stays := false // though the server has left
	alive := !ended(x.p)
	// Who does not end costs five seconds each time: once is enough, but where it has to be confirmed.
	ask := p.asked > askEvery || !x.f.stubborn.Load() && (m.swiftly || p.asked == askEvery)
	if alive && ask && !x.ended {
		stays = m.leaves && !x.farewell(x.f.cfg.Patience)
	}
	switch {
	case !alive:
		x.p.Stop() // what it started may have outlived it
	case ask:
		p.asked = 0
		began := time.Now()
		x.p.Stop()
		if m.obeys && time.Since(began) > process.StopTimeout*9/10 {
			x.f.stubborn.Store(true)
			all = append(all, trouble{
				oracle: OracleHang, signature: "does not end", warn: !stays, title: "the client does not end when it is asked to, after the server has left",
				detail: []string{fmt.Sprintf("it keeps its end of the connection: %v", stays)},
			})
		}
	default:
		t := time.NewTimer(3 * time.Millisecond) // it may be about to die of what it was sent
		select {
		case <-x.p.Done():
		case <-t.C:
		}
		t.Stop()
		x.p.Kill()
	}
	x.shut()
	e, _ := x.p.Ending()
	if traces := x.p.Output().Traces(); len(traces) > 0 {
		tr := traces[0]
		all = append(all, trouble{oracle: OracleDied, signature: tr.Signature(), title: "the client died: " + tr.Message, stderr: tr.Text})
	} else if slices.Contains(crashes, e.Signal) {
		all = append(all, trouble{oracle: OracleDied, signature: e.Status, title: "the client died: " + e.Status, stderr: x.p.Output().Tail(stderrBytes), vague: true})
	}
	return all
}

// spins says whether a client uses a processor while nothing happens.
func spins(ctx context.Context, p *process.Process, u Usage) bool {
	for _, d := range []time.Duration{20 * time.Millisecond, 500 * time.Millisecond, 1500 * time.Millisecond} {
		began := time.Now()
		t := time.NewTimer(d)
		select {
		case <-t.C:
		case <-p.Done():
			t.Stop()
			return false
		case <-ctx.Done():
			t.Stop()
			return false
		}
		next, err := p.Sample()
		if err != nil || int64(next.CPU-u.CPU)*10 < int64(time.Since(began))*9 {
			return false
		}
		u = next
	}
	return true
}
