package session

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

func TestSnapshot(t *testing.T) {
	s := &Session[int]{Config: Config{Durable: true}}
	var out []Action[int]
	for _, e := range []ev{
		up(codec.V5), send(2, 1), send(2, 2), send(1, 3),
		{Kind: Request, H: 4},
		stored(3), pk(Pubrec, 2), pk(Puback, 3),
		{Kind: Send, QoS: 1, H: 5, Size: 70, Expires: 1000},
		in(2, 40000, 9), held(2, 41000, 9), in(2, 42000, 9), stored(9), pk(Pubrel, 42000),
	} {
		out = s.Step(e, 100, out)
	}
	want := []Record[int]{
		{Stage: Published, QoS: 2, ID: 1, Sent: true, H: 1},
		{Stage: Released, QoS: 2, ID: 2, Sent: true, H: 2},
		{Stage: Published, QoS: 1, ID: 5, Sent: true, Size: 70, H: 5},
		{Stage: Received, QoS: 2, ID: 40000},
	}
	got := slices.Collect(s.All())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("All (-want +got):\n%s", diff)
	}
	for range s.All() {
		break // an early end is fine
	}

	want[2].Sent, want[2].Expires = false, 1000
	r := &Session[int]{}
	for _, rec := range want {
		if err := r.Restore(rec); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, slices.Collect(r.All())); diff != "" {
		t.Fatalf("All after Restore (-want +got):\n%s", diff)
	}
	var lines []string
	for _, e := range []ev{up(codec.V5), send(1, 6), in(2, 40000, 7), pk(Pubrel, 40000), {Kind: Request, H: 8}} {
		for _, a := range r.Step(e, 100, nil) {
			lines = append(lines, show(a))
		}
	}
	if diff := cmp.Diff([]string{
		"pubrel id2 h2 00 dup", "publish q2 id1 h1 dup", "publish q1 id5 h5",
		"publish q1 id6 h6", "discard q2 id40000 h7", "pubrec id40000 00", "pubcomp id40000 00", "request id7 h8",
	}, lines); diff != "" {
		t.Errorf("after Restore (-want +got):\n%s", diff)
	}
}

// TestRestoreScattered: identifiers of any other origin are taken too.
func TestRestoreScattered(t *testing.T) {
	s := &Session[int]{}
	var want []uint16
	for i := range 300 {
		id := uint16(i*12345 + 1)
		if err := s.Restore(Record[int]{Stage: Published, QoS: 1, ID: id, Sent: true, H: i}); err != nil {
			t.Fatal(err)
		}
		want = append(want, id)
	}
	var got []uint16
	for _, a := range s.Step(up(codec.V5), 0, nil) {
		got = append(got, a.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resent (-want +got):\n%s", diff)
	}
	if err := s.check(); err != nil {
		t.Error(err)
	}
}

func TestRestoreErrors(t *testing.T) {
	fresh := func() *Session[int] {
		s := &Session[int]{}
		for _, st := range []Stage{Published, Received} {
			if err := s.Restore(Record[int]{Stage: st, QoS: 2, ID: 5}); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	connected := fresh()
	connected.Step(up(codec.V5), 0, nil)
	for _, c := range []struct {
		name string
		s    *Session[int]
		r    Record[int]
		want string
	}{
		{"identifier 0", fresh(), Record[int]{Stage: Published, QoS: 1}, "restore a record of stage 1: packet identifier 0 is not valid"},
		{"outbound twice", fresh(), Record[int]{Stage: Released, QoS: 2, ID: 5}, "restore packet identifier 5: it is in use already, each identifier has one record"},
		{"inbound twice", fresh(), Record[int]{Stage: Received, QoS: 2, ID: 5}, "restore packet identifier 5: it is in use already, each identifier has one record"},
		{"QoS 0", fresh(), Record[int]{Stage: Published, ID: 6}, "restore packet identifier 6: stage 1 does not go with QoS 0"},
		{"PUBREL of QoS 1", fresh(), Record[int]{Stage: Released, QoS: 1, ID: 6}, "restore packet identifier 6: stage 2 does not go with QoS 1"},
		{"accepted", fresh(), Record[int]{Stage: Accepted, QoS: 1, ID: 6}, "restore packet identifier 6: stage 4 does not go with QoS 1"},
		{"connected", connected, Record[int]{Stage: Published, QoS: 1, ID: 6}, "restore packet identifier 6: the session is connected, restore before connecting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.s.Restore(c.r)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
