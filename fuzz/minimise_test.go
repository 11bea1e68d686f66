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
