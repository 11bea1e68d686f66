package fuzz

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// embedded starts the broker and returns how to reach it in memory and by TCP.
func embedded(tb testing.TB) (mem, tcp Dial) {
	tb.Helper()
	b := broker.New(broker.Config{})
	tb.Cleanup(func() { _ = b.Close() })
	l, err := b.Listen("mqtt://127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	d := &transport.Dialer{}
	return func(context.Context) (net.Conn, error) { return b.Dial() },
		func(ctx context.Context) (net.Conn, error) { return d.Dial(ctx, l.URL()) }
}

func BenchmarkExec(b *testing.B) {
	mem, tcp := embedded(b)
	for name, dial := range map[string]Dial{"mem": mem, "tcp": tcp} {
		b.Run(name, func(b *testing.B) {
			g := NewGenerator(1, GenConfig{})
			x := newExecutor(dial)
			var packets int64
			n := 0
			for b.Loop() {
				packets += x.run(b.Context(), g.Next()).packets
				n++
			}
			b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "scripts/s")
		})
	}
}

// BenchmarkRun measures whole runs with eight workers, the corpus and the bystanders included.
func BenchmarkRun(b *testing.B) {
	mem, tcp := embedded(b)
	for name, dial := range map[string]Dial{"mem": mem, "tcp": tcp} {
		b.Run(name, func(b *testing.B) {
			var scripts, packets int64
			for b.Loop() {
				sum, err := Run(b.Context(), Config{Dial: dial, Seed: 1, Execs: 10_000})
				if err != nil {
					b.Fatal(err)
				}
				if len(sum.Findings) > 0 {
					b.Fatalf("%d findings, the first: %s", len(sum.Findings), sum.Findings[0].Title)
				}
				scripts += sum.Execs
				packets += sum.Packets
			}
			b.ReportMetric(float64(packets)/b.Elapsed().Seconds(), "packets/s")
			b.ReportMetric(float64(scripts)/b.Elapsed().Seconds(), "scripts/s")
		})
	}
}

// TestExecRepeats holds that a script that is run in memory comes to the same states each time, and waits for nothing that
// will not come: in a bubble, whose clock moves only while everybody waits, no time passes but what the script asks for.
func TestExecRepeats(t *testing.T) {
	g := NewGenerator(3, GenConfig{Light: true})
	for n := 0; n < 150; {
		s := g.Next()
		alone, pause, opened := true, time.Duration(0), 0
		for i := range s.Steps {
			st := &s.Steps[i]
			alone = alone && st.Conn == 0 && st.Op < Churn && st.Op != Drop
			switch st.Op {
			case Open:
				opened++
			case Pause:
				pause += st.Gap
			}
		}
		// What several connections do, or one after the end of another, may come in any order; and a reset cuts off what it does.
		if !alone || opened > 1 {
			continue
		}
		n++
		var first []uint64
		for round := range 3 {
			synctest.Test(t, func(t *testing.T) {
				b := broker.New(broker.Config{})
				defer b.Close()
				x := newExecutor(func(context.Context) (net.Conn, error) { return b.Dial() })
				began := time.Now()
				r := x.run(t.Context(), s)
				took := time.Since(began)
				switch {
				case round == 0:
					first = slices.Clone(r.states)
				case !slices.Equal(r.states, first):
					t.Errorf("the states are %x, and were %x", r.states, first)
				}
				if took != pause {
					t.Errorf("it took %v, of which pauses are %v", took, pause)
				}
			})
		}
		if t.Failed() {
			t.Fatalf("the script:\n%s", s.Text())
		}
	}
}

// TestExecOnBroker holds that the broker gives no cause for complaint, whatever is sent.
func TestExecOnBroker(t *testing.T) {
	mem, _ := embedded(t)
	g := NewGenerator(2, GenConfig{Light: true})
	x := newExecutor(mem)
	for range 600 {
		s := g.Next()
		r := x.run(t.Context(), s)
		for _, tr := range r.troubles {
			t.Errorf("%s: %s %v in\n%s", tr.key(), tr.title, tr.detail, s.Text())
		}
		if t.Failed() {
			return
		}
	}
}

// TestVersionOfFaultyConnect holds that a CONNECT with a fault in it still says by which version its connection goes.
func TestVersionOfFaultyConnect(t *testing.T) {
	for _, v := range []codec.Version{codec.V31, codec.V4, codec.V5} {
		p := &codec.Connect{Version: v, ClientID: "a", KeepAlive: 60, CleanStart: true}
		sound, err := p.AppendTo(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		long := slices.Clone(sound)
		long[len(long)-2] = 9 // the Client Identifier is said to be longer than the packet
		for name, frame := range map[string][]byte{"sound": sound, "length": long} {
			t.Run(v.String()+" "+name, func(t *testing.T) {
				w := newExecutor(nil).wires[0]
				w.version = codec.V5
				if v == codec.V5 {
					w.version = codec.V4
				}
				w.client = codec.Decoder{Version: w.version, From: codec.Client}
				w.frame(frame, "")
				if w.version != v || w.server.Version != v || w.client.Version != v {
					t.Errorf("taken for %v, %v and %v", w.version, w.client.Version, w.server.Version)
				}
				if faulty := name != "sound"; w.blind != faulty || (w.fault != nil) != faulty {
					t.Errorf("blind %v, fault %v", w.blind, w.fault)
				}
			})
		}
	}
}
