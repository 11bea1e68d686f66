package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
)

// flawed is a client with some flaws, or with none. It subscribes at QoS 2, publishes four messages
// at QoS 2 one behind the other, stays, and connects again when it has to.
type flawed struct {
	version codec.Version
	flaws   []string

	next uint16    // identifier of the next message, up to 4
	open []outward // what is not complete, in order
}

type outward struct {
	id       uint16
	qos      codec.QoS
	released bool
}

func (f *flawed) has(flaw string) bool { return slices.Contains(f.flaws, flaw) }

// flawedClient is the program.
func flawedClient(port string, flaws ...string) int {
	f := &flawed{version: codec.V4, flaws: flaws, next: 1}
	if f.has("v5") {
		f.version = codec.V5
	}
	for range 50 {
		nc, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return 0 // the server is gone
		}
		c := peer.New(nc, peer.Config{Version: f.version})
		again := f.converse(c)
		_ = c.Close()
		if !again {
			return 0
		}
	}
	return 1
}

// limits are what the server announces.
type limits struct {
	qos   codec.QoS
	quota int
	size  int
	alive time.Duration
}

func (f *flawed) limits(ack *codec.Connack) limits {
	l := limits{
		codec.QoS(ack.Props.Uint(codec.PropMaximumQoS, 2)), int(ack.Props.Uint(codec.PropReceiveMaximum, 65535)),
		int(ack.Props.Uint(codec.PropMaximumPacketSize, 1<<20)), time.Duration(ack.Props.Uint(codec.PropServerKeepAlive, 5)) * time.Second,
	}
	if f.has("any qos") {
		l.qos = 2
	}
	if f.has("any quota") {
		l.quota = 65535
	}
	if f.has("any size") {
		l.size = 1 << 20
	}
	if f.has("own rhythm") {
		l.alive = 8 * time.Second
	}
	if f.has("brief") {
		l.alive = time.Second
	}
	if f.has("no pings") {
		l.alive = time.Hour
	}
	return l
}

func (f *flawed) hello() *codec.Connect {
	p := &codec.Connect{Version: f.version, ClientID: "flawed", KeepAlive: 5, CleanStart: true}
	if f.has("no pings") || f.has("brief") {
		p.KeepAlive = 1
	}
	if f.has("persistent") {
		p.CleanStart = false
		if f.version == codec.V5 {
			p.Props.SetUint(codec.PropSessionExpiry, 100)
		}
	}
	return p
}

// publish sends what the limits allow.
func (f *flawed) publish(c *peer.Conn, l limits) {
	for ; f.next <= 4 && len(f.open) < l.quota; f.next++ {
		p := &codec.Publish{Topic: "mine", QoS: min(2, l.qos), PacketID: f.next, Payload: []byte{byte('0' + f.next)}}
		if p.QoS == 0 {
			p.PacketID = 0
		}
		if f.has("alias") {
			p.Props.SetUint(codec.PropTopicAlias, 1)
		}
		if p.Size(f.version) > l.size {
			continue
		}
		if p.QoS > 0 {
			f.open = append(f.open, outward{id: f.next, qos: p.QoS})
		}
		_ = c.Send(p)
	}
}

// resend sends again what an older connection left open.
func (f *flawed) resend(c *peer.Conn) {
	if f.has("forgets") {
		f.open = nil
	}
	for _, o := range f.open {
		if o.released {
			_ = c.Send(&codec.Pubrel{PacketID: o.id})
			continue
		}
		_ = c.Send(&codec.Publish{Topic: "mine", QoS: o.qos, PacketID: o.id, Dup: !f.has("no dup"), Payload: []byte{byte('0' + o.id)}})
	}
}

// converse is one connection. It reports whether to connect again.
func (f *flawed) converse(c *peer.Conn) bool {
	if f.has("subscribes first") {
		_ = c.Send(&codec.Subscribe{PacketID: 99, Filters: []codec.Subscription{{Filter: "flawed/#", QoS: 2}}})
	}
	hello := f.hello()
	_ = c.Send(hello)
	any := func(*peer.Event) bool { return true }
	e, err := c.Await(10*time.Second, any)
	if err != nil {
		return false
	}
	ack, ok := e.Packet.(*codec.Connack)
	if !ok || ack.Reason != 0 {
		return false
	}
	if ack.SessionPresent && f.version == codec.V5 && hello.CleanStart && !f.has("takes any session") {
		return false
	}
	if ack.SessionPresent {
		f.resend(c)
	} else {
		f.next, f.open = 1, nil
	}
	l := f.limits(ack)
	_ = c.Send(&codec.Subscribe{PacketID: 99, Filters: []codec.Subscription{{Filter: "flawed/#", QoS: 2}}})
	f.publish(c, l)
	var held []codec.Packet
	for {
		wait := l.alive / 2
		if len(held) > 0 {
			wait = 200 * time.Millisecond
		}
		e, err := c.Await(wait, any)
		switch {
		case errors.Is(err, peer.ErrTimeout) && len(held) > 0: // acknowledgements in the wrong order
			slices.Reverse(held)
			for _, p := range held {
				_ = c.Send(p)
			}
			held = nil
			continue
		case errors.Is(err, peer.ErrTimeout):
			_ = c.Send(&codec.Pingreq{})
			continue
		case err != nil:
			return true
		}
		if len(e.Faults) > 0 || e.Packet == nil {
			if f.has("tolerant") {
				continue
			}
			return false
		}
		switch out := f.answer(e.Packet); {
		case out == nil:
			f.publish(c, l)
		case f.has("backwards"):
			held = append(held, out)
		default:
			_ = c.Send(out)
		}
	}
}

// answer is what a packet asks for, or nil.
func (f *flawed) answer(p codec.Packet) codec.Packet {
	switch p := p.(type) {
	case *codec.Publish:
		switch {
		case p.QoS == 1 && !f.has("deaf"):
			return &codec.Puback{PacketID: p.PacketID}
		case p.QoS == 2:
			return &codec.Pubrec{PacketID: p.PacketID}
		}
	case *codec.Puback:
		f.open = slices.DeleteFunc(f.open, func(o outward) bool { return o.id == p.PacketID })
	case *codec.Pubrec:
		for i := range f.open {
			if f.open[i].id == p.PacketID {
				f.open[i].released = true
			}
		}
		return &codec.Pubrel{PacketID: p.PacketID}
	case *codec.Pubrel:
		if f.has("wrong pubcomp") {
			return &codec.Pubcomp{PacketID: p.PacketID + 1}
		}
		return &codec.Pubcomp{PacketID: p.PacketID}
	case *codec.Pubcomp:
		f.open = slices.DeleteFunc(f.open, func(o outward) bool { return o.id == p.PacketID })
	}
	return nil
}

func clientCommand(args ...string) []string {
	return append([]string{os.Args[0], "flawed-client", "{port}"}, args...)
}

// TestClients holds that a client that keeps the rules is accused of nothing, and that each flaw is
// found under the name of its rule.
func TestClients(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		flaw, version string
		rules         []string // all that are broken
		run           string   // the check to run; empty: all
	}{
		{"none", "3.1.1", nil, ""},
		{"none", "5.0", nil, ""},
		{"persistent", "3.1.1", nil, ""},
		{"persistent", "5.0", nil, ""},
		{"subscribes first", "3.1.1", []string{"MQTT-3.1.0-1"}, ""},
		{"backwards", "3.1.1", []string{"MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4"}, ""},
		{"backwards", "5.0", []string{"MQTT-4.6.0-2", "MQTT-4.6.0-3", "MQTT-4.6.0-4"}, ""},
		{"deaf", "3.1.1", []string{"MQTT-4.5.0-2"}, ""},
		{"tolerant", "3.1.1", []string{"MQTT-1.5.3-1", "MQTT-2.2.2-2", "MQTT-3.3.1-4"}, ""},
		{"tolerant", "5.0", []string{"MQTT-3.3.1-4"}, ""},
		{"brief", "3.1.1", nil, ""},
		{"no pings", "3.1.1", []string{"MQTT-3.1.2-23"}, ""},
		{"no pings", "5.0", []string{"MQTT-3.1.2-20"}, ""},
		{"own rhythm", "5.0", []string{"MQTT-3.1.2-21", "MQTT-3.2.2-21"}, "client/server-keep-alive-honoured"},
		{"wrong pubcomp", "3.1.1", []string{"MQTT-4.3.3-2"}, ""},
		{"any qos", "5.0", []string{"MQTT-3.2.2-11"}, ""},
		{"any size", "5.0", []string{"MQTT-3.2.2-15"}, ""},
		{"any quota", "5.0", []string{"MQTT-3.3.4-7", "MQTT-4.9.0-2"}, ""},
		{"alias", "5.0", []string{"MQTT-3.2.2-18"}, ""},
		{"takes any session", "5.0", []string{"MQTT-3.2.2-4"}, ""},
		{"persistent,no dup", "3.1.1", []string{"MQTT-3.3.1-1"}, ""},
		{"persistent,forgets", "3.1.1", []string{"MQTT-4.4.0-1"}, ""},
	} {
		t.Run(tc.flaw+" "+tc.version, func(t *testing.T) {
			t.Parallel()
			cfg := conformance.ClientConfig{
				Command: clientCommand(strings.Split(tc.flaw, ",")...), Timeout: 3 * time.Second, Parallel: 4,
				Fast: !strings.Contains(tc.flaw, "brief") && !strings.Contains(tc.flaw, "pings") && !strings.Contains(tc.flaw, "rhythm"),
			}
			if tc.version == "5.0" {
				cfg.Command = append(cfg.Command, "v5")
			}
			least := 10 // rules that a client keeps
			if tc.run != "" {
				cfg.Run, least = []string{tc.run}, 0
			}
			if tc.flaw == "subscribes first" {
				least = 0
			}
			problems := judgeClient(t.Context(), cfg, tc.version, tc.rules, least)
			if len(problems) > 0 {
				alone.Lock()
				defer alone.Unlock()
				cfg.Timeout, cfg.Parallel, cfg.Patience = patient, 2, 2
				problems = judgeClient(t.Context(), cfg, tc.version, tc.rules, least)
			}
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}

// alone is held by a client that is judged again: on a busy machine an honest one may be too slow
// for the deadlines, so a wrong outcome is believed only when it comes again with more patience.
var alone sync.Mutex

// judgeClient checks the client and returns what is wrong with the outcome.
func judgeClient(ctx context.Context, cfg conformance.ClientConfig, version string, broken []string, least int) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	rep, err := conformance.RunClient(ctx, cfg)
	if err != nil {
		return []string{err.Error()}
	}
	var found []string
	passed := 0
	for _, r := range rep.Rules {
		switch {
		case r.Verdict >= conformance.Warn:
			found = append(found, r.ID)
			if !slices.Contains(broken, r.ID) {
				bad("%s: %s: %s (%v)", r.ID, r.Verdict, r.Reason, r.Checks)
			}
		case r.Verdict == conformance.Pass:
			passed++
		}
	}
	for _, id := range broken {
		if !slices.Contains(found, id) {
			bad("%s is not found broken, only %v", id, found)
		}
	}
	if passed < least {
		bad("only %d rules were judged", passed)
	}
	if rep.Versions.String() != version {
		bad("judged as MQTT %s", rep.Versions)
	}
	for _, c := range rep.Checks {
		if c.Verdict == conformance.Errored || len(problems) > 0 {
			bad("%s: %s: %s", c.Name, c.Verdict, c.Reason)
		}
	}
	return problems
}

// TestClientChecksAreSound holds that names are unique, that no other check has them, and that each
// id is known and binds clients.
func TestClientChecksAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range conformance.All() {
		seen[c.Name] = true
	}
	for _, c := range conformance.ClientChecks() {
		if seen[c.Name] || !strings.HasPrefix(c.Name, "client/") {
			t.Errorf("the name %s is taken, or is not that of a check of clients", c.Name)
		}
		seen[c.Name] = true
		for _, v := range c.Versions.Split() {
			for _, id := range c.RulesFor(v) {
				if r, ok := rules.Lookup(v, id); !ok || r.Subject == rules.SubjectServer {
					t.Errorf("%s judges %s, which MQTT %s does not have, or which binds servers only", c.Name, id, v)
				}
			}
			if len(c.RulesFor(v)) == 0 {
				t.Errorf("%s judges nothing under %s", c.Name, v)
			}
		}
	}
}

func TestClientCannotBeChecked(t *testing.T) {
	for _, tc := range []struct {
		name    string
		command []string
		want    string
	}{
		{"no command", nil, "there is none"},
		{"no port", []string{"mosquitto_sub"}, "write {port} or {url}"},
		{"no such program", []string{"/nowhere/client", "{port}"}, "cannot be started"},
		{"no connection", []string{"sh", "-c", "echo no network {port}"}, "ended without a connection; its last output: no network"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := conformance.RunClient(t.Context(), conformance.ClientConfig{Command: tc.command})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// TestMosquittoClients runs real clients, version 2.0.11. What they break was held against the
// standard by hand: libmosquitto takes no notice of the flags of PINGRESP, nor of a session that it
// did not ask for, and counts the first byte of a packet not as part of its size.
func TestMosquittoClients(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		command []string
		version string
		known   []string // findings
	}{
		{"mosquitto_sub", []string{"-t", "{topic}", "-q", "2"}, "3.1.1", []string{"MQTT-2.2.2-2"}},
		{"mosquitto_sub", []string{"-t", "{topic}", "-q", "2", "-V", "mqttv5"}, "5.0", []string{"MQTT-3.2.2-4"}},
		{"mosquitto_sub", []string{"-t", "{topic}/#", "-q", "1", "-i", "{clientid}", "-c"}, "3.1.1", []string{"MQTT-2.2.2-2"}},
		{"mosquitto_pub", []string{"-t", "{topic}", "-q", "2", "-m", "{message}"}, "3.1.1", nil},
		{"mosquitto_pub", []string{"-t", "{topic}", "-q", "1", "-r", "-m", "{message}", "-V", "mqttv5"}, "5.0", []string{"MQTT-3.2.2-15"}},
	} {
		t.Run(fmt.Sprint(tc.name, tc.command), func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tc.name); err != nil {
				absent(t, "%s is not installed", tc.name)
			}
			cfg := conformance.ClientConfig{Command: append([]string{tc.name, "-h", "{host}", "-p", "{port}"}, tc.command...)}
			problems := judgeClient(t.Context(), cfg, tc.version, tc.known, 10)
			if len(problems) > 0 {
				alone.Lock()
				defer alone.Unlock()
				cfg.Timeout, cfg.Parallel, cfg.Patience = patient, 2, 2
				problems = judgeClient(t.Context(), cfg, tc.version, tc.known, 10)
			}
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}
