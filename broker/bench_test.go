package broker_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// The benchmarks deliver messages of 64 bytes in rounds of a fixed size and report delivered
// messages per second; clients of the benchmark share the processors with the broker.

type wire func(b *testing.B) net.Conn

// wires are the ways to reach a broker.
func wires(b *testing.B, run func(b *testing.B, srv *brokertest.Server, open wire)) {
	b.Run("tcp", func(b *testing.B) {
		srv := brokertest.NewServer(b, broker.Config{})
		run(b, srv, func(b *testing.B) net.Conn {
			ctx, cancel := context.WithTimeout(b.Context(), patience)
			defer cancel()
			nc, err := (&transport.Dialer{}).Dial(ctx, srv.URL)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { _ = nc.Close() })
			return nc
		})
	})
	b.Run("mem", func(b *testing.B) {
		srv := brokertest.NewMem(b, broker.Config{})
		run(b, srv, func(*testing.B) net.Conn { return srv.Mem() })
	})
}

// peer is a client that sends and counts pre-encoded packets.
type peer struct {
	nc   net.Conn
	in   chan int // PUBLISH packets received, by read
	acks chan int // PUBACK and PUBCOMP packets received, by read
}

func newPeer(b *testing.B, open wire, id, filter string, qos codec.QoS) *peer {
	p := &peer{nc: open(b), in: make(chan int, 1024), acks: make(chan int, 1024)}
	out, _ := (&codec.Connect{ClientID: id, CleanStart: true}).AppendTo(nil, codec.V4)
	want := 4
	if filter != "" {
		out, _ = (&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: filter, QoS: qos}}}).AppendTo(out, codec.V4)
		want += 5
	}
	if _, err := p.nc.Write(out); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64)
	for got := 0; got < want; {
		n, err := p.nc.Read(buf[got:want])
		if err != nil {
			b.Fatal(err)
		}
		got += n
	}
	go p.read()
	return p
}

// read counts what comes and answers it.
func (p *peer) read() {
	defer close(p.in)
	buf := make([]byte, 64<<10)
	fill := 0
	var out []byte
	for {
		n, err := p.nc.Read(buf[fill:])
		if err != nil {
			return
		}
		b := buf[:fill+n]
		msgs, acks := 0, 0
		out = out[:0]
		for {
			frame, rest, err := codec.Cut(b, 0)
			if err != nil || frame == nil {
				break
			}
			b = rest
			switch codec.Type(frame[0] >> 4) {
			case codec.TypePublish:
				msgs++
				switch frame[0] >> 1 & 3 {
				case 1:
					out = append(out, 0x40, 2, frame[4+frame[3]], frame[5+frame[3]])
				case 2:
					out = append(out, 0x50, 2, frame[4+frame[3]], frame[5+frame[3]])
				}
			case codec.TypePubrec:
				out = append(out, 0x62, 2, frame[2], frame[3])
			case codec.TypePubrel:
				out = append(out, 0x70, 2, frame[2], frame[3])
			case codec.TypePuback, codec.TypePubcomp:
				acks++
			}
		}
		fill = copy(buf, b)
		if len(out) > 0 {
			if _, err := p.nc.Write(out); err != nil {
				return
			}
		}
		if msgs > 0 {
			p.in <- msgs
		}
		if acks > 0 {
			p.acks <- acks
		}
	}
}

func take(b *testing.B, ch chan int, n int) {
	for n > 0 {
		select {
		case k := <-ch:
			n -= k
		case <-time.After(patience):
			b.Fatal("messages are missing")
		}
	}
}

// burst is n encoded messages.
func burst(topic string, qos codec.QoS, n int) []byte {
	var b []byte
	for i := range n {
		p := &codec.Publish{Topic: topic, Payload: make([]byte, 64), QoS: qos}
		if qos > 0 {
			p.PacketID = uint16(i + 1)
		}
		b, _ = p.AppendTo(b, codec.V4)
	}
	return b
}

// flow runs rounds in which each publisher sends burst messages to each of its receivers.
func flow(b *testing.B, pubs, subs []*peer, topics []string, qos codec.QoS, size, each int) {
	bursts := make([][]byte, len(pubs))
	for i := range pubs {
		bursts[i] = burst(topics[i], qos, size)
	}
	b.ReportAllocs()
	start, rounds := time.Now(), 0
	for b.Loop() {
		for i, p := range pubs {
			if _, err := p.nc.Write(bursts[i]); err != nil {
				b.Fatal(err)
			}
		}
		for _, s := range subs {
			take(b, s.in, each)
		}
		if qos > 0 {
			for _, p := range pubs {
				take(b, p.acks, size)
			}
		}
		rounds++
	}
	b.ReportMetric(float64(rounds*each*len(subs))/time.Since(start).Seconds(), "msgs/s")
}

func BenchmarkFanIn(b *testing.B) {
	for qos := codec.QoS(0); qos <= 1; qos++ {
		b.Run(fmt.Sprint("qos", qos), func(b *testing.B) {
			wires(b, func(b *testing.B, _ *brokertest.Server, open wire) {
				sub := newPeer(b, open, "sub", "bench/#", qos)
				var pubs []*peer
				var topics []string
				for i := range 50 {
					pubs = append(pubs, newPeer(b, open, fmt.Sprint("pub", i), "", 0))
					topics = append(topics, fmt.Sprintf("bench/topic/%08d", i))
				}
				flow(b, pubs, []*peer{sub}, topics, qos, 20, 50*20)
			})
		})
	}
}

func BenchmarkFanOut(b *testing.B) {
	wires(b, func(b *testing.B, _ *brokertest.Server, open wire) {
		var subs []*peer
		for i := range 50 {
			subs = append(subs, newPeer(b, open, fmt.Sprint("sub", i), "bench/#", 0))
		}
		pub := newPeer(b, open, "pub", "", 0)
		flow(b, []*peer{pub}, subs, []string{"bench/topic/00000000"}, 0, 50, 50)
	})
}

func BenchmarkPairs(b *testing.B) {
	for qos := codec.QoS(1); qos <= 2; qos++ {
		b.Run(fmt.Sprint("qos", qos), func(b *testing.B) {
			wires(b, func(b *testing.B, _ *brokertest.Server, open wire) {
				var pubs, subs []*peer
				var topics []string
				for i := range 25 {
					topic := fmt.Sprintf("bench/topic/%08d", i)
					subs = append(subs, newPeer(b, open, fmt.Sprint("sub", i), topic, qos))
					pubs = append(pubs, newPeer(b, open, fmt.Sprint("pub", i), "", 0))
					topics = append(topics, topic)
				}
				flow(b, pubs, subs, topics, qos, 20, 20)
			})
		})
	}
}
