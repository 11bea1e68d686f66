package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// tale is what happened in one run of a check, put down act by act.
type tale struct {
	*T
	wire codec.Version
}

func newTale(v Versions) *tale {
	r := &run{cfg: Config{}.withDefaults(), id: "taler", numbers: map[jobKey]int{}}
	t := r.newT(context.Background(), job{&Check{Name: "tale/told", Rules: []string{"MQTT-4.7.1-3"}, Versions: v}, v}, 0)
	return &tale{T: t, wire: wire(v)}
}

func (s *tale) did(kind peer.ActKind, conn string) *tale {
	s.transcript.Act(peer.Act{Kind: kind, Conn: conn})
	return s
}

func (s *tale) sent(conn string, p codec.Packet) *tale {
	b, err := p.AppendTo(nil, s.wire)
	if err != nil {
		panic(err)
	}
	s.transcript.Act(peer.Act{Kind: peer.ActSend, Conn: conn, Frame: b})
	return s
}

// came puts down that the packet arrived; took, that the script waited for it as well.
func (s *tale) came(conn string, p codec.Packet) *tale {
	s.arrive(conn, p)
	return s
}

func (s *tale) took(conn string, p codec.Packet) *tale {
	s.transcript.Act(peer.Act{Kind: peer.ActTake, Conn: conn, Event: s.arrive(conn, p)})
	return s
}

func (s *tale) arrive(conn string, p codec.Packet) *peer.Event {
	b, err := p.AppendTo(nil, s.wire)
	if err != nil {
		panic(err)
	}
	e := &peer.Event{At: time.Now(), Frame: b, Packet: p}
	s.transcript.Act(peer.Act{Kind: peer.ActArrived, Conn: conn, Frame: b, Event: e})
	return e
}

func (s *tale) judged(ok bool) *tale {
	s.Judge().That(ok, "what is right", "what came")
	return s
}

func (s *tale) end() *tale { return s.did(peer.ActClose, "") }

// told returns the expectations of the exchange that is written of the two.
func told(t *testing.T, reference, target *tale, level int) []string {
	t.Helper()
	res := target.result(nil)
	res.script = target.T
	if res.Verdict != Fail {
		t.Fatalf("the target's verdict is %s", res.Verdict)
	}
	x, err := target.run.script(res, reference.T, level)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range x.Steps {
		if s.Expect != nil || s.ExpectNone != nil {
			out = append(out, s.String())
		}
	}
	return out
}

func message(payload string, edits ...func(*codec.Publish)) *codec.Publish {
	p := &codec.Publish{Topic: "a", QoS: 1, PacketID: 1, Payload: []byte(payload)}
	for _, edit := range edits {
		edit(p)
	}
	return p
}

func dup(p *codec.Publish) { p.Dup = true }

func expectsMessage(conn, payload, dup string) string {
	return fmt.Sprintf("%s: expect PUBLISH topic=%q qos=1%s retain=false payload=%q", conn, "a", dup, payload)
}

func expectsNo(conn, payload, dup string) string {
	return strings.Replace(expectsMessage(conn, payload, dup), "expect", "expect no", 1)
}

const firstTime = " dup=false"

// TestEvidenceHoldsNoHasteAgainstATarget holds that a message which the baseline broker sends as
// well is not held against a target because it came there before the last judgement, and on the
// baseline broker after it or after the end.
func TestEvidenceHoldsNoHasteAgainstATarget(t *testing.T) {
	begin := func() *tale {
		return newTale(MQTT311).did(peer.ActOpen, "c1").did(peer.ActOpen, "c2").sent("c1", message("m")).took("c2", message("m"))
	}
	puback := &codec.Puback{PacketID: 1}
	for _, tc := range []struct {
		name              string
		reference, target *tale
		want              []string // with every field
		wantSettled       []string // with what the standard settles; nil: the same
	}{
		{
			name:      "after the end of the script",
			reference: begin().judged(true).end().sent("c2", &codec.Pingreq{}).came("c2", message("late")).came("c1", puback),
			target:    begin().came("c1", puback).came("c2", message("late")).came("c2", message("wrong")).judged(false).end(),
			want:      []string{expectsMessage("c2", "m", firstTime) + " next", expectsNo("c2", "wrong", firstTime)},
		},
		{
			name:      "after the judgement, with nothing done on the connection",
			reference: begin().judged(true).sent("c1", message("n")).came("c2", message("late")).took("c2", message("n")).end(),
			target:    begin().came("c2", message("late")).came("c2", message("wrong")).judged(false).end(),
			want:      []string{expectsMessage("c2", "m", firstTime) + " next", expectsNo("c2", "wrong", firstTime)},
		},
		{
			name:        "after what the script did on the connection to get it",
			reference:   begin().judged(true).sent("c2", puback).took("c2", message("held")).end(),
			target:      begin().came("c2", message("held")).judged(false).end(),
			want:        []string{expectsMessage("c2", "m", firstTime) + " next", expectsNo("c2", "held", firstTime)},
			wantSettled: []string{expectsMessage("c2", "m", firstTime)}, // only the order is wrong
		},
		{
			name:      "the marker of a fence, on a third connection",
			reference: begin().judged(true).end(),
			target:    begin().came("c2", message("fence 19")).came("c2", message("wrong")).judged(false).end(),
			want:      []string{expectsMessage("c2", "m", firstTime) + " next", expectsNo("c2", "wrong", firstTime)},
		},
		{
			name:      "at the target after the end of the script",
			reference: begin().came("c2", message("late")).came("c2", message("due")).judged(true).end(),
			target:    begin().judged(false).end().came("c2", message("late")),
			want:      []string{expectsMessage("c2", "m", firstTime) + " next", expectsMessage("c2", "due", firstTime)},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.wantSettled == nil {
				for _, line := range tc.want {
					tc.wantSettled = append(tc.wantSettled, strings.TrimSuffix(line, " next"))
				}
			}
			for level, want := range [][]string{tc.wantSettled, tc.want} {
				if diff := cmp.Diff(want, told(t, tc.reference, tc.target, level)); diff != "" {
					t.Errorf("level %d (-want +got): %s", level, diff)
				}
			}
		})
	}
}

// TestEvidenceLeavesDupOpen holds that the DUP flag is expected where a server must know what it
// has sent before, and not where that depends on when it notices the end of a connection.
func TestEvidenceLeavesDupOpen(t *testing.T) {
	begin := func() *tale {
		return newTale(MQTT311).did(peer.ActOpen, "c1").took("c1", message("first"))
	}
	left := func(s *tale) *tale { s.transcript.Act(peer.Act{Kind: peer.ActOver, Conn: "c1", Auto: true}); return s }
	for _, tc := range []struct {
		name              string
		reference, target *tale
		want              []string
	}{
		{
			name:      "cut off",
			reference: begin().did(peer.ActDrop, "c1").did(peer.ActOpen, "c2").came("c2", message("first", dup)).came("c2", message("later", dup)).judged(true).end(),
			target:    begin().did(peer.ActDrop, "c1").did(peer.ActOpen, "c2").came("c2", message("later")).judged(false).end(),
			want:      []string{expectsMessage("c1", "first", firstTime), expectsMessage("c2", "first", " dup=true")},
		},
		{
			name:      "ended by the server",
			reference: left(begin()).did(peer.ActClose, "c1").did(peer.ActOpen, "c2").came("c2", message("first", dup)).came("c2", message("later")).judged(true).end(),
			target:    left(begin()).did(peer.ActClose, "c1").did(peer.ActOpen, "c2").came("c2", message("first", dup)).came("c2", message("later", dup)).judged(false).end(),
			want: []string{
				expectsMessage("c1", "first", firstTime), expectsMessage("c2", "later", firstTime), expectsNo("c2", "later", " dup=true"),
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, told(t, tc.reference, tc.target, 0)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEvidenceLeavesServersTheirChoice holds that in packets which no breach is about nothing is
// expected but what the standard settles, however unlike the baseline broker's they are.
func TestEvidenceLeavesServersTheirChoice(t *testing.T) {
	connack := func(edit func(*codec.Properties)) *codec.Connack {
		p := new(codec.Connack)
		edit(&p.Props)
		return p
	}
	offers := connack(func(p *codec.Properties) { p.SetUint(codec.PropTopicAliasMaximum, 64) })
	limits := connack(func(p *codec.Properties) {
		p.SetUint(codec.PropReceiveMaximum, 10)
		p.SetText(codec.PropReasonString, "hello")
	})
	begin := func(ack *codec.Connack) *tale {
		return newTale(MQTT5).did(peer.ActOpen, "c1").sent("c1", &codec.Connect{Version: codec.V5, ClientID: "x", CleanStart: true}).took("c1", ack)
	}
	const sound = "c1: expect CONNACK session-present=false reason=success"
	t.Run("not judged", func(t *testing.T) {
		more := func(s *tale, code codec.ReasonCode, ok bool) *tale {
			return s.sent("c1", message("m")).took("c1", &codec.Puback{PacketID: 1, Reason: code}).sent("c1", &codec.Pingreq{}).judged(ok).end()
		}
		want := []string{sound, "c1: expect PUBACK id=1 reason=success"}
		for level := range levels {
			got := told(t, more(begin(offers), codec.Success, true), more(begin(limits), codec.NoMatchingSubscribers, false), level)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("level %d: %s", level, diff)
			}
		}
	})
	t.Run("judged", func(t *testing.T) {
		for level, want := range []string{sound, sound + " -reason_string -receive_maximum"} {
			got := told(t, begin(offers).judged(true).end(), begin(limits).judged(false).end(), level)
			if diff := cmp.Diff([]string{want}, got); diff != "" {
				t.Errorf("level %d: %s", level, diff)
			}
		}
	})
}

// TestReferenceIsDrained holds that the reference knows all that the baseline broker sends, also
// what it sends behind the end of a script that waits for nothing.
func TestReferenceIsDrained(t *testing.T) {
	t.Parallel()
	check := &Check{Name: "tale/hasty", Rules: []string{"MQTT-4.7.1-3"}, Versions: MQTT311, Run: func(t *T) {
		sub, pub := t.Connect(), t.Connect()
		leaver := t.Connect(func(p *codec.Connect) {
			p.HasWill, p.Will = true, codec.Will{Topic: t.Topic("will"), QoS: 2, Payload: []byte("x")}
		})
		sub.Subscribe(2, t.Topic("#"))
		leaver.Drop()
		for i := range 20 {
			pub.Send(&codec.Publish{Topic: t.Topic("a"), QoS: 2, PacketID: uint16(i) + 1, Payload: []byte("x")})
		}
		t.Judge().That(true, "", "")
	}}
	r := &run{cfg: Config{}.withDefaults(), id: "taler", numbers: map[jobKey]int{}, features: map[Versions]*Features{}}
	ref, err := r.reference(t.Context(), r.newT(t.Context(), job{check, MQTT311}, 0), broker.Config{})
	if err != nil {
		t.Fatal(err)
	}
	acts, _ := ref.transcript.Acts()
	got := map[string]int{}
	for _, a := range acts {
		if a.Kind == peer.ActArrived {
			got[a.Conn+" "+a.Event.Packet.Type().String()]++
		}
	}
	want := map[string]int{"c1 PUBLISH": 21, "c1 PUBREL": 21, "c2 PUBREC": 20, "c2 PUBCOMP": 20}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: %d arrived, want %d", name, got[name], n)
		}
	}
}

// TestLikeTargetAnnouncesNoMore holds that the baseline broker in the place of a target that leaves
// the limits out of CONNACK leaves them out as well.
func TestLikeTargetAnnouncesNoMore(t *testing.T) {
	b := broker.New(broker.Config{})
	defer b.Close()
	r := &run{cfg: Config{Dial: dialOf(b)}.withDefaults(), id: "taler", dial: dialOf(b), numbers: map[jobKey]int{}, features: map[Versions]*Features{}}
	f, err := r.probe(t.Context(), MQTT5)
	if err != nil {
		t.Fatal(err)
	}
	r.features[MQTT5] = f
	like := broker.New(r.likeTarget(MQTT5))
	defer like.Close()
	texts := map[bool]string{}
	for own, dial := range map[bool]*broker.Broker{true: b, false: like} {
		x := &scenarios.Exchange{Kind: scenarios.KindExchange, Title: "connect", MQTT: "5.0"}
		id, clean := "x", true
		x.Steps = []scenarios.Step{{Open: "c1"}, {Send: &scenarios.Packet{Type: "connect", ClientID: &id, CleanStart: &clean}}, {Expect: &scenarios.Packet{Type: "connack"}}}
		out, err := scenarios.Run(t.Context(), x, scenarios.RunConfig{Dial: dialOf(dial)})
		if err != nil || !out.Followed {
			t.Fatal(err, out)
		}
		for _, e := range out.Transcript {
			if e.Dir == peer.Received {
				texts[own] += e.Text
			}
		}
	}
	if diff := cmp.Diff(texts[true], texts[false]); diff != "" {
		t.Error(diff)
	}
}
