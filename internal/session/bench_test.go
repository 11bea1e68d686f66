package session

import (
	"testing"

	"github.com/mqlab/mqlab/codec"
)

var link5 = Link{Version: codec.V5, Present: true}

func open(tb testing.TB, c Config, l Link) *Session[int] {
	tb.Helper()
	s := &Session[int]{Config: c}
	s.Step(Event[int]{Kind: Connected, Link: &l}, 0, nil)
	return s
}

// qos1 sends a message and takes its PUBACK.
func qos1(s *Session[int], out []Action[int]) []Action[int] {
	out = s.Step(Event[int]{Kind: Send, QoS: 1, H: 7}, 1, out[:0])
	return s.Step(Event[int]{Kind: Puback, ID: out[0].ID}, 1, out)
}

// qos2 sends a message and takes its PUBREC and PUBCOMP.
func qos2(s *Session[int], out []Action[int]) []Action[int] {
	out = s.Step(Event[int]{Kind: Send, QoS: 2, H: 7}, 1, out[:0])
	id := out[0].ID
	out = s.Step(Event[int]{Kind: Pubrec, ID: id}, 1, out)
	return s.Step(Event[int]{Kind: Pubcomp, ID: id}, 1, out)
}

// windowed keeps n QoS 1 messages in flight and acknowledges the oldest.
func windowed(s *Session[int], n int) func() {
	var out []Action[int]
	ids := make([]uint16, n)
	for i := range ids {
		out = s.Step(Event[int]{Kind: Send, QoS: 1, H: i}, 1, out[:0])
		ids[i] = out[0].ID
	}
	i := 0
	return func() {
		out = s.Step(Event[int]{Kind: Puback, ID: ids[i]}, 1, out[:0])
		out = s.Step(Event[int]{Kind: Send, QoS: 1, H: i}, 1, out[:0])
		ids[i] = out[0].ID
		if i++; i == n {
			i = 0
		}
	}
}

func received(s *Session[int], qos codec.QoS, hold bool) func() {
	var out []Action[int]
	id := uint16(0)
	return func() {
		if id++; id == 0 {
			id = 1
		}
		out = s.Step(Event[int]{Kind: Publish, QoS: qos, ID: id, Hold: hold}, 1, out[:0])
		if hold {
			out = s.Step(Event[int]{Kind: Ack, ID: id, Ref: out[0].Ref}, 1, out)
		}
		if qos == 2 {
			out = s.Step(Event[int]{Kind: Pubrel, ID: id}, 1, out)
		}
	}
}

func durable(s *Session[int]) func() {
	var out []Action[int]
	return func() {
		out = s.Step(Event[int]{Kind: Send, QoS: 1, H: 7}, 1, out[:0])
		id, ticket := out[0].ID, out[0].Ref
		out = s.Step(Event[int]{Kind: Stored, Ref: ticket}, 1, out)
		out = s.Step(Event[int]{Kind: Puback, ID: id}, 1, out)
	}
}

type hotPath struct {
	name string
	make func(testing.TB) func()
}

func hotPaths() []hotPath {
	return []hotPath{
		{"send1/window1", func(tb testing.TB) func() {
			s, out := open(tb, Config{}, link5), make([]Action[int], 0, 8)
			return func() { out = qos1(s, out) }
		}},
		{"send1/window1000", func(tb testing.TB) func() { return windowed(open(tb, Config{}, link5), 1000) }},
		{"send1/window65535", func(tb testing.TB) func() { return windowed(open(tb, Config{}, link5), 65535) }},
		{"send2/window1", func(tb testing.TB) func() {
			s, out := open(tb, Config{}, link5), make([]Action[int], 0, 8)
			return func() { out = qos2(s, out) }
		}},
		{"send1/durable", func(tb testing.TB) func() { return durable(open(tb, Config{Durable: true}, link5)) }},
		{"receive1", func(tb testing.TB) func() { return received(open(tb, Config{}, link5), 1, false) }},
		{"receive1/hold", func(tb testing.TB) func() { return received(open(tb, Config{}, link5), 1, true) }},
		{"receive2", func(tb testing.TB) func() { return received(open(tb, Config{}, link5), 2, false) }},
		{"receive2/hold", func(tb testing.TB) func() { return received(open(tb, Config{}, link5), 2, true) }},
	}
}

// BenchmarkStep measures whole deliveries: a QoS 1 one is two Steps, a QoS 2 one three outbound and two inbound, with
// hold or durable one more.
func BenchmarkStep(b *testing.B) {
	for _, p := range hotPaths() {
		b.Run(p.name, func(b *testing.B) {
			f := p.make(b)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

func TestStepAllocates(t *testing.T) {
	for _, p := range hotPaths() {
		t.Run(p.name, func(t *testing.T) {
			f := p.make(t)
			for range 200000 { // several rounds of the identifiers
				f()
			}
			if n := testing.AllocsPerRun(70000, f); n != 0 {
				t.Errorf("a delivery allocates %v times, want 0", n)
			}
		})
	}
}
