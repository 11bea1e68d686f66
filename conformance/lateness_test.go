package conformance

import (
	"context"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// lateBy is a lateness that looked in time from the beginning on, but for the stalls, each of which
// begins where the number of a look, from the beginning, says.
func lateBy(began time.Time, looks int, stalls map[int]time.Duration) *lateness {
	l := new(lateness)
	l.look(began)
	at := began
	for i := range looks {
		at = at.Add(latenessEvery)
		if d := stalls[i]; d > 0 {
			at = at.Add(latenessLeast + d)
		}
		l.look(at)
	}
	return l
}

// TestLatenessClock holds that the clock stands still in stalls, those included that nobody has
// looked at, and goes on in between.
func TestLatenessClock(t *testing.T) {
	began := time.Now()
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	// Two stalls: from 160 ms on for 1 s, and from 1220 ms on for 2 s. The last look is at 3220 ms.
	l := lateBy(began, 4, map[int]time.Duration{2: time.Second, 3: 2 * time.Second})
	for _, tc := range []struct{ at, clock, real int }{
		{0, 0, 0},
		{50, 50, 50},
		{160, 160, 160},
		{700, 160, 160},
		{1160, 160, 160},
		{1200, 200, 1200},
		{1220, 220, 1220},
		{2000, 220, 1220},
		{3250, 250, 3250},
		{3280, 280, 3280},
		{9000, 280, 3280}, // nobody has looked since
	} {
		if got := l.clock(at(tc.at)); !got.Equal(at(tc.clock)) {
			t.Errorf("after %d ms the clock shows %v, want %d ms", tc.at, got.Sub(began), tc.clock)
		}
		if got := l.real(at(tc.clock)); !got.Equal(at(tc.real)) {
			t.Errorf("the clock shows %d ms after %v, want %d ms", tc.clock, got.Sub(began), tc.real)
		}
	}
	for _, tc := range []struct {
		from, to    int
		pause, most time.Duration
	}{
		{0, 150, 150 * time.Millisecond, 0},
		{0, 1215, 215 * time.Millisecond, time.Second},
		{1200, 3270, 70 * time.Millisecond, 2 * time.Second},
		{3270, 4280, 10 * time.Millisecond, time.Second},
	} {
		if got := l.pause(at(tc.from), at(tc.to)); got != tc.pause {
			t.Errorf("%d to %d ms: a pause of %v, want %v", tc.from, tc.to, got, tc.pause)
		}
		if got := l.worst(at(tc.from), at(tc.to)); got != tc.most {
			t.Errorf("%d to %d ms: at most %v late, want %v", tc.from, tc.to, got, tc.most)
		}
	}
	var never *lateness
	if got := never.pause(at(0), at(500)); got != 500*time.Millisecond || never.worst(at(0), at(500)) != 0 || !never.real(at(7)).Equal(at(7)) {
		t.Errorf("where nothing is measured a pause of 500 ms is one of %v", got)
	}
}

// TestLatenessIsMeasured holds that a turn that does not come is noticed.
func TestLatenessIsMeasured(t *testing.T) {
	l := newLateness()
	l.end()
	from := l.due
	if got := l.worst(from, from.Add(time.Second+latenessLeast)); got != time.Second {
		t.Errorf("a second without a look is taken for %v", got)
	}
}

// TestPausesWhileLate holds that no pause is held against a client while the suite itself was late,
// in one piece or in many, and that else each is.
func TestPausesWhileLate(t *testing.T) {
	short := map[int]time.Duration{}
	for i := 3; i < 13; i++ {
		short[i] = 450 * time.Millisecond
	}
	for _, tc := range []struct {
		name      string
		v         Versions
		keepAlive uint16        // of the client
		server    uint16        // in CONNACK; 0: none
		pause     time.Duration // between CONNACK and the next packet
		stalls    map[int]time.Duration
		want      []string
	}{
		{"in time", MQTT311, 5, 0, 7300 * time.Millisecond, nil, []string{"MQTT-3.1.2-23"}},
		{"late once", MQTT311, 5, 0, 7300 * time.Millisecond, map[int]time.Duration{3: 4800 * time.Millisecond}, nil},
		{"late often", MQTT311, 5, 0, 7300 * time.Millisecond, short, nil},
		{"late, and not by so much", MQTT311, 5, 0, 17300 * time.Millisecond, short, []string{"MQTT-3.1.2-23"}},
		{"the server's, in time", MQTT5, 60, 2, 4800 * time.Millisecond, nil, []string{"MQTT-3.1.2-20", "MQTT-3.1.2-21", "MQTT-3.2.2-21"}},
		{"the server's, late once", MQTT5, 60, 2, 4800 * time.Millisecond, map[int]time.Duration{3: 2500 * time.Millisecond}, nil},
		{"the server's, late often", MQTT5, 60, 2, 4800 * time.Millisecond, short, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			began := time.Now()
			r := &run{cfg: Config{}.withDefaults(), client: &clientTarget{late: lateBy(began, 1000, tc.stalls)}, numbers: map[jobKey]int{}}
			x := r.newT(context.Background(), job{&Check{Name: "tale/told", Rules: []string{"MQTT-3.1.0-1"}, Versions: tc.v}, tc.v}, 0)
			x.began = began
			see := x.watch("c1")
			bytes := func(p codec.Packet) []byte {
				b, err := p.AppendTo(nil, wire(tc.v))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			ack := new(codec.Connack)
			if tc.server > 0 {
				ack.Props.SetUint(codec.PropServerKeepAlive, uint32(tc.server))
			}
			see(peer.Received, began, bytes(&codec.Connect{Version: wire(tc.v), ClientID: "x", CleanStart: true, KeepAlive: tc.keepAlive}))
			see(peer.Sent, began, bytes(ack))
			came := began.Add(tc.pause)
			see(peer.Received, came, bytes(&codec.Pingreq{}))
			res := new(CheckResult)
			x.passive(res)
			var got []string
			for _, f := range res.Findings {
				got = append(got, f.Rule)
				if want := x.transcript.Since(came); f.At != want {
					t.Errorf("%s at %v, want %v", f.Rule, f.At, want)
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWillDelayIsLongerOnRepeat holds that a target which accepts a connection only after the Will
// Delay is given more of it, and is then judged.
func TestWillDelayIsLongerOnRepeat(t *testing.T) {
	t.Parallel()
	b := broker.New(broker.Config{})
	defer b.Close()
	var asked atomic.Int32
	dial := func(ctx context.Context) (net.Conn, error) {
		nc, err := b.Dial()
		if asked.Add(1) == 3 && err == nil { // that of the client which comes back
			select {
			case <-time.After(willDelay):
			case <-ctx.Done():
			}
		}
		return nc, err
	}
	i := slices.IndexFunc(takeoverChecks, func(c Check) bool { return c.Name == "will/withheld-when-session-resumes" })
	r := &run{cfg: Config{Dial: dial, Ephemeral: true}.withDefaults(), id: "taler", dial: dial, numbers: map[jobKey]int{}}
	r.features = map[Versions]*Features{MQTT5: {Version: MQTT5, Served: true, MaximumQoS: 2, Capabilities: CapSessionExpiry | CapQoS1 | CapQoS2}}
	res := r.settled(t.Context(), job{&takeoverChecks[i], MQTT5}, 0)
	if res.Verdict != Pass || asked.Load() < 7 {
		t.Errorf("%s (%s) after %d connections", res.Verdict, res.Reason, asked.Load())
	}
}

// TestGapsWhileLate stops a client for longer than its Keep Alive allows, and holds that this is held
// against it, unless the suite was late itself for most of that time.
func TestGapsWhileLate(t *testing.T) {
	t.Parallel()
	const keepAlive, stopped = 2 * time.Second, 6 * time.Second
	for _, tc := range []struct {
		name  string
		stall time.Duration
		held  bool
	}{
		{"in time", 0, true},
		{"late", 4500 * time.Millisecond, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			late := new(lateness)
			r := &run{
				cfg: Config{Transcripts: true}.withDefaults(), id: "taler", numbers: map[jobKey]int{}, features: map[Versions]*Features{},
				client: &clientTarget{command: []string{os.Args[0], "flawed-client", "{port}", "v5"}, late: late},
			}
			check := &Check{Name: "tale/stopped", Rules5: []string{"MQTT-3.1.2-21", "MQTT-3.1.2-20", "MQTT-3.2.2-21"}, Versions: MQTT5, Run: func(x *T) {
				c := x.Launch().Accept()
				c.Accepted(func(p *codec.Connack) { p.Props.SetUint(codec.PropServerKeepAlive, uint32(keepAlive/time.Second)) })
				if c.Serve(x.Timeout(), ofType(codec.TypePingreq)) == nil {
					x.Inconclusive("the client sends no PINGREQ")
				}
				group := -x.launched[0].cmd.Process.Pid
				began := time.Now()
				if tc.stall > 0 {
					late.stalls = []stall{{from: began.Add(500 * time.Millisecond), long: tc.stall}}
				}
				if err := syscall.Kill(group, syscall.SIGSTOP); err != nil {
					x.Inconclusive("the client cannot be stopped: %v", err)
				}
				again := time.AfterFunc(stopped, func() { _ = syscall.Kill(group, syscall.SIGCONT) })
				defer func() {
					if again.Stop() {
						_ = syscall.Kill(group, syscall.SIGCONT)
					}
				}()
				x.judgeGaps(c, keepAlive)
			}}
			res := r.attempt(t.Context(), job{check, MQTT5}, 0)
			// On a busy machine the client is slow in going on, and then nothing can be told.
			if (res.Verdict == Fail) != tc.held || res.Verdict == Inconclusive && !res.again {
				t.Errorf("%s: %s", res.Verdict, res.Reason)
				for _, e := range res.Transcript {
					t.Logf("  %8.3fs %s %s %s", e.At.Seconds(), e.Conn, e.Dir, e.Text)
				}
			}
		})
	}
}
