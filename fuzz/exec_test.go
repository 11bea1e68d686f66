package fuzz

import (
	"context"
	"net"
	"testing"

	"github.com/mqlab/mqlab/broker"
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
