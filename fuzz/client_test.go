package fuzz

import (
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// plantedClient names the environment variable that makes TestPlantedClient a client: its fault and a port.
const plantedClient = "MQLAB_PLANTED_CLIENT"

// TestPlantedClient is no test: started with a port in the environment, it is a client, with a planted fault or with none.
func TestPlantedClient(*testing.T) {
	fault, port, ok := strings.Cut(os.Getenv(plantedClient), ":")
	if !ok {
		return
	}
	c := &flawedClient{fault: fault}
	for {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			os.Exit(1)
		}
		c.converse(nc)
		_ = nc.Close()
		if fault != "returns" {
			os.Exit(0)
		}
	}
}

type flawedClient struct {
	fault string
	armed bool
}

// converse serves one connection until something comes that no server may send.
func (c *flawedClient) converse(nc net.Conn) {
	send := func(p codec.Packet) {
		b, _ := p.AppendTo(nil, codec.V5)
		_, _ = nc.Write(b)
	}
	send(&codec.Connect{Version: codec.V5, ClientID: "planted", CleanStart: true, KeepAlive: 60})
	r := codec.NewReader(nc, 1<<20)
	d := codec.Decoder{Version: codec.V5, From: codec.Server}
	for {
		frame, err := r.Next()
		if err != nil {
			return
		}
		p, err := d.Decode(frame)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *codec.Connack:
			if p.Reason != 0 {
				return
			}
			send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "#", QoS: 2}}})
		case *codec.Publish:
			c.look(p)
			switch p.QoS {
			case 1:
				send(&codec.Puback{PacketID: p.PacketID})
			case 2:
				send(&codec.Pubrec{PacketID: p.PacketID})
			}
		case *codec.Pubrel:
			c.armed = true
			if c.fault == "babbles" {
				_, _ = nc.Write([]byte{byte(codec.TypePubcomp) << 4, 2, 0, 0})
				continue
			}
			send(&codec.Pubcomp{PacketID: p.PacketID})
		case *codec.Disconnect, *codec.Auth:
			return
		}
	}
}

// look is where the faults lie.
func (c *flawedClient) look(p *codec.Publish) {
	switch {
	case c.fault == "panics" && c.armed && p.Retain:
		panic("a planted fault")
	case c.fault == "hangs" && p.Retain:
		signal.Ignore(syscall.SIGTERM)
		<-time.After(time.Minute)
	}
}

// plantedConfig is a run against a client with a fault, or with none.
func plantedConfig(t *testing.T, fault string) ClientConfig {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("signals and /usr/bin/env are those of a Unix")
	}
	return ClientConfig{
		Cmd:  fmt.Sprintf("/usr/bin/env %s=%s:{port} %s -test.run=TestPlantedClient", plantedClient, fault, os.Args[0]),
		Seed: 7, Time: time.Minute, Workers: 2, Minimise: 5 * time.Second, Replays: 2, StopAfter: 1,
	}
}

func TestClientFaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault  string
		oracle Oracle
		title  string
		steps  int // the most that a minimal script has
	}{
		{"panics", OracleDied, "a planted fault", 8},
		{"babbles", OracleMalformed, "malformed PUBCOMP", 8},
		{"hangs", OracleHang, "does not end", 0},
	} {
		t.Run(tc.fault, func(t *testing.T) {
			t.Parallel()
			cfg := plantedConfig(t, tc.fault)
			cfg.Out, cfg.Corpus = t.TempDir(), t.TempDir()
			if tc.oracle == OracleHang { // each look at it takes five seconds
				cfg.Minimise, cfg.Replays, cfg.Patience = -1, 1, time.Second
			}
			sum, err := RunClient(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			var x *Finding
			for _, f := range sum.Findings {
				if f.Oracle == tc.oracle && strings.Contains(f.Title, tc.title) {
					x = f
				}
			}
			if x == nil {
				t.Fatalf("not found: %+v", sum.Findings)
			}
			if x.Confirmed == 0 || tc.steps > 0 && len(x.Best().Steps) > tc.steps {
				t.Errorf("confirmed %d times by %d steps: %v", x.Confirmed, len(x.Best().Steps), x.Best().Describe())
			}
			if files, _ := filepath.Glob(filepath.Join(cfg.Corpus, "*.txt")); len(files) == 0 || len(files) > sum.Corpus || sum.States == 0 { // two may be the same
				t.Errorf("%d files of %d scripts, %d states", len(files), sum.Corpus, sum.States)
			}
			if tc.oracle != OracleHang {
				found, err := ReplayClient(t.Context(), cfg, x.Best())
				if err != nil || len(found) == 0 || found[0].Key() != x.Key() {
					t.Errorf("replayed: %v, %v", found, err)
				}
			}
		})
	}
}

// TestClientWithoutFault holds that a client that does nothing wrong is accused of nothing, that one that comes back keeps
// its process, and that what one run has learnt the next begins with.
func TestClientWithoutFault(t *testing.T) {
	t.Parallel()
	cfg := plantedConfig(t, "returns")
	cfg.Execs, cfg.Corpus = 150, t.TempDir()
	sum, err := RunClient(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range sum.Findings {
		t.Errorf("%s: %s: %s %v", x.Oracle, x.Title, x.Confirmation(), x.Detail)
	}
	if sum.Execs != cfg.Execs || sum.Restarts*2 > int(sum.Execs) || sum.Corpus == 0 {
		t.Errorf("%d exchanges with %d starts, %d scripts kept", sum.Execs, sum.Restarts, sum.Corpus)
	}
	var notes []string
	cfg.Events = func(e Event) {
		if e.Note != "" {
			notes = append(notes, e.Note)
		}
	}
	cfg.Execs = 20
	if _, err := RunClient(t.Context(), cfg); err != nil || len(notes) > 0 {
		t.Error(err, notes)
	}
}

func TestClientCannotBeFuzzed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cmd, want string }{
		{"mosquitto_sub", "needs {port}"},
		{"/nowhere/client {port}", "/nowhere/client"},
		{"true {port}", "sends no CONNECT"},
		{"echo $HOME {port}", "needs a shell"},
	} {
		if _, err := RunClient(t.Context(), ClientConfig{Cmd: tc.cmd, Execs: 1}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.cmd, err, tc.want)
		}
	}
}
