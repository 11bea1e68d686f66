package pcap_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// ipv4 is a datagram with a TCP segment from the client that holds b.
func ipv4(seq uint32, flags byte, b []byte) []byte {
	t := newTape()
	t.add(seg{dir: 0, seq: seq, ack: 1, flags: flags, data: b})
	return t.buf.Bytes()[24+16:]
}

func ether(proto uint16, b []byte) []byte {
	f := append(bytes.Repeat([]byte{2}, 12), 0, 0)
	binary.BigEndian.PutUint16(f[12:], proto)
	return append(f, b...)
}

// pcapFile writes frames as a pcap of the byte order.
func pcapFile(order binary.AppendByteOrder, magic uint32, link pcap.LinkType, extra int, frames ...[]byte) []byte {
	var b []byte
	b = order.AppendUint32(b, magic)
	b = order.AppendUint16(b, 2)
	b = order.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = order.AppendUint32(b, 1<<18)
	b = order.AppendUint32(b, uint32(link))
	for i, f := range frames {
		b = order.AppendUint32(b, 1000)
		b = order.AppendUint32(b, uint32(i))
		b = order.AppendUint32(b, uint32(len(f)))
		b = order.AppendUint32(b, uint32(len(f)))
		b = append(b, bytes.Repeat([]byte{0xEE}, extra)...)
		b = append(b, f...)
	}
	return b
}

func block(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	var b []byte
	b = order.AppendUint32(b, kind)
	b = order.AppendUint32(b, uint32(12+len(body)))
	b = append(b, body...)
	return order.AppendUint32(b, uint32(12+len(body)))
}

// section writes a section of a pcapng file: interfaces by link type, and frames as "interface, data".
func section(order binary.AppendByteOrder, links []pcap.LinkType, options []byte, frames ...any) []byte {
	head := order.AppendUint16(order.AppendUint16(order.AppendUint32(nil, 0x1A2B3C4D), 1), 0)
	out := block(order, 0x0A0D0D0A, append(head, bytes.Repeat([]byte{0xFF}, 8)...))
	for _, l := range links {
		b := order.AppendUint16(nil, uint16(l))
		out = append(out, block(order, 1, append(append(b, 0, 0, 0, 0, 4, 0), options...))...)
	}
	out = append(out, block(order, 4, []byte("a block of names that is passed over"))...)
	for i := 0; i < len(frames); i += 2 {
		data := frames[i+1].([]byte)
		b := order.AppendUint32(nil, uint32(frames[i].(int)))
		ticks := uint64(1_000_000) * uint64(i+1)
		b = order.AppendUint32(b, uint32(ticks>>32))
		b = order.AppendUint32(b, uint32(ticks))
		b = order.AppendUint32(b, uint32(len(data)))
		b = order.AppendUint32(b, uint32(len(data)))
		out = append(out, block(order, 6, append(b, data...))...)
	}
	return out
}

func TestFormats(t *testing.T) {
	connect := encode(t, codec.V4, &codec.Connect{ClientID: "c"})
	first, second := ipv4(10, syn, nil), ipv4(11, ack, connect)
	zip := func(b []byte) []byte {
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, _ = w.Write(b)
		_ = w.Close()
		return z.Bytes()
	}
	half := len(second)/2/8*8 + 20 // fragments end at multiples of eight
	part := func(b []byte, offset int, more bool, data []byte) []byte {
		f := append(bytes.Clone(b[:20]), data...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		word := uint16(offset / 8)
		if more {
			word |= 0x2000
		}
		binary.BigEndian.PutUint16(f[6:], word)
		return f
	}
	gre := func(b []byte) []byte {
		f := append(bytes.Clone(first[:20]), 0, 0, 8, 0)
		f[9] = 47
		f = append(f, b...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		return f
	}
	vxlan := func(b []byte) []byte {
		f := append(bytes.Clone(first[:20]), 0, 1, 0x12, 0xB5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 1, 0)
		f[9] = 17
		f = append(f, ether(0x0800, b)...)
		binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
		return f
	}
	sll2 := func(b []byte) []byte { return append(append([]byte{8, 0}, make([]byte, 18)...), b...) }
	sll := func(b []byte) []byte { return append(append(make([]byte, 14), 8, 0), b...) }
	null := func(b []byte) []byte { return append([]byte{2, 0, 0, 0}, b...) }
	vlan := func(b []byte) []byte { return ether(0x8100, append([]byte{0, 42, 8, 0}, b...)) }
	qinq := func(b []byte) []byte { return ether(0x88A8, append([]byte{0, 1, 0x81, 0, 0, 42, 8, 0}, b...)) }
	le, be := binary.LittleEndian, binary.BigEndian
	for _, tt := range []struct {
		name string
		file []byte
	}{
		{"little endian", pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, first, second)},
		{"big endian", pcapFile(be, 0xA1B2C3D4, pcap.LinkRaw, 0, first, second)},
		{"nanoseconds", pcapFile(be, 0xA1B23C4D, pcap.LinkRaw, 0, first, second)},
		{"long records by their magic", pcapFile(le, 0xA1B2CD34, pcap.LinkRaw, 8, first, second)},
		{"long records in spite of the magic", pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 8, first, second)},
		{"gzip", zip(pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, first, second))},
		{"raw IPv4", pcapFile(le, 0xA1B2C3D4, pcap.LinkIPv4, 0, first, second)},
		{"Ethernet", pcapFile(le, 0xA1B2C3D4, pcap.LinkEthernet, 0, ether(0x0800, first), ether(0x0800, second))},
		{"VLAN", pcapFile(le, 0xA1B2C3D4, pcap.LinkEthernet, 0, vlan(first), vlan(second))},
		{"QinQ", pcapFile(le, 0xA1B2C3D4, pcap.LinkEthernet, 0, qinq(first), qinq(second))},
		{"Linux cooked", pcapFile(le, 0xA1B2C3D4, pcap.LinkSLL, 0, sll(first), sll(second))},
		{"Linux cooked 2", pcapFile(le, 0xA1B2C3D4, pcap.LinkSLL2, 0, sll2(first), sll2(second))},
		{"loopback", pcapFile(le, 0xA1B2C3D4, pcap.LinkNull, 0, null(first), null(second))},
		{"GRE", pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, gre(first), gre(second))},
		{"VXLAN", pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, vxlan(first), vxlan(second))},
		{"pcapng", section(le, []pcap.LinkType{pcap.LinkRaw}, nil, 0, first, 0, second)},
		{"pcapng, big endian", section(be, []pcap.LinkType{pcap.LinkRaw}, nil, 0, first, 0, second)},
		{"pcapng, two link types", section(le, []pcap.LinkType{pcap.LinkEthernet, pcap.LinkRaw}, nil, 0, ether(0x0800, first), 1, second)},
		{"pcapng, two sections", append(section(le, []pcap.LinkType{pcap.LinkEthernet}, nil, 0, ether(0x0800, first)),
			section(be, []pcap.LinkType{pcap.LinkRaw}, nil, 0, second)...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := collect(tt.file, pcap.Config{})
			want := []string{"2 client CONNECT 3.1.1", "end stream 0 closed false reset false by 0"}
			if diff := cmp.Diff(want, g.events); diff != "" || g.err != nil {
				t.Errorf("%v\n%s", g.err, diff)
			}
		})
	}
	// A header that claims more than there is, in each place where it could.
	t.Run("false lengths", func(t *testing.T) {
		badSLL := sll(second)
		badSLL[4], badSLL[5] = 0xFF, 0xF0
		badGRE := gre(second)
		badGRE[20], badGRE[21] = 0xFF, 0xFF
		for _, file := range [][]byte{
			pcapFile(le, 0xA1B2C3D4, pcap.LinkSLL, 0, sll(first), badSLL, sll(first)[:15]),
			pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, first, badGRE, badGRE[:23], badGRE[:26], first[:19]),
		} {
			if g := collect(file, pcap.Config{}); g.err != nil {
				t.Error(g.err)
			}
		}
	})
	t.Run("fragments", func(t *testing.T) {
		body := second[20:]
		cut := half - 20
		file := pcapFile(le, 0xA1B2C3D4, pcap.LinkRaw, 0, first, part(second, cut, false, body[cut:]), part(second, 0, true, body[:cut]))
		g := collect(file, pcap.Config{})
		if len(g.events) == 0 || g.events[0] != "3 client CONNECT 3.1.1" {
			t.Errorf("events %q, %v", g.events, g.err)
		}
	})
}

// Each interface has its own unit of time.
func TestTimeResolution(t *testing.T) {
	data := ipv4(10, syn, nil)
	for _, tt := range []struct {
		name    string
		options []byte
		want    int64 // of 1,000,000 units
	}{
		{"microseconds by default", nil, 1e9},
		{"nanoseconds", []byte{9, 0, 1, 0, 9, 0, 0, 0}, 1e6},
		{"picoseconds", []byte{9, 0, 1, 0, 12, 0, 0, 0}, 1e3},
		{"milliseconds", []byte{9, 0, 1, 0, 3, 0, 0, 0}, 1e12},
		{"powers of two", []byte{9, 0, 1, 0, 0x80 | 10, 0, 0, 0}, 976_562_500_000},
		{"offset", append([]byte{14, 0, 8, 0}, 5, 0, 0, 0, 0, 0, 0, 0), 6e9},
	} {
		r, err := pcap.NewReader(bytes.NewReader(section(binary.LittleEndian, []pcap.LinkType{pcap.LinkRaw}, tt.options, 0, data)))
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if f.Nanos != tt.want {
			t.Errorf("%s: %d ns, want %d", tt.name, f.Nanos, tt.want)
		}
	}
}

func wsFrame(head byte, mask bool, b []byte) []byte {
	f := []byte{head}
	bit := byte(0)
	if mask {
		bit = 0x80
	}
	switch n := len(b); {
	case n < 126:
		f = append(f, bit|byte(n))
	default:
		f = append(f, bit|126, byte(n>>8), byte(n))
	}
	if !mask {
		return append(f, b...)
	}
	key := [4]byte{1, 2, 3, 4}
	f = append(f, key[:]...)
	for i, ch := range b {
		f = append(f, ch^key[i&3])
	}
	return f
}

func TestWebSocket(t *testing.T) {
	connect := encode(t, codec.V5, &codec.Connect{ClientID: "web"})
	connack := encode(t, codec.V5, &codec.Connack{})
	publish := encode(t, codec.V5, &codec.Publish{Topic: "big", Payload: bytes.Repeat([]byte("z"), 400)})
	request := []byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	response := []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	k := newTalk()
	k.sport = 9001
	k.reopen(request, append(bytes.Clone(response), wsFrame(0x89, false, []byte("ping"))...))
	k.say(0, wsFrame(0x02, true, connect[:3])) // a message in two frames,
	k.say(0, wsFrame(0x8A, true, []byte("ping")))
	k.say(0, wsFrame(0x80, true, connect[3:]))
	k.say(1, wsFrame(0x82, false, connack))
	all := wsFrame(0x82, true, append(bytes.Clone(publish), publish...)) // and two packets in one
	k.say(0, all[:300])
	k.say(0, all[300:])
	want := []string{"8 client CONNECT 5.0", "9 server CONNACK 5.0", "11 client PUBLISH 5.0 big", "11 client PUBLISH 5.0 big"}
	want[2] = "11 client PUBLISH 5.0 big"
	g := collect(k.buf.Bytes(), pcap.Config{})
	got := g.events
	if len(got) > len(want) {
		got = got[:len(want)]
	}
	for i := range want { // the segments before are counted by the helper
		if i < len(got) {
			_, got[i], _ = strings.Cut(got[i], " ")
		}
		_, want[i], _ = strings.Cut(want[i], " ")
	}
	if diff := cmp.Diff(want, got); diff != "" || g.err != nil {
		t.Errorf("%v\n%s", g.err, diff)
	}
	if diff := cmp.Diff([][]byte{connect, publish, publish}, g.frames[0]); diff != "" {
		t.Error(diff)
	}
}

func TestKeyLogPassesOver(t *testing.T) {
	k := new(pcap.KeyLog)
	k.Add([]byte("# comment\nCLIENT_RANDOM zz 00\nOTHER " + hex.EncodeToString(make([]byte, 32)) + " 00\n\n" + strings.Repeat("x", 1000)))
	if s := fmt.Sprintf("%v", k.Sessions()); s != "0" {
		t.Errorf("%s sessions in a log without any", s)
	}
	k.Add([]byte("CLIENT_RANDOM " + hex.EncodeToString(make([]byte, 32)) + " " + hex.EncodeToString(make([]byte, 48)) + "\r\n"))
	if k.Sessions() != 1 {
		t.Errorf("%d sessions, want 1", k.Sessions())
	}
}
