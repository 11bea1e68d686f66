package pcap_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
	"github.com/mqlab/mqlab/pcap"
)

// FuzzCapture feeds whole files to everything that reads packets: none may panic or hang, what a packet
// claims has to be there, and packets are numbered in the order of their stream.
func FuzzCapture(f *testing.F) {
	for _, v := range packetgen.Vectors(f) {
		if len(v.Frame) == 0 {
			continue
		}
		tp := newTape()
		tp.open([2]uint32{100, 200})
		connect, err := (&codec.Connect{ClientID: "c"}).AppendTo(nil, v.Versions[0])
		if err != nil {
			f.Fatal(err)
		}
		tp.add(seg{dir: 0, seq: 101, ack: 201, flags: ack, data: connect})
		tp.add(seg{dir: int(v.From) / 2, seq: 101 + uint32(len(connect)), ack: 201, flags: ack, data: v.Frame})
		f.Add(tp.buf.Bytes())
		if len(v.Name) > 24 { // the others are much alike
			break
		}
	}
	// Connections of TLS, and the same compressed.
	keys, err := os.ReadFile(filepath.Join("testdata", "tls", "keys.txt"))
	if err != nil {
		f.Fatal(err)
	}
	sealed, err := filepath.Glob(filepath.Join("testdata", "tls", "*.pcapng"))
	if err != nil || len(sealed) == 0 {
		f.Fatalf("there are no captures of TLS: %v", err)
	}
	for i, name := range sealed {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		switch i {
		case 0:
			f.Add(zstded(f, b))
		case 1:
			f.Add(gzipped(f, b))
		}
	}
	if dir := os.Getenv("MQLAB_CAPTURES"); dir != "" {
		files, _ := filepath.Glob(filepath.Join(dir, "*.pcap*"))
		for _, name := range files {
			if b, err := os.ReadFile(name); err == nil && len(b) < 64<<10 {
				f.Add(b)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sinks := []interface {
			Packet(*pcap.Packet) error
			Gap(*pcap.Gap) error
		}{pcap.NewList(io.Discard), pcap.NewJSON(io.Discard), pcap.NewCSV(io.Discard), pcap.NewTree(io.Discard)}
		next := map[*pcap.Stream]int{}
		unread := 0
		cfg := pcap.Config{
			Keys: new(pcap.KeyLog),
			Unread: func(u *pcap.Unread) error {
				unread++
				if u.Why == "" || strings.Contains(u.String(), "\n") {
					t.Fatalf("a stream was not read: %q", u)
				}
				return nil
			},
			Ports: []uint16{1883},
			Packet: func(p *pcap.Packet) error {
				if len(p.Raw) == 0 || p.Size != len(p.Raw)+p.Missing || p.Missing < 0 {
					t.Fatalf("a packet of %d bytes has %d and misses %d", p.Size, len(p.Raw), p.Missing)
				}
				if p.Index != next[p.Stream] {
					t.Fatalf("packet %d of its stream, want %d", p.Index, next[p.Stream])
				}
				next[p.Stream]++
				for _, s := range sinks {
					if err := s.Packet(p); err != nil {
						t.Fatal(err)
					}
				}
				return nil
			},
			Gap: func(g *pcap.Gap) error {
				for _, s := range sinks {
					if err := s.Gap(g); err != nil {
						t.Fatal(err)
					}
				}
				return nil
			},
		}
		cfg.Keys.Add(keys)
		d := pcap.NewDissector(cfg)
		_ = d.Read(bytes.NewReader(data))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if s := d.Summary(); unread > s.TLS {
			t.Fatalf("%d streams of TLS, %d decrypted, %d not read", s.TLS, s.Decrypted, unread)
		}
		plain := lines(t, data, pcap.Config{}, 0, lineSinks["json"])
		if several := lines(t, data, pcap.Config{}, 2, lineSinks["json"]); !bytes.Equal(plain, several) {
			t.Fatalf("two goroutines write %q, want %q", several, plain)
		}
		if one, several := lint(t, data, pcap.Config{}, 0), lint(t, data, pcap.Config{}, 2); !bytes.Equal(one, several) {
			t.Fatalf("two goroutines judge %q, want %q", several, one)
		}
		stats := pcap.NewStats()
		d = pcap.NewDissector(pcap.Config{Packet: stats.Packet, Gap: stats.Gap, End: stats.End})
		_ = d.Read(bytes.NewReader(data))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		rep := stats.Report(d.Summary())
		if err := rep.WriteHTML(io.Discard, "fuzz"); err != nil {
			t.Fatal(err)
		}
	})
}
