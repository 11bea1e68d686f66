package fuzz

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

// parsed returns the script of steps in the text form.
func parsed(t *testing.T, steps string) *Script {
	t.Helper()
	s, err := ReadScript(strings.NewReader(scriptMagic + "\nversion 3.1.1\n" + steps))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// recorder is a server that admits everybody, and knows what it was sent on each connection.
type recorder struct {
	mu    sync.Mutex // guards the fields below
	conns [][]byte
	open  int
	most  int // connections that were open at the same time
	meet  int // how many connections have to be open before one is answered
	ready *sync.Cond
}

func (r *recorder) dial(context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready == nil {
		r.ready = sync.NewCond(&r.mu)
	}
	n := len(r.conns)
	r.conns = append(r.conns, nil)
	r.open++
	r.most = max(r.most, r.open)
	r.ready.Broadcast()
	go r.serve(server, n)
	return client, nil
}

func (r *recorder) serve(nc net.Conn, n int) {
	buf := make([]byte, 4096)
	defer func() {
		_ = nc.Close()
		r.mu.Lock()
		r.open--
		r.ready.Broadcast()
		r.mu.Unlock()
	}()
	for first := true; ; first = false {
		k, err := nc.Read(buf)
		r.mu.Lock()
		r.conns[n] = append(r.conns[n], buf[:k]...)
		for first && r.most < r.meet {
			r.ready.Wait()
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
		if first {
			_, _ = nc.Write([]byte{0x20, 2, 0, 0})
		}
	}
}

const helloHex = "100d00044d5154540402003c000161"

// TestCounting holds that a packet that is repeated goes out under identifiers that count up, and never under 0.
func TestCounting(t *testing.T) {
	for name, hex := range map[string]string{
		"half a packet": "340900017400027070", // wrong length: not one packet
		"publish":       "340700017400027070",
		"subscribe":     "8206000200017400",
		"pubrel":        "62020002",
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			s := parsed(t, "c0 open\nc0 send "+helloHex+"\nc0 settle 50ms\nc0 send x4 counting "+hex+"\nc0 close")
			packet := slices.Clone(s.Steps[3].Bytes)
			at := identifier(packet)
			if whole := name != "half a packet"; whole != (at > 0) {
				t.Fatalf("the identifier is at %d", at)
			}
			if at > 0 {
				binary.BigEndian.PutUint16(s.Steps[3].Bytes[at:], 65534)
			}
			newExecutor(r.dial).run(t.Context(), s)
			got := r.sent(0)[len(s.Steps[1].Bytes):]
			var want []byte
			for _, id := range []uint16{65534, 65535, 1, 2} {
				if at > 0 {
					binary.BigEndian.PutUint16(packet[at:], id)
				}
				want = append(want, packet...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, hex := range []string{"c000", "300500017470", "3405", "3203000174"} {
		s := parsed(t, "c0 send "+hex)
		if at := identifier(s.Steps[0].Bytes); at != 0 {
			t.Errorf("%s has its identifier at %d", hex, at)
		}
	}
}

// sent returns what came on a connection, when all have ended.
func (r *recorder) sent(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.open > 0 {
		r.ready.Wait()
	}
	return slices.Clone(r.conns[n])
}

// TestStall holds that a connection that is stalled reads nothing, that it reads again when it resumes, and that its end
// does not wait for anybody.
func TestStall(t *testing.T) {
	client, server := net.Pipe()
	w := &link{nc: client}
	w.valve.nc = client
	w.stall()
	if !w.stalled() {
		t.Fatal("a stall is not seen")
	}
	got := make(chan byte)
	done := make(chan error, 1)
	go func() {
		var b [1]byte
		for {
			if _, err := w.valve.Read(b[:]); err != nil {
				done <- err
				return
			}
			got <- b[0]
		}
	}()
	_ = server.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := server.Write([]byte{1}); err == nil {
		t.Errorf("%d bytes were read in a stall", n)
	}
	_ = server.SetWriteDeadline(time.Time{})
	w.resume()
	w.resume()
	go func() { _, _ = server.Write([]byte{2}) }()
	if b := <-got; b != 2 || w.stalled() {
		t.Errorf("read %d after it resumed", b)
	}
	w.stall()
	_ = client.Close()
	w.resume()
	if err := <-done; err == nil {
		t.Error("no end")
	}
	_ = server.Close()
}

// TestStallOfSubscriber holds that what a server sends to a client that does not read stays unread until it reads again,
// and that a script in which one does not comes to an end.
func TestStallOfSubscriber(t *testing.T) {
	_, tcp := embedded(t)
	subscribed := "c1 open\nc1 send 100d00044d5154540402003c000162\nc1 settle 50ms\nc1 send 820600010001 74 00\nc1 settle 50ms\n"
	flood := "c0 open\nc0 send " + helloHex + "\nc0 settle 50ms\nc0 send x200 30 e907 0001 74 70*998\nc0 send c000\nc0 settle 50ms\n"
	x := newExecutor(tcp)
	x.most = 20 * time.Second
	all := x.run(t.Context(), parsed(t, subscribed+flood+"c1 send c000\nc1 settle 50ms")).received
	x.most = 50 * time.Millisecond
	unread := x.run(t.Context(), parsed(t, subscribed+"c1 send c000\nc1 settle 50ms\nc1 stall\n"+flood)).received
	if unread >= all || unread > 60 {
		t.Errorf("%d packets were read with a stall, %d without", unread, all)
	}
	if r := x.run(t.Context(), parsed(t, subscribed+"c1 stall\nc1 resume\n"+flood+"c1 send c000\nc1 settle 50ms")); len(r.troubles) > 0 || r.dialErr != nil {
		t.Errorf("%+v", r)
	}
}

// TestMeanwhile holds that what stands in several Meanwhiles happens at the same time: a server that answers only when all
// are there is answered to. Each has connections of its own and is repeated; what comes afterwards comes afterwards.
func TestMeanwhile(t *testing.T) {
	part := "c0 open\nc0 send " + helloHex + "\nc0 settle 10s\nc0 send c000\nc0 drop\n"
	s := parsed(t, "meanwhile x3\n"+part+"meanwhile\n"+part+"meanwhile\n"+part+"afterwards\nc0 open\nc0 send "+helloHex+"\nc0 close")
	r := &recorder{meet: 3}
	x := newExecutor(r.dial)
	x.most, x.budget = time.Minute, 2*time.Minute
	res := x.run(t.Context(), s)
	last := r.sent(5)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most < 3 || len(r.conns) != 6 || res.slow || res.dialErr != nil {
		t.Errorf("%d connections, %d at a time, %+v", len(r.conns), r.most, res)
	}
	if len(last) != len(helloHex)/2 {
		t.Errorf("the last connection sent %x", last)
	}
	if res.packets != 2*5+1 {
		t.Errorf("%d packets", res.packets)
	}
}

// TestAbreast holds that each script becomes a part that is repeated, with nothing in it that takes long.
func TestAbreast(t *testing.T) {
	a := parsed(t, "c0 open\nc0 send x500 c000\npause 2s")
	b := parsed(t, "meanwhile x4\nc1 open\nafterwards\nc1 drop")
	var got []string
	for _, line := range strings.Split(abreast([]*Script{a, b}).Text(), "\n")[2:] {
		line, _, _ = strings.Cut(line, "  # ")
		got = append(got, line)
	}
	want := []string{"meanwhile x20", "c0 open", "c0 send x100 c000", "pause 30ms", "meanwhile x20", "c1 open", "c1 drop", ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	whole := joined([]*Script{a, b, a}).Steps
	if n := len(whole); n != 3+1+4+1+1+3+1 || whole[2].Gap != mostPause || whole[n-2].Gap != a.Steps[2].Gap {
		t.Errorf("%d steps of three scripts, the first waits for %v, the last for %v", n, whole[2].Gap, whole[n-2].Gap)
	}
	var sizes []int
	for _, group := range sessions(b) {
		sizes = append(sizes, len(group))
	}
	if diff := cmp.Diff([]int{2, 1, 1}, sizes); diff != "" {
		t.Error(diff)
	}
}

// TestNaps holds that a call for quiet ends a long pause and those that would begin before it is over, and no short one.
func TestNaps(t *testing.T) {
	var n naps
	woke := 0
	x := newExecutor(nil)
	x.calls, x.woke = n.call, func() { woke++ }
	asleep := make(chan struct{})
	go func() {
		x.pause(t.Context(), time.Hour)
		close(asleep)
	}()
	n.end()
	<-asleep
	x.pause(t.Context(), time.Hour)
	x.pause(t.Context(), time.Millisecond)
	if woke != 2 {
		t.Errorf("%d long pauses", woke)
	}
	n.begin()
	select {
	case <-n.call():
		t.Error("the call goes on")
	default:
	}
	n.end()
	n.end()
	n.begin()
}

// TestSlow holds that slow scripts wait for more than a second and less than the time for a script, that they are made
// again from their seed, leave those that they are made of as they are, and send what is legal where they say so.
func TestSlow(t *testing.T) {
	a, b := NewGenerator(5, GenConfig{}), NewGenerator(5, GenConfig{})
	brief, late := 0, 0
	for n := range 500 {
		x, y := a.Slow(), b.Slow()
		if n%2 == 1 {
			from := a.Next()
			before := from.Text()
			x, y = a.Slowed(from), b.Slowed(b.Next())
			if from.Text() != before {
				t.Fatal("the original was changed")
			}
		}
		if x.Text() != y.Text() {
			t.Fatalf("script %d differs:\n%s\n%s", n, x.Text(), y.Text())
		}
		var pause time.Duration
		for i := range x.Steps {
			st := &x.Steps[i]
			if st.Op == Pause {
				pause += st.Gap
			}
			if st.Op != Send || st.Edit != "" {
				continue
			}
			d := codec.Decoder{Version: x.Version, From: codec.Client}
			p, err := d.Decode(st.Bytes)
			if err != nil {
				t.Fatalf("%x is called legal: %v", st.Bytes[:min(40, len(st.Bytes))], err)
			}
			if c, ok := p.(*codec.Connect); ok {
				if c.KeepAlive == 1 {
					brief++
				} else {
					late++
				}
			}
		}
		if pause < time.Second || pause > 3*time.Second {
			t.Errorf("script %d waits for %v", n, pause)
		}
		if !lasting(x) {
			t.Error("a slow script does not last")
		}
	}
	if brief < 3*late {
		t.Errorf("%d clients have a short Keep Alive, %d not", brief, late)
	}
	m := a.Mutate(a.Slow(), nil)
	for i := range m.Steps {
		if st := &m.Steps[i]; st.Op == Pause && st.Gap > mostPause {
			t.Errorf("a mutant waits for %v", st.Gap)
		}
	}
}

// TestServersPackets holds that packets of the server's come in each form and with each kind of edit.
func TestServersPackets(t *testing.T) {
	g := NewGenerator(1, GenConfig{Versions: []codec.Version{codec.V5}})
	seen := map[string]bool{}
	kinds := map[byte]bool{}
	for range 3000 {
		g.begin(1)
		g.sendServers(0)
		st := &g.s.Steps[0]
		if st.Edit == "" || len(st.Bytes) == 0 {
			t.Fatalf("%x is said to be legal", st.Bytes)
		}
		kinds[st.Bytes[0]] = true
		b := st.Bytes
		seen["CONNACK with flags in the form of 3.1.1"] = seen["CONNACK with flags in the form of 3.1.1"] || len(b) == 4 && b[0]>>4 == 2 && b[0]&15 != 0 && b[1] == 2 && b[3] != 0
		for _, what := range []string{"in the form of MQTT 3.1.1", "other flags", "cut ", "odd ", "noise"} {
			seen[what] = seen[what] || strings.Contains(st.Edit, what)
		}
	}
	for what, ok := range seen {
		if !ok {
			t.Errorf("no %s", what)
		}
	}
	for _, b := range []byte{0x20, 0x90, 0xB0, 0xD0, 0xE0, 0} {
		if !kinds[b] {
			t.Errorf("no %x", b)
		}
	}
}

// TestPublishToFilters holds that after a SUBSCRIBE of several filters messages go to what it asks for.
func TestPublishToFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"t": "t", "t/+/#": "t/a/a", "#": "a", "$share/g/t/+": "t/a", "$share": "", "$SYS/#": "", "/+": "/a", "$share/g/$SYS/#": "",
	} {
		if got := within(filter); got != want {
			t.Errorf("%q for %s, want %q", got, filter, want)
		}
	}
	g := NewGenerator(2, GenConfig{})
	several, followed := 0, 0
	for range 2000 {
		s := g.Next()
		for i := range s.Steps {
			if st := &s.Steps[i]; st.Op != Send || st.Edit != "" || st.Bytes[0] != 0x82 {
				continue
			}
			d := codec.Decoder{Version: s.Version, From: codec.Client}
			p, err := d.Decode(s.Steps[i].Bytes)
			sub, ok := p.(*codec.Subscribe)
			if err != nil || !ok || len(sub.Filters) < 2 {
				continue
			}
			several++
			if i+2 < len(s.Steps) && s.Steps[i+1].Op == Settle && s.Steps[i+2].Op == Send && s.Steps[i+2].Bytes[0]&0xF6 == 0x34 {
				followed++
			}
		}
	}
	if followed*10 < several || followed < 30 {
		t.Errorf("%d of %d are followed by messages", followed, several)
	}
}
