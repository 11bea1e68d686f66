package flawed_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/fuzz/flawed"
)

// asTarget names the environment variable that makes the test binary the broker with the flaw that it holds.
const asTarget = "MQLAB_FLAW"

func TestMain(m *testing.M) {
	if name := os.Getenv(asTarget); name != "" {
		serve(name)
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(name string) {
	f, ok := flawed.Lookup(name)
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil || !ok {
		os.Exit(3)
	}
	flawed.Serve(l, f)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
}

// TestFound has the fuzzer find some of the flaws, from nothing and within a number of scripts that is far more than it
// takes.
func TestFound(t *testing.T) {
	for _, name := range []string{"panic-unsubscribe", "wrong-puback", "malformed-suback"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ok := flawed.Lookup(name)
			if !ok {
				t.Fatal("there is no such flaw")
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sum, err := fuzz.Run(ctx, fuzz.Config{
				Target: fuzz.Target{Cmd: "'" + os.Args[0] + "' {port}", Env: []string{asTarget + "=" + name}},
				Seed:   1, Execs: 20_000, Light: true, Workers: 2, Minimise: 5 * time.Second, Resources: -1,
				Events: func(e fuzz.Event) {
					if e.Settled && e.Finding.Oracle == f.Oracles[0] && e.Finding.Confirmed > 0 {
						cancel() // others may be under way, and stay as they are
					}
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(sum.Findings, func(x *fuzz.Finding) bool { return x.Oracle == f.Oracles[0] && x.Confirmed > 0 })
			if i < 0 {
				t.Fatalf("not found and confirmed in %d scripts: %s", sum.Execs, told(sum))
			}
			if x := sum.Findings[i]; x.Confirmed > x.Tried || x.Best() == nil {
				t.Errorf("%s: confirmed %d of %d by %v", x.Signature, x.Confirmed, x.Tried, x.Best())
			}
		})
	}
}

// told lists findings for an error.
func told(sum *fuzz.Summary) string {
	var b strings.Builder
	for _, x := range sum.Findings {
		fmt.Fprintf(&b, "\n%s %s: %s", x.Oracle, x.Signature, x.Confirmation())
	}
	return b.String()
}

// triggers are the shortest scripts that bring the flaws about which show on the connection itself.
var triggers = []struct {
	flaw string
	send []codec.Packet
	want codec.Packet // the last answer
}{
	{
		"malformed-suback",
		[]codec.Packet{subscribe(1, "a"), subscribe(1, "b")},
		nil,
	},
	{
		"wrong-puback",
		[]codec.Packet{&codec.Publish{Topic: "a", QoS: 2, PacketID: 7}, &codec.Publish{Topic: "a", QoS: 1, PacketID: 8}},
		&codec.Puback{PacketID: 7},
	},
	{
		"none",
		[]codec.Packet{&codec.Publish{Topic: "a", QoS: 2, PacketID: 7}, &codec.Publish{Topic: "a", QoS: 1, PacketID: 8}},
		&codec.Puback{PacketID: 8},
	},
}

func subscribe(id uint16, filter string) *codec.Subscribe {
	return &codec.Subscribe{PacketID: id, Filters: []codec.Subscription{{Filter: filter, QoS: 1}}}
}

// TestTriggers holds that what a flaw says brings it about does, that nothing less does, and that a flaw leaves nothing
// running.
func TestTriggers(t *testing.T) {
	for _, tt := range triggers {
		t.Run(tt.flaw, func(t *testing.T) {
			f, _ := flawed.Lookup(tt.flaw)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := flawed.Serve(l, f)
			defer s.Close()
			if got := talk(t, l.Addr().String(), tt.send); !same(got, tt.want) {
				t.Errorf("the last answer is %v, want %v", got, tt.want)
			}
			// The sound broker answers the same packets well.
			srv := brokertest.NewServer(t, broker.Config{})
			if got := talk(t, srv.URL[len("mqtt://"):], tt.send); got == nil || tt.flaw != "none" && same(got, tt.want) {
				t.Errorf("a broker without the flaw answers %v", got)
			}
		})
	}
}

// same compares by what is written.
func same(a, b codec.Packet) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return codec.Describe(a, codec.V4) == codec.Describe(b, codec.V4)
}

// talk sends CONNECT and the packets and returns the last of as many answers; nil where it cannot be decoded.
func talk(t *testing.T, addr string, send []codec.Packet) codec.Packet {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	r := codec.NewReader(nc, 0)
	d := codec.Decoder{Version: codec.V4, From: codec.Server}
	var last codec.Packet
	for _, p := range append([]codec.Packet{&codec.Connect{Version: codec.V4, ClientID: "a", CleanStart: true}}, send...) {
		b, err := p.AppendTo(nil, codec.V4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
		frame, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if last, err = d.Decode(frame); err != nil {
			return nil
		}
	}
	return codec.Clone(last)
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	flaws := 0
	for _, f := range flawed.All() {
		if seen[f.Name] || f.About == "" {
			t.Errorf("%q is there twice, or says nothing", f.Name)
		}
		seen[f.Name] = true
		if len(f.Oracles) > 0 {
			flaws++
			if f.Packets < 1 || f.Packets > 5 {
				t.Errorf("%s takes %d packets", f.Name, f.Packets)
			}
		}
	}
	if flaws < 8 {
		t.Errorf("only %d flaws", flaws)
	}
	if _, ok := flawed.Lookup("nothing"); ok {
		t.Error("found what is not there")
	}
}
