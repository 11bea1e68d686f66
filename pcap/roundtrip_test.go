package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
	"github.com/mqlab/mqlab/pcap"
)

// got is what a Dissector found in a capture.
type got struct {
	frames [2][][]byte // by side: client, server
	events []string
	sum    pcap.Summary
	err    error
}

func collect(capture []byte, cfg pcap.Config) got {
	var g got
	cfg.Packet = func(p *pcap.Packet) error {
		side := 0
		if p.From == codec.Server {
			side = 1
		}
		g.frames[side] = append(g.frames[side], bytes.Clone(p.Raw))
		s := fmt.Sprintf("%d %s %s %s", p.Frame, []string{"?", "client", "server"}[p.From], p.Type, p.Version)
		if p.Missing > 0 {
			s += fmt.Sprintf(" missing %d", p.Missing)
		}
		if p.Topic != "" {
			s += " " + strings.Clone(p.Topic)
		}
		g.events = append(g.events, s)
		return nil
	}
	cfg.Gap = func(x *pcap.Gap) error {
		g.events = append(g.events, fmt.Sprintf("%d gap lost %d skipped %d", x.Frame, x.Lost, x.Skipped))
		return nil
	}
	cfg.End = func(e *pcap.StreamEnd) error {
		g.events = append(g.events, fmt.Sprintf("end stream %d closed %t reset %t by %d", e.Stream.ID, e.Closed, e.Reset, e.By))
		return nil
	}
	d := pcap.NewDissector(cfg)
	g.err = d.Read(bytes.NewReader(capture))
	g.err = errors.Join(g.err, d.Close())
	g.sum = d.Summary()
	return g
}

func encode(t testing.TB, v codec.Version, packets ...codec.Packet) []byte {
	t.Helper()
	var b []byte
	for _, p := range packets {
		var err error
		if b, err = p.AppendTo(b, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// Whatever is sent, however it is cut into segments, reordered and repeated, comes out as it was.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom([]codec.Version{codec.V31, codec.V4, codec.V5}).Draw(t, "version")
		var want [2][][]byte
		var stream [2][]byte
		send := func(side int, p codec.Packet) {
			b, err := p.AppendTo(nil, v)
			if err != nil {
				t.Fatalf("encode %s: %v", p.Type(), err)
			}
			want[side] = append(want[side], b)
			stream[side] = append(stream[side], b...)
		}
		send(0, &codec.Connect{ClientID: "c", CleanStart: true})
		send(1, &codec.Connack{})
		for range rapid.IntRange(0, 12).Draw(t, "packets") {
			side := rapid.IntRange(0, 1).Draw(t, "side")
			send(side, packetgen.Packet(t, v, []codec.Side{codec.Client, codec.Server}[side]))
		}
		tp := newTape()
		tp.v6 = rapid.Bool().Draw(t, "ipv6")
		isn := [2]uint32{rapid.Uint32().Draw(t, "isn"), rapid.Uint32().Draw(t, "isn")}
		tp.open(isn)
		var segs [2][]seg
		for side := range stream {
			b, seq := stream[side], isn[side]+1
			for len(b) > 0 {
				n := rapid.IntRange(1, len(b)).Draw(t, "cut")
				n = min(n, 60000)
				segs[side] = append(segs[side], seg{dir: side, seq: seq, ack: isn[1-side] + 1, flags: ack, data: b[:n]})
				seq += uint32(n)
				b = b[n:]
			}
			// Overlapping repeats, and places exchanged.
			for range rapid.IntRange(0, 3).Draw(t, "repeats") {
				from := rapid.IntRange(0, len(stream[side])-1).Draw(t, "from")
				to := min(rapid.IntRange(from+1, len(stream[side])).Draw(t, "to"), from+60000)
				s := seg{dir: side, seq: isn[side] + 1 + uint32(from), ack: isn[1-side] + 1, flags: ack, data: stream[side][from:to]}
				segs[side] = slices.Insert(segs[side], rapid.IntRange(0, len(segs[side])).Draw(t, "where"), s)
			}
			for range rapid.IntRange(0, 5).Draw(t, "swaps") {
				i := rapid.IntRange(0, len(segs[side])-1).Draw(t, "swap")
				j := rapid.IntRange(0, len(segs[side])-1).Draw(t, "with")
				segs[side][i], segs[side][j] = segs[side][j], segs[side][i]
			}
		}
		for len(segs[0])+len(segs[1]) > 0 {
			side := rapid.IntRange(0, 1).Draw(t, "next")
			if len(segs[side]) == 0 {
				side = 1 - side
			}
			tp.add(segs[side][0])
			segs[side] = segs[side][1:]
		}
		g := collect(tp.buf.Bytes(), pcap.Config{})
		if g.err != nil {
			t.Fatal(g.err)
		}
		if diff := cmp.Diff(want, g.frames); diff != "" {
			t.Errorf("packets differ (-want +got):\n%s\nevents %q", diff, g.events)
		}
		if g.sum.Gaps != 0 {
			t.Errorf("%d gaps where nothing is missing", g.sum.Gaps)
		}
	})
}
