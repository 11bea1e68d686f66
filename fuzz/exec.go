package fuzz

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// Dial opens a connection to the target.
type Dial func(context.Context) (net.Conn, error)

// errSelf is what a dial gets that a closed port of the ephemeral range connected to itself.
var errSelf = errors.New("the connection is one to itself: nothing listens")

// dialTarget dials and refuses a TCP connection whose two ends are the same.
func dialTarget(ctx context.Context, dial Dial) (net.Conn, error) {
	nc, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	if selfConnected(nc) {
		_ = nc.Close()
		return nil, errSelf
	}
	return nc, nil
}

// trouble is what an oracle says of one execution.
type trouble struct {
	oracle    Oracle
	signature string
	title     string
	rule      string
	warn      bool
	detail    []string
	stderr    string
	late      bool // time was up, and the connection still stands
	vague     bool // the signature alone does not tell this trouble from others
	echo      bool // an acknowledgement with an identifier that is wrong, which may be that of what it acknowledges
}

func (t *trouble) key() string { return string(t.oracle) + "|" + t.signature }

// result is what one execution of a script came to. It belongs to the executor and is overwritten by the next one.
type result struct {
	states   []uint64 // hashes of what was answered, in order
	edges    []uint64
	troubles []trouble
	packets  int64 // sent
	received int64
	bytes    int64 // sent
	dialErr  error // the target did not take a connection
	slow     bool  // the time for a script was used up
}

// executor runs scripts, one at a time.
type executor struct {
	dial Dial
	// quiet is how long silence has to last where nobody knows what is to be answered; most bounds every wait for
	// answers. Both grow with the round trip.
	quiet, most time.Duration
	budget      time.Duration // for one script
	judged      bool
	closeWait   time.Duration          // for the end of a connection that has to be closed; 0: not judged
	closeKnown  func(string) bool      // somebody waits for that signature, or has waited in vain: nobody else has to
	closeForget func(string)           // the connection was closed after all
	left        *leavings              // told of Client Identifiers that the target gives out; may be nil
	calls       func() <-chan struct{} // closed when somebody wants quiet: no long pause goes on then; may be nil
	woke        func()                 // called after a long pause; may be nil

	wires [MaxConns]*link
	wake  chan struct{}
	timer *time.Timer
	acks  []byte
	chunk []byte // of a burst
	runs  int
	end   time.Time // of the budget
	slack bool      // somebody does not read: a write may wait for good
	parts []*executor
	res   result
}

func newExecutor(dial Dial) *executor {
	x := &executor{
		dial: dial, quiet: time.Millisecond, most: 50 * time.Millisecond, budget: 4 * time.Second, judged: true,
		closeWait: 5 * time.Second, wake: make(chan struct{}, 1), timer: time.NewTimer(time.Hour),
	}
	for i := range x.wires {
		x.wires[i] = &link{x: x, r: codec.NewReader(nil, readSize)}
	}
	return x
}

// part returns another executor for the same target, which is kept.
func (x *executor) part(k int) *executor {
	for len(x.parts) <= k {
		x.parts = append(x.parts, newExecutor(x.dial))
	}
	p := x.parts[k]
	p.quiet, p.most, p.judged, p.left, p.end = x.quiet, x.most, x.judged, x.left, x.end
	p.closeWait = 0 // who waits for an end would hold up the others
	return p
}

// What a connection reads at once. Packets beyond that cost larger buffers each time, so that an executor of many scripts
// takes the large one; for a few scripts it would cost more than it saves.
const (
	readSize  = 4 << 10
	readLarge = 64 << 10
	manyRuns  = 20
)

// roundTrip makes waits long enough for a target that far away.
func (x *executor) roundTrip(d time.Duration) {
	x.quiet = max(x.quiet, 3*d)
	x.most = max(x.most, 4*d)
}

// run executes the script. The result is valid until the next call.
func (x *executor) run(ctx context.Context, s *Script) *result {
	r := &x.res
	*r = result{states: r.states[:0], edges: r.edges[:0]}
	x.end = time.Now().Add(x.budget)
	if x.runs++; x.runs == manyRuns {
		for _, w := range x.wires {
			w.r = codec.NewReader(nil, readLarge)
		}
	}
	x.play(ctx, s.Version, s.Steps)
	x.finish(ctx)
	return r
}

// play does the steps.
func (x *executor) play(ctx context.Context, v codec.Version, steps []Step) {
	r := &x.res
	x.slack = false
	var batch *link
	for i := 0; i < len(steps); i++ {
		if ctx.Err() != nil || r.dialErr != nil {
			break
		}
		st := &steps[i]
		w := x.wires[st.Conn%MaxConns]
		if batch != nil && (batch != w || st.Op != Send || st.Repeat > 1 || len(st.Bytes) > 1<<16) {
			batch.flush()
			batch = nil
		}
		if r.slow = time.Now().After(x.end); r.slow {
			break
		}
		switch st.Op {
		case Open:
			w.close(false)
			w.open(ctx, v)
		case Send:
			if w.nc == nil {
				continue
			}
			if st.Repeat > 1 || len(st.Bytes) > 1<<16 {
				w.burst(st)
				continue
			}
			w.queue(st)
			batch = w
		case Drip:
			w.drip(ctx, st)
		case Answer:
			x.settle(w, x.most)
			w.answer(st.Ack)
		case Settle:
			x.settle(w, max(min(st.Gap, x.most), x.quiet))
			w.state()
		case Pause:
			x.pause(ctx, st.Gap)
		case Close:
			x.settle(w, x.quiet)
			w.close(false)
		case Drop:
			w.close(true)
		case Churn:
			x.churn(ctx, st)
		case Stall:
			x.slack = true
			w.stall()
		case Resume:
			w.resume()
		case Meanwhile:
			n := 1
			for n < len(steps)-i && steps[i+n].Op != Afterwards {
				n++
			}
			x.together(ctx, v, steps[i:i+n])
			i += n - 1
		case Afterwards:
		}
	}
	if batch != nil {
		batch.flush()
	}
}

// Bounds of what is done at the same time.
const (
	maxParts  = 16
	maxRounds = 50
)

// together does what follows each Meanwhile at the same time as what follows the others, each on connections of its own.
func (x *executor) together(ctx context.Context, v codec.Version, steps []Step) {
	var wg sync.WaitGroup
	used := 0
	for i := 0; i < len(steps) && used < maxParts; used++ {
		n := 1
		for i+n < len(steps) && steps[i+n].Op != Meanwhile {
			n++
		}
		own, rounds, p := steps[i+1:i+n], max(1, min(steps[i].Repeat, maxRounds)), x.part(used)
		i += n
		wg.Go(func() {
			p.res = result{states: p.res.states[:0], edges: p.res.edges[:0]}
			for range rounds {
				p.play(ctx, v, own)
				p.finish(ctx)
				if p.res.dialErr != nil || p.res.slow || ctx.Err() != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	r := &x.res
	for _, p := range x.parts[:used] {
		r.packets += p.res.packets
		r.received += p.res.received
		r.bytes += p.res.bytes
		r.slow = r.slow || p.res.slow
		if r.dialErr == nil {
			r.dialErr = p.res.dialErr
		}
		r.troubles = append(r.troubles, p.res.troubles[:min(len(p.res.troubles), 8)]...)
	}
}

// finish collects the last answers and ends every connection.
func (x *executor) finish(ctx context.Context) {
	for _, w := range x.wires {
		if w.nc != nil {
			x.settle(w, x.most)
		}
	}
	for _, w := range x.wires {
		if w.nc != nil {
			w.mustClose(ctx)
		}
		w.close(false)
	}
}

// settle waits until what was sent on the connection is answered. Where nobody can tell what is to be answered it
// waits until the connection is quiet, and for most at the utmost.
func (x *executor) settle(w *link, most time.Duration) {
	if w.nc == nil || w.stalled() {
		return
	}
	if w.idler != nil {
		x.calm()
	}
	if w.idler == nil || !w.odd { // an answer that is due may be on its way where the other end only passes things on
		x.hush(w, most)
	}
	w.odd = false
	w.mu.Lock()
	w.want = w.got
	w.mu.Unlock()
}

// calm waits until nothing is under way on any connection, which those in memory can tell. most bounds the wait all the same,
// for a server may hold a client back.
func (x *executor) calm() {
	var start time.Time
	for !x.idle() {
		now := time.Now()
		if start.IsZero() {
			start = now
		}
		left := x.most - now.Sub(start)
		if left <= 0 {
			return
		}
		x.sleep(left)
	}
}

func (x *executor) idle() bool {
	for _, w := range x.wires {
		if w.nc != nil && w.idler != nil && !w.stalled() && !w.idler.Idle() && !w.over() {
			return false
		}
	}
	return true
}

// hush waits until the connection has the answers that are due, or is quiet.
func (x *executor) hush(w *link, most time.Duration) {
	start := time.Now()
	for {
		w.mu.Lock()
		ended, got, last := w.ended != open, w.got, w.last
		w.mu.Unlock()
		now := time.Now()
		left := most - now.Sub(start)
		if last.Before(start) {
			last = start
		}
		if ended || left <= 0 || !w.odd && got >= w.want {
			return
		}
		if w.odd {
			if left = min(left, x.quiet-now.Sub(last)); left <= 0 {
				return
			}
		}
		x.sleep(left)
	}
}

// sleep waits for something to arrive on any connection, for d at most.
func (x *executor) sleep(d time.Duration) {
	x.timer.Reset(d)
	select {
	case <-x.wake:
		x.timer.Stop()
	case <-x.timer.C:
	}
}

// longPause is what a script waits at least that waits for something to come due.
const longPause = 200 * time.Millisecond

func (x *executor) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	var call <-chan struct{}
	if d >= longPause && x.calls != nil {
		call = x.calls()
	}
	select {
	case <-t.C:
	case <-call:
	case <-ctx.Done():
	}
	if d >= longPause && x.woke != nil {
		x.woke()
	}
}

// churn makes connections that run the packets and are dropped.
func (x *executor) churn(ctx context.Context, st *Step) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards the result
	for k := range max(1, min(st.Size, 64)) {
		wg.Go(func() {
			buf := make([]byte, 512)
			for i := range max(1, st.Repeat) {
				if ctx.Err() != nil || time.Now().After(x.end) {
					return
				}
				nc, err := dialTarget(ctx, x.dial)
				if err != nil {
					if !ours(err) {
						mu.Lock()
						x.res.dialErr = err
						mu.Unlock()
					}
					return
				}
				_ = nc.SetDeadline(time.Now().Add(200 * time.Millisecond))
				n, _ := nc.Write(st.Bytes)
				if (i+k)%3 > 0 { // some wait for an answer, others leave at once
					_, _ = nc.Read(buf)
				}
				reset(nc)
				mu.Lock()
				x.res.packets += int64(packets(st.Bytes[:n]))
				x.res.bytes += int64(n)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// reset ends a connection as a failing network does, where the transport can.
func reset(nc net.Conn) {
	if t, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}

// ending says how a connection ended.
type ending uint8

const (
	open     ending = iota
	byServer        // closed in order
	byReset         // by an error
	byUs
	byFault // it sent what cannot be framed
)

func endingOf(err error) ending {
	switch {
	case errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe):
		return byUs
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return byServer
	}
	if e := (*codec.Error)(nil); errors.As(err, &e) {
		return byFault
	}
	return byReset
}

// newJudge returns the judge of a connection, or nil.
func (x *executor) newJudge() *judge.Conn {
	if !x.judged {
		return nil
	}
	return judge.New(nil)
}

// ours reports whether a dial failed for want of what this machine has: that is no news about the target.
func ours(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, context.Canceled)
}
