package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/internal/process"
)

// ClientConfig says which client is fuzzed and for how long. The client is started again and again and connects to a
// server that answers as it should, but for an edit here and there.
type ClientConfig struct {
	// Cmd is the client's command line. {host} and {port} stand for the server, {topic} for a topic on which it sends.
	Cmd       string
	Seed      uint64        // 0: chosen at random
	Time      time.Duration // 0: no bound
	Execs     int64         // 0: no bound
	Patience  time.Duration // for the client to connect, and to end when asked to; 0: 5 s
	Minimise  time.Duration // budget for making a finding's script smaller; 0: 20 s, negative: not at all
	Replays   int           // by which a finding is confirmed; 0: 3
	Out       string
	FailOn    []string
	StopAfter int
	Events    func(Event)
}

// clientTopic is what {topic} stands for.
const clientTopic = "mqlab/fuzz"

// What a client may take and do, and how long it is watched for it.
const (
	clientMemory = 512 << 20 // bytes, for a server that sends a few KiB
	clientQuiet  = 30 * time.Millisecond
	clientTurn   = 100 * time.Millisecond // for its next packet
)

// clientFuzzer is one run against a client.
type clientFuzzer struct {
	cfg   ClientConfig
	words []string
	ln    net.Listener
	gen   *Generator
	sum   *Summary
	known map[string]*Finding
	began time.Time
}

// RunClient fuzzes a client until the time or the number of executions is reached, or the context ends. A script of it
// tells what the server sends: Settle waits for a packet of the client, Send sends.
func RunClient(ctx context.Context, cfg ClientConfig) (*Summary, error) {
	f, err := newClientFuzzer(&cfg)
	if err != nil {
		return nil, err
	}
	defer f.ln.Close()
	// A client that does not get along with a faultless server could not be judged.
	if _, seen, err := f.play(ctx, nil, 0); err != nil {
		return nil, err
	} else if !seen {
		return nil, fmt.Errorf("the client %s sends no CONNECT to the server at {host}:{port}: see that its command line names them", f.words[0])
	}
	run := ctx
	if cfg.Time > 0 {
		var cancel context.CancelFunc
		run, cancel = context.WithTimeout(ctx, cfg.Time)
		defer cancel()
	}
	last := f.began
	for run.Err() == nil && (cfg.Execs == 0 || f.sum.Execs < cfg.Execs) {
		f.sum.Execs++
		seed := f.gen.main.pcg.Uint64()
		s := &Script{Seed: seed, Version: codec.V5}
		all, _, err := f.play(ctx, s, 35)
		if err != nil {
			return nil, err
		}
		f.sum.Packets += int64(s.Packets())
		for i := range all {
			f.found(ctx, &all[i], s)
		}
		if cfg.StopAfter > 0 && len(f.sum.Findings) >= cfg.StopAfter {
			break
		}
		if now := time.Now(); now.Sub(last) > tellEvery {
			last = now
			f.tell(Event{})
		}
	}
	f.sum.Elapsed = time.Since(f.began)
	return f.sum, nil
}

// ReplayClient runs a script against a client and returns what was found.
func ReplayClient(ctx context.Context, cfg ClientConfig, s *Script) ([]*Finding, error) {
	f, err := newClientFuzzer(&cfg)
	if err != nil {
		return nil, err
	}
	defer f.ln.Close()
	for range cfg.Replays {
		all, _, err := f.replay(ctx, s)
		if err != nil {
			return nil, err
		}
		for i := range all {
			f.found(ctx, &all[i], s)
		}
		if len(f.sum.Findings) > 0 {
			break
		}
	}
	return f.sum.Findings, nil
}

func newClientFuzzer(cfg *ClientConfig) (*clientFuzzer, error) {
	if cfg.Seed == 0 {
		cfg.Seed = rand.Uint64() >> 1
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Minimise == 0 {
		cfg.Minimise = 20 * time.Second
	}
	if cfg.Replays <= 0 {
		cfg.Replays = 3
	}
	words, err := process.Split(cfg.Cmd)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(cfg.Cmd, "{port}") {
		return nil, errors.New("the client's command needs {port}, and {host} where it does not connect to this machine by itself")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the client: %w", err)
	}
	f := &clientFuzzer{cfg: *cfg, words: words, ln: ln, gen: NewGenerator(cfg.Seed, GenConfig{}), known: map[string]*Finding{}, began: time.Now()}
	f.sum = &Summary{Target: cfg.Cmd, Seed: cfg.Seed, Versions: []codec.Version{}, Started: f.began.UTC(), FailOn: cfg.FailOn, Findings: []*Finding{}}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for i := range f.words {
		f.words[i] = process.Fill(f.words[i], map[string]string{"{host}": "127.0.0.1", "{port}": port, "{topic}": clientTopic})
	}
	return f, nil
}

// session is one run of the client.
type session struct {
	f     *clientFuzzer
	p     *process.Process
	nc    net.Conn
	in    chan []byte // packets of the client; closed at the end of the connection
	judge *judge.Conn
	v     codec.Version
	sent  int64
	wrong bool // something else than the standard demands was sent
	hold  []trouble
}

// start starts the client and waits for its connection and CONNECT. A session without a connection is nil.
func (f *clientFuzzer) start(ctx context.Context) (*session, error) {
	f.drain()
	p, err := process.Start(f.words, process.Options{})
	if err != nil {
		return nil, err
	}
	s := &session{f: f, p: p, in: make(chan []byte, 64), judge: judge.New(nil), v: codec.V5}
	accepted := make(chan net.Conn, 1)
	_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(f.cfg.Patience))
	go func() {
		nc, err := f.ln.Accept()
		if err != nil {
			nc = nil
		}
		accepted <- nc
	}()
	select {
	case s.nc = <-accepted:
	case <-p.Done():
		_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Millisecond))
		s.nc = <-accepted
	case <-ctx.Done():
		_ = f.ln.(*net.TCPListener).SetDeadline(time.Now())
		s.nc = <-accepted
	}
	if s.nc != nil {
		go s.read(s.nc, s.in)
	}
	return s, nil
}

// drain closes connections that an earlier client has opened behind its first.
func (f *clientFuzzer) drain() {
	for {
		_ = f.ln.(*net.TCPListener).SetDeadline(time.Now().Add(2 * time.Millisecond))
		nc, err := f.ln.Accept()
		if err != nil {
			return
		}
		_ = nc.Close()
	}
}

// read hands over what the client sends, for as long as it is taken.
func (s *session) read(nc net.Conn, in chan<- []byte) {
	defer close(in)
	r := codec.NewReader(nc, 1024)
	for {
		frame, err := r.Next()
		if err != nil {
			return
		}
		select {
		case in <- slices.Clone(frame):
		default: // it floods us: the rest is of no interest
			return
		}
	}
}

// next returns the client's next packet, nil where none comes in time.
func (s *session) next(ctx context.Context, wait time.Duration) []byte {
	if s.nc == nil {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case frame := <-s.in:
		if frame != nil {
			s.judge.Packet(codec.Client, time.Now(), frame)
		}
		return frame
	case <-t.C:
	case <-ctx.Done():
	}
	return nil
}

func (s *session) send(b []byte, edit string) {
	if s.nc == nil || len(b) == 0 {
		return
	}
	s.wrong = s.wrong || edit != ""
	s.judge.Bytes(codec.Server, time.Now(), b)
	_ = s.nc.SetWriteDeadline(time.Now().Add(s.f.cfg.Patience))
	n, _ := s.nc.Write(b)
	s.sent += int64(n)
}

// play runs the client once against answers that are edited so often in a hundred, and writes down what was sent. It
// reports whether the client has sent CONNECT.
func (f *clientFuzzer) play(ctx context.Context, s *Script, editing int) ([]trouble, bool, error) {
	g := f.gen
	x, err := f.start(ctx)
	if err != nil {
		return nil, false, err
	}
	if s == nil {
		s = &Script{}
	}
	g.src.pcg.Seed(s.Seed, 3)
	g.s, g.arena, g.editing = s, nil, editing
	defer func() { g.s = nil }()
	seen := false
	hello := x.next(ctx, f.cfg.Patience)
	if hello != nil {
		d := codec.Decoder{}
		if p, err := d.Decode(hello); err == nil {
			if c, ok := p.(*codec.Connect); ok {
				x.v, s.Version, seen = c.Version, c.Version, true
			}
		}
	}
	pending := hello
	for turn := range 4 + g.src.n(12) {
		if pending != nil {
			s.Steps = append(s.Steps, Step{Op: Settle, Gap: f.cfg.Patience})
			x.answer(g, pending)
		}
		if turn > 0 && editing > 0 && g.src.percent(50) || turn == 2 {
			x.deliver(g)
		}
		if editing > 0 && g.src.percent(3) {
			break // the server goes away
		}
		if pending = x.next(ctx, clientTurn); pending == nil && (turn > 3 || ended(x.p)) {
			break
		}
	}
	return x.end(ctx), seen, nil
}

func ended(p *process.Process) bool {
	select {
	case <-p.Done():
		return true
	default:
		return false
	}
}

// replay runs the client against a script.
func (f *clientFuzzer) replay(ctx context.Context, s *Script) ([]trouble, bool, error) {
	x, err := f.start(ctx)
	if err != nil {
		return nil, false, err
	}
	x.v = s.Version
	for i := range s.Steps {
		switch st := &s.Steps[i]; st.Op {
		case Settle:
			x.next(ctx, min(st.Gap, f.cfg.Patience))
		case Send:
			for range max(1, st.Repeat) {
				x.send(st.Bytes, st.Edit)
			}
		case Pause:
			x.next(ctx, st.Gap)
		}
	}
	return x.end(ctx), true, nil
}

// put sends a packet, edited now and then, and writes it down.
func (x *session) put(g *Generator, p codec.Packet) {
	b, err := p.AppendTo(g.tmp[:0], x.v)
	if err != nil {
		return
	}
	g.tmp = b
	how := ""
	if g.src.percent(g.editing) {
		b, how = g.edit(b, x.v)
	}
	b = g.keep(b)
	g.s.Steps = append(g.s.Steps, Step{Op: Send, Bytes: b, Edit: how})
	x.send(b, how)
}

// answer answers a packet of the client.
func (x *session) answer(g *Generator, frame []byte) {
	d := codec.Decoder{Version: x.v, From: codec.Client}
	p, err := d.Decode(frame)
	if err != nil {
		var e *codec.Error
		if errors.As(err, &e) && !x.wrong {
			x.hold = append(x.hold, trouble{
				oracle: OracleMalformed, signature: fmt.Sprintf("%s %s %s", e.Fault, e.Packet, x.v), rule: e.Rule, warn: e.Level != codec.Must,
				title: fmt.Sprintf("the client sends a malformed %s under MQTT %s: %s", e.Packet, x.v, e.Msg), detail: []string{fmt.Sprintf("received: %x", frame[:min(len(frame), 200)])},
			})
		}
		if p == nil {
			return
		}
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
		x.put(g, a)
		x.deliver(g)
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

// end closes the connection, ends the client, and says what was wrong with it.
func (x *session) end(ctx context.Context) []trouble {
	all := x.hold
	add := func(t trouble) { all = append(all, t) }
	for x.next(ctx, clientQuiet) != nil {
		continue
	}
	if u, err := x.p.Sample(); err == nil && !ended(x.p) {
		if u.RSS > clientMemory && u.RSS > 100*x.sent {
			add(trouble{
				oracle: OracleMemory, signature: "resident memory", title: "the client takes much more memory than it was sent",
				detail: []string{fmt.Sprintf("%d MiB resident after %d bytes", u.RSS>>20, x.sent)},
			})
		}
		if spins(ctx, x.p, u) {
			add(trouble{oracle: OracleSpin, signature: "processor", title: "the client is busy though the server sends nothing", detail: []string{"more than 90 % of a processor for 2 seconds"}})
		}
	}
	now := time.Now()
	x.judge.End(now, codec.Server)
	if x.nc != nil {
		_ = x.nc.Close()
		for range x.in { // the reader ends
			continue
		}
	}
	for _, fd := range x.judge.Findings() {
		if fd.By == codec.Client {
			add(trouble{
				oracle: OracleRule, signature: fmt.Sprintf("%s %s", fd.Rule, fd.Version), rule: fd.Rule, warn: fd.Grade == judge.Warn,
				title: fmt.Sprintf("the client breaks %s under MQTT %s: expected %s", fd.Rule, fd.Version, fd.Expected), detail: []string{"expected: " + fd.Expected, "got: " + fd.Actual},
			})
		}
	}
	// It may still be about to die of what it was sent.
	t := time.NewTimer(clientQuiet)
	defer t.Stop()
	select {
	case <-x.p.Done():
	case <-t.C:
	}
	began := time.Now()
	alive := !ended(x.p)
	x.p.Stop()
	if alive && time.Since(began) > process.StopTimeout*9/10 {
		add(trouble{oracle: OracleHang, signature: "does not end", warn: true, title: "the client does not end when it is asked to, after the connection was closed"})
	}
	e, _ := x.p.Ending()
	if traces := x.p.Output().Traces(); len(traces) > 0 {
		tr := traces[0]
		add(trouble{oracle: OracleDied, signature: tr.Signature(), title: "the client died: " + tr.Message, stderr: tr.Text})
	} else if e.Signal != "" && !e.Ours && !slices.Contains([]string{"terminated", "interrupt", "killed", "hangup", "broken pipe"}, e.Signal) {
		add(trouble{oracle: OracleDied, signature: e.Status, title: "the client died: " + e.Status, stderr: x.p.Output().Tail(stderrBytes), vague: true})
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

func (f *clientFuzzer) tell(e Event) {
	if f.cfg.Events == nil {
		return
	}
	e.Stats = Stats{Elapsed: time.Since(f.began), Execs: f.sum.Execs, Packets: f.sum.Packets, Findings: len(f.sum.Findings)}
	f.cfg.Events(e)
}

// found records what was wrong, confirms it and makes the script smaller.
func (f *clientFuzzer) found(ctx context.Context, t *trouble, s *Script) {
	if x := f.known[t.key()]; x != nil {
		x.Count++
		return
	}
	x := &Finding{
		Oracle: t.oracle, Signature: t.signature, Title: t.title, Rule: t.rule, Warn: t.warn, Detail: t.detail, Stderr: t.stderr, Script: s,
		Target: f.sum.Target, Seed: f.sum.Seed, Execs: f.sum.Execs, After: time.Since(f.began), At: time.Now().UTC(), Count: 1,
	}
	f.known[t.key()] = x
	f.sum.Findings = append(f.sum.Findings, x)
	f.tell(Event{Finding: x})
	fires := func(c context.Context, s *Script) bool {
		all, _, err := f.replay(c, s)
		return err == nil && slices.ContainsFunc(all, func(u trouble) bool { return u.key() == t.key() })
	}
	if fires(ctx, s) && f.cfg.Minimise > 0 {
		budget, cancel := context.WithTimeout(ctx, f.cfg.Minimise)
		x.Minimal = Minimise(budget, s, func(s *Script) bool { return fires(budget, s) })
		cancel()
	}
	for range f.cfg.Replays {
		x.Tried++
		if fires(ctx, x.Best()) {
			x.Confirmed++
		}
	}
	// What comes back now and then alone may as well be this machine's doing.
	if 2*x.Confirmed < x.Tried && x.Oracle != OracleDied {
		x.Warn = true
	}
	if f.cfg.Out != "" {
		if err := x.WriteFiles(f.cfg.Out); err != nil {
			f.tell(Event{Note: err.Error()})
		}
	}
	f.tell(Event{Finding: x, Settled: true})
}
