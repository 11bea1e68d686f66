package pcap_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// talk writes segments with sequence numbers of their own.
type talk struct {
	*tape
	seq [2]uint32
}

func newTalk() *talk {
	t := &talk{tape: newTape(), seq: [2]uint32{1000, 5000}}
	t.open(t.seq)
	t.seq[0]++
	t.seq[1]++
	return t
}

// say sends bytes; lost makes it a segment that the capture does not show.
func (t *talk) say(dir int, b []byte, lost ...bool) {
	s := seg{dir: dir, seq: t.seq[dir], ack: t.seq[1-dir], flags: ack, data: b}
	t.seq[dir] += uint32(len(b))
	if len(lost) == 0 {
		t.add(s)
	}
}

func TestStreams(t *testing.T) {
	connect := encode(t, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true})
	connack := encode(t, codec.V4, &codec.Connack{})
	publish := func(topic string, n int) []byte {
		return encode(t, codec.V4, &codec.Publish{Topic: topic, Payload: bytes.Repeat([]byte("."), n)})
	}
	ping, pong := []byte{0xC0, 0}, []byte{0xD0, 0}
	for _, tt := range []struct {
		name string
		make func() *talk
		cfg  pcap.Config
		want []string
	}{
		{"closed by the server", func() *talk {
			k := newTalk()
			k.say(0, connect)
			k.say(1, connack)
			k.add(seg{dir: 1, seq: k.seq[1], ack: k.seq[0], flags: fin | ack})
			k.add(seg{dir: 0, seq: k.seq[0], ack: k.seq[1] + 1, flags: fin | ack})
			return k
		}, pcap.Config{}, []string{"3 client CONNECT 3.1.1", "4 server CONNACK 3.1.1", "end stream 0 closed true reset false by 2"}},
		{"reset by the client", func() *talk {
			k := newTalk()
			k.say(0, connect)
			k.add(seg{dir: 0, seq: k.seq[0], flags: rst})
			return k
		}, pcap.Config{}, []string{"3 client CONNECT 3.1.1", "end stream 0 closed true reset true by 1"}},
		{"lost segment that was acknowledged", func() *talk {
			k := newTalk()
			k.say(0, connect)
			k.say(1, connack)
			k.say(0, publish("lost", 10), true)
			k.say(0, publish("kept", 10))
			for range 30 {
				k.say(0, ping)
				k.say(1, pong)
			}
			return k
		}, pcap.Config{}, append([]string{"3 client CONNECT 3.1.1", "4 server CONNACK 3.1.1"}, "…", "5 gap lost 18 skipped 0", "5 client PUBLISH 3.1.1 kept", "…")},
		{"hole inside a payload", func() *talk {
			k := newTalk()
			k.say(0, connect)
			p := publish("big", 3000)
			k.say(0, p[:1000])
			k.say(0, p[1000:2000], true)
			k.say(0, p[2000:])
			k.say(0, publish("next", 1))
			return k
		}, pcap.Config{}, []string{
			"3 client CONNECT 3.1.1", "5 gap lost 1000 skipped 0", "5 client PUBLISH 3.1.1 missing 2008 big", "6 client PUBLISH 3.1.1 next", "end stream 0 closed false reset false by 0",
		}},
		{"cut by the snap length", func() *talk {
			k := newTalk()
			k.snap = 100
			k.say(0, connect)
			k.say(0, publish("long", 500))
			k.say(0, publish("short", 5))
			return k
		}, pcap.Config{}, []string{
			"3 client CONNECT 3.1.1", "4 client PUBLISH 3.1.1 missing 449 long", "4 gap lost 449 skipped 0", "5 client PUBLISH 3.1.1 short", "end stream 0 closed false reset false by 0",
		}},
		{"port used again", func() *talk {
			k := newTalk()
			k.say(0, connect)
			k.seq = [2]uint32{900_000, 800_000}
			k.open(k.seq)
			k.seq[0]++
			k.seq[1]++
			k.say(0, encode(t, codec.V5, &codec.Connect{ClientID: "d"}))
			return k
		}, pcap.Config{}, []string{
			"3 client CONNECT 3.1.1", "end stream 0 closed false reset false by 0", "6 client CONNECT 5.0", "end stream 1 closed false reset false by 0",
		}},
		{"begun before the capture, 5.0", func() *talk {
			k := &talk{tape: newTape(), seq: [2]uint32{77, 88}}
			k.say(0, encode(t, codec.V5, &codec.Publish{Topic: "a", Payload: []byte("x")}))
			k.say(1, encode(t, codec.V5, &codec.Suback{PacketID: 3, Reasons: []codec.ReasonCode{0}}))
			return k
		}, pcap.Config{}, []string{"1 client PUBLISH 5.0 a", "2 server SUBACK 5.0", "end stream 0 closed false reset false by 0"}},
		{"begun inside a payload", func() *talk {
			k := &talk{tape: newTape(), seq: [2]uint32{77, 88}}
			p := publish("big", 500)
			k.say(0, p[200:])
			k.say(0, publish("next", 9))
			k.say(0, publish("next", 9))
			return k
		}, pcap.Config{}, []string{"2 gap lost 0 skipped 308", "2 client PUBLISH 3.1.1 next", "3 client PUBLISH 3.1.1 next", "end stream 0 closed false reset false by 0"}},
		{"another port", func() *talk {
			k := newTalk()
			k.sport = 4711
			return k.reopen(connect, connack)
		}, pcap.Config{}, []string{"5 client CONNECT 3.1.1", "6 server CONNACK 3.1.1", "end stream 1 closed false reset false by 0"}},
		{"something else on the port", func() *talk {
			k := newTalk()
			k.say(0, []byte("SSH-2.0-OpenSSH_9.6\r\n"))
			k.say(1, []byte("SSH-2.0-OpenSSH_9.6\r\n"))
			return k
		}, pcap.Config{}, nil},
		{"no CONNECT", func() *talk {
			k := newTalk()
			k.say(0, publish("first", 3))
			return k
		}, pcap.Config{}, []string{"3 client PUBLISH 3.1.1 first", "end stream 0 closed false reset false by 0"}},
		{"a length of five bytes", func() *talk {
			k := newTalk()
			k.say(0, connect)
			k.say(0, []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1})
			return k
		}, pcap.Config{}, []string{"3 client CONNECT 3.1.1", "4 client PUBLISH 3.1.1", "end stream 0 closed false reset false by 0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := collect(tt.make().buf.Bytes(), tt.cfg)
			if g.err != nil {
				t.Fatal(g.err)
			}
			if i := len(tt.want); i > 0 && tt.want[i-1] == "…" { // a part, somewhere
				part := strings.Join(tt.want[3:i-1], "\n")
				if all := strings.Join(g.events, "\n"); !strings.Contains(all, part) {
					t.Errorf("events\n%s\nlack\n%s", all, part)
				}
				return
			}
			if diff := cmp.Diff(tt.want, g.events); diff != "" {
				t.Errorf("events differ (-want +got):\n%s", diff)
			}
		})
	}
}

// reopen opens a second connection, to the port that is set by now.
func (t *talk) reopen(client, server []byte) *talk {
	t.seq = [2]uint32{1, 1}
	t.open(t.seq)
	t.seq[0]++
	t.seq[1]++
	t.say(0, client)
	t.say(1, server)
	return t
}

// Nothing is found in what another program says; everything in front of damage is.
func TestDamagedFile(t *testing.T) {
	k := newTalk()
	k.say(0, encode(t, codec.V4, &codec.Connect{ClientID: "c"}))
	k.say(0, []byte{0xC0, 0})
	whole := k.buf.Bytes()
	g := collect(whole[:len(whole)-3], pcap.Config{})
	if !errors.Is(g.err, pcap.ErrDamaged) {
		t.Fatalf("error %v, want one of damage", g.err)
	}
	if want := "after frame 3"; !strings.Contains(g.err.Error(), want) {
		t.Errorf("error %q does not say %q", g.err, want)
	}
	if diff := cmp.Diff([]string{"3 client CONNECT 3.1.1", "end stream 0 closed false reset false by 0"}, g.events); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownFormat(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("hello, world"), "xz": {0xFD, '7', 'z', 'X', 0x5A, 0}, "short": {0xD4},
	} {
		if _, err := pcap.NewReader(bytes.NewReader(b)); !errors.Is(err, pcap.ErrFormat) {
			t.Errorf("%s: error %v, want one of format", name, err)
		}
	}
}

func TestFilter(t *testing.T) {
	k := newTalk()
	k.say(0, encode(t, codec.V4, &codec.Connect{ClientID: "dev-1"}))
	k.say(1, encode(t, codec.V4, &codec.Connack{Reason: codec.ReturnNotAuthorized}))
	k.say(0, encode(t, codec.V4, &codec.Publish{Topic: "a/b", QoS: 1, PacketID: 7}))
	k.say(0, []byte{0x36, 5, 0, 1, 'a', 0, 1})
	for _, tt := range []struct {
		filter string
		want   int
	}{
		{"", 4},
		{"type=publish", 2},
		{"type!=publish", 2},
		{"type=connect,connack", 2},
		{"topic=a/#", 2},
		{"topic=a/+ qos=1", 1},
		{"client=dev-*", 4},
		{"client=x*", 0},
		{"reason=failed", 1},
		{"reason=5", 1},
		{"rule=3.3.1-4", 1},
		{"from=server", 1},
		{"id=7", 1},
		{"version=3.1.1 stream=0", 4},
		{"stream=1", 0},
	} {
		f, err := pcap.ParseFilter(tt.filter)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		d := pcap.NewDissector(pcap.Config{Packet: func(p *pcap.Packet) error {
			if f.Match(p) {
				n++
			}
			return nil
		}})
		if err := errors.Join(d.Read(bytes.NewReader(k.buf.Bytes())), d.Close()); err != nil {
			t.Fatal(err)
		}
		if n != tt.want {
			t.Errorf("%q lets %d packets pass, want %d", tt.filter, n, tt.want)
		}
	}
	for _, bad := range []string{"type", "type=", "kind=publish", "type=nothing", "qos=x", "topic=a/#/b", "reason=300", "from=me", "version=2"} {
		if _, err := pcap.ParseFilter(bad); err == nil {
			t.Errorf("the filter %q is taken", bad)
		}
	}
}
