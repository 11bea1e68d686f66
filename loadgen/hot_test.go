package loadgen

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ledger"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/scenarios"
)

// hot is a worker with one publisher and one subscriber whose connections exist in name alone: what is written is thrown
// away before it would reach a socket.
type hot struct {
	w        *worker
	pub, sub *client
	puback   []byte
}

func newHot(tb testing.TB, qos uint8) *hot {
	tb.Helper()
	w := pairs(1, qos, 1000, time.Hour)
	p, err := newPlan(&Config{Workload: w, Target: "mqtt://127.0.0.1:1", Run: "hot"})
	if err != nil {
		tb.Fatal(err)
	}
	p.began = time.Now()
	wk, err := newWorker(p, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(wk.poll.close)
	h := &hot{w: wk, sub: wk.newClient(p.groups[0], 0), pub: wk.newClient(p.groups[1], 0)}
	for _, c := range wk.clients {
		c.state, c.maxQoS = stateReady, 2
		c.sess.Step(session.Event[message]{Kind: session.Connected, Link: &session.Link{Version: codec.V4}}, 0, nil)
	}
	h.sub.recv.subscribe(wk, h.sub, "t/hot/0", qos, p.groups[0].subs[0])
	h.sub.recv.settled(0, never)
	wk.t0, wk.end = 0, never
	h.pub.emitters[0].begin(wk)
	return h
}

// send publishes the next message and returns its frame.
func (h *hot) send(tb testing.TB) []byte {
	e := &h.pub.emitters[0]
	h.w.now = e.due + 1000
	if !h.w.publishNext(h.pub, e) {
		tb.Fatal("the message was held back")
	}
	f := h.w.out
	h.w.out = h.w.out[:0]
	return f
}

// deliver gives the frame to the subscriber; the server's Packet Identifier is the publisher's.
func (h *hot) deliver(tb testing.TB, f []byte) {
	if !h.w.publish(h.sub, f[0], f[2:]) {
		tb.Fatal("the frame is not read")
	}
	h.w.out = h.w.out[:0]
}

func (h *hot) ack(f []byte) {
	id := binary.BigEndian.Uint16(f[4+len("t/hot/0"):])
	h.puback = append(h.puback[:0], 0x40, 2, byte(id>>8), byte(id))
	h.w.packet(h.pub, h.puback, 2)
}

func TestHotPathsAllocateNothing(t *testing.T) {
	for qos := range uint8(2) {
		h := newHot(t, qos)
		round := func() {
			f := h.send(t)
			h.deliver(t, f)
			if qos == 1 {
				h.ack(f)
			}
		}
		for range 100 {
			round()
		}
		if n := testing.AllocsPerRun(1000, round); n != 0 {
			t.Errorf("a message at QoS %d allocates %v times", qos, n)
		}
		if got := h.sub.recv.entries[0]; got.Next() != 1101 || got.Missing() != 0 {
			t.Errorf("the subscriber has %d, %d missing", got.Next(), got.Missing())
		}
	}
}

// TestFrames holds what the worker encodes itself to what the codec reads.
func TestFrames(t *testing.T) {
	for _, version := range []string{"3.1", "3.1.1", "5.0"} {
		for qos := range uint8(3) {
			for _, size := range []int{28, 64, 200, 20_000} {
				h := newHot(t, qos)
				g := h.pub.g
				g.version = map[string]codec.Version{"3.1": codec.V31, "3.1.1": codec.V4, "5.0": codec.V5}[version]
				pub := g.pubs[0]
				pub.Size, pub.filler, pub.Retain = scenarios.Size{Fixed: size}, makeFiller(size), true
				f := h.send(t)
				dec := codec.Decoder{Version: g.version, From: codec.Client}
				p, err := dec.Decode(f)
				if err != nil {
					t.Fatalf("version %s, QoS %d, %d bytes: %v", version, qos, size, err)
				}
				m := p.(*codec.Publish)
				if m.Topic != "t/hot/0" || uint8(m.QoS) != qos || !m.Retain || m.Dup || len(m.Payload) != size || (m.PacketID != 0) != (qos > 0) {
					t.Errorf("version %s: %s", version, codec.Describe(m, g.version))
				}
				var pr proof
				if got := pr.readPayload(m.Payload, m.Topic, h.w.p.runID); got != intact {
					t.Errorf("the proof reads %v", got)
				}
			}
		}
	}
}

// TestHistograms compares what workers record and the collector merges with recording directly.
func TestHistograms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		direct := newHistogram()
		merged := newHistogram()
		sets := []*stats{newStats(1, 1), newStats(1, 1)}
		for range rapid.IntRange(0, 20).Draw(t, "seconds") {
			for _, s := range sets {
				for _, us := range rapid.SliceOfN(rapid.Int64Range(0, highestLatency), 0, 50).Draw(t, "values") {
					s.record(metricAck, 1, 0, 0, us*1000)
					_ = direct.RecordValue(us)
				}
				if h := s.hist[s.index(metricAck, 1, 0, 0)]; h != nil {
					merged.Merge(h.Histogram)
				}
				s.reset()
			}
		}
		if !merged.Equals(direct) {
			t.Fatal("merged and direct differ")
		}
	})
	s := newStats(1, 1)
	s.record(metricAck, 1, 0, 0, int64(time.Hour))
	s.record(metricAck, 1, 0, 0, -5)
	h := s.hist[s.index(metricAck, 1, 0, 0)]
	if h.beyond != 1 || h.TotalCount() != 2 || !h.ValuesAreEquivalent(h.Max(), highestLatency) || h.Min() != 0 {
		t.Errorf("%d beyond the range, %d recorded, from %d to %d", h.beyond, h.TotalCount(), h.Min(), h.Max())
	}
}

func BenchmarkPublish(b *testing.B) {
	for qos := range uint8(2) {
		b.Run(fmt.Sprintf("qos=%d", qos), func(b *testing.B) {
			h := newHot(b, qos)
			b.ReportAllocs()
			for b.Loop() {
				f := h.send(b)
				if qos == 1 {
					h.ack(f)
				}
			}
		})
	}
}

func BenchmarkReceive(b *testing.B) {
	h := newHot(b, 0)
	frames := make([][]byte, 10_000)
	for i := range frames {
		frames[i] = append([]byte(nil), h.send(b)...)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(frames) {
			i = 0
			h.sub.recv.entries[0].Stream = ledger.Stream{}
		}
		h.deliver(b, frames[i])
		i++
	}
}

func BenchmarkRecord(b *testing.B) {
	s := newStats(1, 1)
	b.ReportAllocs()
	ns := int64(1000)
	for b.Loop() {
		s.record(metricAck, 1, 0, 0, ns)
		ns = ns*5/4%1e9 + 1000
	}
}

func BenchmarkTimers(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("timers=%d", n), func(b *testing.B) {
			var h timers
			for i := range n {
				h.push(timer{at: int64(i) * 1000})
			}
			b.ReportAllocs()
			for b.Loop() {
				t := h.pop()
				t.at += int64(n) * 1000
				h.push(t)
			}
		})
	}
}
