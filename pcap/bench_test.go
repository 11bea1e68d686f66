package pcap_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// load writes captures of made-up traffic: many connections, packets of mixed sizes and QoS, both directions.
type load struct {
	w     io.Writer
	rnd   *rand.Rand
	nanos int64
	frame []byte
	body  []byte
	wrote int
}

type loadConn struct {
	id       int
	seq      [2]uint32
	packetID uint16
	version  codec.Version
	topic    string
}

func newLoad(w io.Writer) *load {
	l := &load{w: w, rnd: rand.New(rand.NewPCG(1, 2)), nanos: 1_700_000_000_000_000_000}
	head := make([]byte, 24)
	binary.LittleEndian.PutUint32(head, 0xA1B23C4D)
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], 262144)
	binary.LittleEndian.PutUint32(head[20:], 1)
	l.write(head)
	return l
}

func (l *load) write(b []byte) {
	n, _ := l.w.Write(b)
	l.wrote += n
}

// segment writes one TCP segment. dir 0 is from the client.
func (l *load) segment(c *loadConn, dir int, flags byte, payload []byte) {
	l.nanos += 20_000
	f := l.frame[:0]
	f = append(f, make([]byte, 16)...)
	f = append(f, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0)
	client := [4]byte{10, 0, byte(c.id >> 8), byte(c.id)}
	server := [4]byte{10, 1, 0, 1}
	src, dst := client, server
	sport, dport := uint16(20000+c.id), uint16(1883)
	if dir == 1 {
		src, dst, sport, dport = dst, src, dport, sport
	}
	f = append(f, 0x45, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(40+len(payload)))
	f = append(f, 0, 0, 0x40, 0, 64, 6, 0, 0)
	f = append(f, src[:]...)
	f = append(f, dst[:]...)
	f = binary.BigEndian.AppendUint16(f, sport)
	f = binary.BigEndian.AppendUint16(f, dport)
	f = binary.BigEndian.AppendUint32(f, c.seq[dir])
	f = binary.BigEndian.AppendUint32(f, c.seq[1-dir])
	f = append(f, 0x50, flags, 0xFF, 0xFF, 0, 0, 0, 0)
	f = append(f, payload...)
	binary.LittleEndian.PutUint32(f, uint32(l.nanos/1e9))
	binary.LittleEndian.PutUint32(f[4:], uint32(l.nanos%1e9))
	binary.LittleEndian.PutUint32(f[8:], uint32(len(f)-16))
	binary.LittleEndian.PutUint32(f[12:], uint32(len(f)-16))
	c.seq[dir] += uint32(len(payload))
	if flags&3 != 0 {
		c.seq[dir]++
	}
	l.frame = f
	l.write(f)
}

func (l *load) send(c *loadConn, dir int, packets ...codec.Packet) {
	l.body = l.body[:0]
	for _, p := range packets {
		var err error
		if l.body, err = p.AppendTo(l.body, c.version); err != nil {
			panic(err)
		}
	}
	for b := l.body; len(b) > 0; {
		n := min(len(b), 1460)
		l.segment(c, dir, 0x18, b[:n])
		b = b[n:]
	}
}

func (l *load) open(id int) *loadConn {
	c := &loadConn{id: id, version: codec.V4, topic: "site/" + strconv.Itoa(id%50) + "/device/" + strconv.Itoa(id) + "/telemetry"}
	if id%2 == 1 {
		c.version = codec.V5
	}
	c.seq = [2]uint32{l.rnd.Uint32(), l.rnd.Uint32()}
	l.segment(c, 0, 2, nil)
	l.segment(c, 1, 0x12, nil)
	l.send(c, 0, &codec.Connect{ClientID: fmt.Sprintf("device-%05d", id), CleanStart: true, KeepAlive: 60})
	l.send(c, 1, &codec.Connack{})
	return c
}

var loadPayload = bytes.Repeat([]byte(`{"temperature":21.5,"humidity":40.2,"status":"ok"} `), 40)

// step makes one exchange: up or down, at QoS 0, 1 or 2, sometimes several packets in one segment.
func (l *load) step(c *loadConn) {
	c.packetID = c.packetID%60000 + 1
	p := &codec.Publish{Topic: c.topic, Payload: loadPayload[:20+l.rnd.IntN(1+l.rnd.IntN(1500))], PacketID: c.packetID}
	dir := l.rnd.IntN(4) / 3
	switch l.rnd.IntN(6) {
	case 0, 1, 2:
		q := *p
		q.Payload = loadPayload[:30]
		l.send(c, dir, p, &q)
	case 3, 4:
		p.QoS = 1
		l.send(c, dir, p)
		l.send(c, 1-dir, &codec.Puback{PacketID: p.PacketID})
	case 5:
		p.QoS = 2
		l.send(c, dir, p)
		l.send(c, 1-dir, &codec.Pubrec{PacketID: p.PacketID})
		l.send(c, dir, &codec.Pubrel{PacketID: p.PacketID})
		l.send(c, 1-dir, &codec.Pubcomp{PacketID: p.PacketID})
	}
	if l.rnd.IntN(3) == 0 {
		l.segment(c, 1-dir, 0x10, nil)
	}
}

// writeLoad writes a capture of about size bytes with the number of connections.
func writeLoad(w io.Writer, size, conns int) {
	l := newLoad(w)
	var list []*loadConn
	for i := range conns {
		list = append(list, l.open(i))
	}
	for l.wrote < size {
		l.step(list[l.rnd.IntN(len(list))])
	}
	for _, c := range list {
		l.send(c, 0, &codec.Disconnect{})
		l.segment(c, 0, 0x11, nil)
		l.segment(c, 1, 0x11, nil)
	}
}

// benchMB is the size of the capture of benchmarks.
func benchMB() int {
	if n, err := strconv.Atoi(os.Getenv("MQLAB_BENCH_MB")); err == nil {
		return n
	}
	return 64
}

func benchCapture(b *testing.B) []byte {
	b.Helper()
	var buf bytes.Buffer
	buf.Grow(benchMB()<<20 + 1<<20)
	writeLoad(&buf, benchMB()<<20, 1000)
	return buf.Bytes()
}

func BenchmarkDissect(b *testing.B) {
	data := benchCapture(b)
	run := func(name string, cfg func() (pcap.Config, func() error)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			packets := int64(0)
			for b.Loop() {
				c, flush := cfg()
				d := pcap.NewDissector(c)
				if err := d.Read(bytes.NewReader(data)); err != nil {
					b.Fatal(err)
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
				if err := flush(); err != nil {
					b.Fatal(err)
				}
				packets = d.Summary().Packets
			}
			b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
		})
	}
	none := func() error { return nil }
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			r, err := pcap.NewReader(bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = r.Next()
			}
		}
	})
	run("decode", func() (pcap.Config, func() error) { return pcap.Config{}, none })
	run("list", func() (pcap.Config, func() error) {
		l := pcap.NewList(io.Discard)
		return pcap.Config{Packet: l.Packet, Gap: l.Gap}, l.Flush
	})
	run("json", func() (pcap.Config, func() error) {
		j := pcap.NewJSON(io.Discard)
		return pcap.Config{Packet: j.Packet, Gap: j.Gap}, j.Flush
	})
	parallel := func(sink pcap.Lines) (pcap.Config, func() error) {
		p := pcap.NewParallel(sink, runtime.GOMAXPROCS(0))
		var cfg pcap.Config
		p.Attach(&cfg)
		return cfg, p.Flush
	}
	run("list-parallel", func() (pcap.Config, func() error) { return parallel(pcap.NewList(io.Discard)) })
	run("json-parallel", func() (pcap.Config, func() error) { return parallel(pcap.NewJSON(io.Discard)) })
	run("stats", func() (pcap.Config, func() error) {
		s := pcap.NewStats()
		return pcap.Config{Packet: s.Packet, Gap: s.Gap, End: s.End}, none
	})
	run("lint-parallel", func() (pcap.Config, func() error) {
		p := pcap.NewParallelLint(&pcap.Lint{}, runtime.GOMAXPROCS(0))
		var cfg pcap.Config
		p.Attach(&cfg)
		return cfg, p.Flush
	})
	run("lint", func() (pcap.Config, func() error) {
		l := &pcap.Lint{}
		return pcap.Config{Packet: l.Packet, Gap: l.Gap, End: l.End}, none
	})
}
