package fuzz

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// sends returns the packets that a script sends on all connections, in order.
func sends(s *Script) (all [][]byte) {
	for _, st := range s.Steps {
		if st.Op == Send {
			for range max(1, st.Repeat) {
				all = append(all, cutAll(st.Bytes)...)
			}
		}
	}
	return all
}

func typed(s *Script) (all []codec.Type) {
	for _, b := range sends(s) {
		all = append(all, codec.Type(b[0]>>4))
	}
	return all
}

// subsequence reports whether all of want stand in got, in order.
func subsequence(got []codec.Type, want ...codec.Type) bool {
	for _, t := range got {
		if len(want) > 0 && t == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

// TestMinimise holds that whatever a planted predicate looks at is all that is left.
func TestMinimise(t *testing.T) {
	encode := func(v codec.Version, all ...codec.Packet) (b []byte) {
		for _, p := range all {
			var err error
			if b, err = p.AppendTo(b, v); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	hello := &codec.Connect{Version: codec.V5, ClientID: "somebody", CleanStart: true, HasUsername: true, Username: "name"}
	hello.Props.AddUser("a", "b")
	hello.Props.SetUint(codec.PropReceiveMaximum, 7)
	message := &codec.Publish{Topic: "a/long/topic", Payload: bytes.Repeat([]byte("p"), 300), QoS: 1, PacketID: 3}
	message.Props.SetUint(codec.PropTopicAlias, 9)
	message.Props.AddUser("x", "y")
	filters := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "one"}, {Filter: "two/#", QoS: 1}}}
	base := &Script{Version: codec.V5, Steps: []Step{
		{Op: Open, Conn: 1},
		{Op: Open},
		{Op: Send, Bytes: encode(codec.V5, hello)},
		{Op: Settle, Gap: settleGap},
		{Op: Send, Conn: 1, Bytes: encode(codec.V5, hello)},
		{Op: Send, Bytes: encode(codec.V5, filters, message, &codec.Pingreq{})},
		{Op: Answer, Ack: AckTwice},
		{Op: Send, Bytes: encode(codec.V5, message), Repeat: 1000},
		{Op: Drip, Conn: 1, Bytes: encode(codec.V5, message), Size: 3},
		{Op: Send, Bytes: encode(codec.V5, &codec.Disconnect{})},
		{Op: Close},
		{Op: Drop, Conn: 1},
	}}
	for _, tt := range []struct {
		name  string
		fires func(*Script) bool
		steps int
		bytes int // at most
		check func(*Script) bool
	}{
		{
			"two packets in order", func(s *Script) bool { return subsequence(typed(s), codec.TypeSubscribe, codec.TypePingreq) },
			1, 4, nil,
		},
		{
			"a number of packets", func(s *Script) bool {
				n := 0
				for _, x := range typed(s) {
					if x == codec.TypePublish {
						n++
					}
				}
				return n >= 100
			},
			1, 2, func(s *Script) bool { return s.Steps[0].Repeat >= 100 && s.Steps[0].Repeat <= 113 },
		},
		{
			"a property of a sound packet", func(s *Script) bool {
				for _, b := range sends(s) {
					d := codec.Decoder{Version: codec.V5}
					if p, err := d.Decode(b); err == nil {
						if m, ok := p.(*codec.Publish); ok && m.Props.Has(codec.PropTopicAlias) {
							return true
						}
					}
				}
				return false
			},
			1, 12, nil,
		},
		{
			"an operation on the other connection", func(s *Script) bool {
				return slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Op == Drop && st.Conn == 1 })
			},
			1, 0, nil,
		},
		{
			"a length that is right", func(s *Script) bool {
				for _, b := range sends(s) {
					if frame, rest, err := codec.Cut(b, 0); err == nil && frame != nil && len(rest) == 0 && codec.Type(b[0]>>4) == codec.TypeConnect && len(b) > 10 {
						return true
					}
				}
				return false
			},
			1, 11, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := base.Text()
			if !tt.fires(base) {
				t.Fatal("the script does not fire")
			}
			calls := 0
			got := Minimise(t.Context(), base, func(s *Script) bool {
				calls++
				return tt.fires(s)
			})
			if !tt.fires(got) {
				t.Errorf("the result does not fire:\n%s", got.Text())
			}
			if base.Text() != before {
				t.Error("the original was changed")
			}
			if len(got.Steps) != tt.steps || size(got) > tt.bytes || tt.check != nil && !tt.check(got) {
				t.Errorf("%d steps of %d bytes are left, want %d and %d:\n%s", len(got.Steps), size(got), tt.steps, tt.bytes, got.Text())
			}
			if calls > 2000 {
				t.Errorf("%d replays", calls)
			}
		})
	}
}

// TestMinimiseEnds holds that the budget ends it, with a result that fires.
func TestMinimiseEnds(t *testing.T) {
	s := NewGenerator(4, GenConfig{}).Next()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	got := Minimise(ctx, s, func(*Script) bool {
		if calls++; calls == 2 {
			cancel()
		}
		return calls < 2
	})
	if calls != 2 || len(got.Steps) == 0 {
		t.Errorf("%d calls, %d steps", calls, len(got.Steps))
	}
}

// TestMinimiseLong holds that few attempts suffice to find two packets in a run of many scripts, wherever they stand.
func TestMinimiseLong(t *testing.T) {
	g := NewGenerator(11, GenConfig{Light: true})
	var all []*Script
	for range 40 {
		all = append(all, g.Next())
	}
	hello := []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'z', 'z'}
	for _, at := range []int{0, 20, 39} {
		some := slices.Clone(all)
		some[at] = &Script{Version: codec.V4, Steps: []Step{
			{Op: Open, Conn: 2}, {Op: Send, Conn: 2, Bytes: hello}, {Op: Settle, Conn: 2, Gap: settleGap}, {Op: Send, Conn: 2, Bytes: []byte{0xC0, 0}, Repeat: 200}, {Op: Drop, Conn: 2},
		}}
		base := joined(some)
		// Two PINGREQ on a connection that was admitted by that name.
		fires := func(s *Script) bool {
			admitted, pings := false, 0
			for _, st := range s.Steps {
				switch {
				case st.Conn != 2 || st.Op == Churn:
				case st.Op == Open || st.Op == Close || st.Op == Drop:
					admitted, pings = false, 0
				case st.Op == Send && bytes.Equal(st.Bytes, hello):
					admitted = true
				case st.Op == Send && admitted && bytes.Equal(st.Bytes, []byte{0xC0, 0}):
					pings += max(1, st.Repeat)
				}
				if pings > 1 {
					return true
				}
			}
			return false
		}
		calls := 0
		got := Minimise(t.Context(), base, func(s *Script) bool {
			calls++
			return fires(s)
		})
		if n := got.Packets(); !fires(got) || n != 3 {
			t.Errorf("script %d: %d packets are left, want 3:\n%s", at, n, got.Text())
		}
		if calls > 120 {
			t.Errorf("script %d: %d attempts for %d steps", at, calls, len(base.Steps))
		}
	}
}

// TestMinimiseUnrolls holds that connections which come and go by themselves become connections of the script.
func TestMinimiseUnrolls(t *testing.T) {
	hello := []byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'z', 'z'}
	base := &Script{Version: codec.V4, Steps: []Step{{Op: Churn, Bytes: hello, Size: 8, Repeat: 200}, {Op: Open}, {Op: Send, Bytes: hello}}}
	got := Minimise(t.Context(), base, func(s *Script) bool {
		n := 0
		for _, st := range s.Steps {
			switch {
			case !bytes.Equal(st.Bytes, hello):
			case st.Op == Churn:
				n += max(1, st.Size) * max(1, st.Repeat)
			case st.Op == Send:
				n++
			}
		}
		return n >= 2
	})
	if got.Packets() != 2 || slices.ContainsFunc(got.Steps, func(st Step) bool { return st.Op == Churn }) {
		t.Errorf("%d packets are left, want 2:\n%s", got.Packets(), got.Text())
	}
}

// TestMinimiseProves holds that what fires by what attempts before have left behind is not taken for granted.
func TestMinimiseProves(t *testing.T) {
	s := &Script{Version: codec.V4, Steps: []Step{{Op: Open}}}
	for i := range 30 {
		s.Steps = append(s.Steps, Step{Op: Send, Bytes: []byte{0xC0, 0}, Size: i})
	}
	// Two of the steps bring it about together. A target that has seen the first keeps it in mind.
	seen := false
	run := func(s *Script) bool {
		for _, st := range s.Steps {
			seen = seen || st.Size == 7
			if st.Size == 21 && seen {
				return true
			}
		}
		return false
	}
	fresh := 0
	m := newMinimiser(t.Context(), s, run)
	m.sure = func(s *Script) bool {
		fresh++
		seen = false
		return run(s)
	}
	m.run()
	var left []int
	for _, st := range m.best.Steps {
		left = append(left, st.Size)
	}
	if !slices.Equal(left, []int{7, 21}) {
		t.Errorf("steps %v are left, want 7 and 21", left)
	}
	if !m.strict || fresh > 60 {
		t.Errorf("strict %v after %d fresh starts", m.strict, fresh)
	}
	if m.best != m.proven {
		t.Error("the result is not proven")
	}
}

// TestBetter holds that a lost message is called one, and that nothing else changes its name.
func TestBetter(t *testing.T) {
	lost := &trouble{oracle: OracleDelivery, signature: "qos 1 lost"}
	gone := &trouble{oracle: OracleDelivery, signature: retainedLost}
	long := &trouble{oracle: OracleHang, signature: longSubscriber}
	stuck := &trouble{oracle: OracleHang, signature: "fresh CONNECT"}
	twice := &trouble{oracle: OracleDelivery, signature: "qos 2 twice"}
	for _, tt := range []struct {
		first, shown, want *trouble
		same               bool
	}{
		{long, lost, lost, true},
		{gone, lost, lost, true},
		{lost, gone, gone, true},
		{lost, long, lost, false},
		{stuck, lost, stuck, false},
		{twice, lost, twice, false},
		{lost, twice, lost, false},
		{long, stuck, long, true},
	} {
		if got := better(tt.first, tt.shown); got != tt.want {
			t.Errorf("%s, then %s: named %s", tt.first.key(), tt.shown.key(), got.key())
		}
		if got := same(tt.shown, tt.first); got != tt.same {
			t.Errorf("%s, then %s: the same %v", tt.first.key(), tt.shown.key(), got)
		}
	}
}
