package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lineSinks make the sinks that a Parallel can run.
var lineSinks = map[string]func(io.Writer) pcap.Lines{
	"list": func(w io.Writer) pcap.Lines { return pcap.NewList(w) },
	"list by deltas, cut": func(w io.Writer) pcap.Lines {
		l := pcap.NewList(w)
		l.Time, l.Width = pcap.TimeDelta, 90
		return l
	},
	"json": func(w io.Writer) pcap.Lines {
		j := pcap.NewJSON(w)
		j.Passwords, j.Files = true, true
		return j
	},
	"csv": func(w io.Writer) pcap.Lines { return pcap.NewCSV(w) },
}

// lines writes a capture by a sink, by several goroutines where workers is not 0.
func lines(tb testing.TB, capture []byte, cfg pcap.Config, workers int, sink func(io.Writer) pcap.Lines) []byte {
	tb.Helper()
	var out bytes.Buffer
	s := sink(&out)
	flush := s.Flush
	cfg.Packet, cfg.Gap = s.Packet, s.Gap
	if workers > 0 {
		p := pcap.NewParallel(s, workers)
		p.Attach(&cfg)
		flush = p.Flush
	}
	d := pcap.NewDissector(cfg)
	err := d.Read(bytes.NewReader(capture))
	if err != nil && !errors.Is(err, pcap.ErrDamaged) && !errors.Is(err, pcap.ErrFormat) {
		tb.Fatal(err)
	}
	if err := errors.Join(d.Close(), flush()); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// lint writes what a Lint says of a capture, by several goroutines where workers is not 0.
func lint(tb testing.TB, capture []byte, cfg pcap.Config, workers int) []byte {
	tb.Helper()
	var out bytes.Buffer
	l := &pcap.Lint{Found: func(f *pcap.Finding) error {
		_, err := fmt.Fprintf(&out, "%+v\n", *f)
		return err
	}}
	flush := func() error { return nil }
	cfg.Packet, cfg.Gap, cfg.End = l.Packet, l.Gap, l.End
	if workers > 0 {
		p := pcap.NewParallelLint(l, workers)
		p.Attach(&cfg)
		flush = p.Flush
	}
	d := pcap.NewDissector(cfg)
	err := d.Read(bytes.NewReader(capture))
	if err != nil && !errors.Is(err, pcap.ErrDamaged) && !errors.Is(err, pcap.ErrFormat) {
		tb.Fatal(err)
	}
	if err := errors.Join(d.Close(), flush()); err != nil {
		tb.Fatal(err)
	}
	fails, warns := l.Counts()
	duties, judgements := l.Judged()
	fmt.Fprintln(&out, fails, warns, duties, judgements, l.Limits())
	return out.Bytes()
}

func compareLines(t testing.TB, name string, capture []byte, cfg func() pcap.Config) {
	t.Helper()
	judged := lint(t, capture, cfg(), 0)
	for _, workers := range []int{1, 2, 3} {
		if diff := cmp.Diff(string(judged), string(lint(t, capture, cfg(), workers))); diff != "" {
			t.Errorf("%s: %d goroutines judge otherwise: %s", name, workers, diff)
		}
	}
	for sink, make := range lineSinks {
		want := lines(t, capture, cfg(), 0, make)
		for _, workers := range []int{1, 3} {
			got := lines(t, capture, cfg(), workers, make)
			if !bytes.Equal(want, got) {
				at := 0
				for at < min(len(want), len(got)) && want[at] == got[at] {
					at++
				}
				from := max(0, at-200)
				t.Errorf("%s, %s: %d goroutines write other bytes from %d on:\n%q\nwant\n%q", name, sink, workers, at,
					got[from:min(len(got), at+200)], want[from:min(len(want), at+200)])
			}
		}
	}
}

// No output depends on how many goroutines wrote it.
func TestParallelWritesTheSame(t *testing.T) {
	size := 4 << 20
	if testing.Short() {
		size = 1 << 20
	}
	var load bytes.Buffer
	writeLoad(&load, size, 100)
	compareLines(t, "load", load.Bytes(), func() pcap.Config { return pcap.Config{} })
	compareLines(t, "nothing", nil, func() pcap.Config { return pcap.Config{} })
	rapid.Check(t, func(rt *rapid.T) { // with holes, faults and a late beginning
		b := bytes.Clone(load.Bytes()[:300<<10])
		b = append(b[:24:24], dropFrames(b[24:], rapid.Uint64().Draw(rt, "seed"))...)
		compareLines(t, "with holes", b, func() pcap.Config { return pcap.Config{Ports: []uint16{1883}} })
	})
}

// dropFrames leaves out some records of a pcap and spoils some others.
func dropFrames(b []byte, seed uint64) []byte {
	var out []byte
	for len(b) >= 16 {
		n := 16 + int(b[8]) + int(b[9])<<8
		if n > len(b) {
			break
		}
		seed = seed*6364136223846793005 + 1442695040888963407
		switch r := seed >> 33; {
		case r%16 == 0:
		case r%64 == 1 && n > 80:
			rec := bytes.Clone(b[:n])
			rec[16+54+int(r>>8)%(n-16-54)] ^= byte(r >> 16)
			out = append(out, rec...)
		default:
			out = append(out, b[:n]...)
		}
		b = b[n:]
	}
	return out
}

func TestParallelWritesTheSameOfCaptures(t *testing.T) {
	dir := capturesDir(t)
	for _, name := range captures(t) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		compareLines(t, name, b, func() pcap.Config { return truthConfig(t, dir, name) })
	}
}

// failing is a writer that is full after some bytes.
type failing struct{ room int }

var errFull = errors.New("the disk is full")

func (f *failing) Write(b []byte) (int, error) {
	if f.room -= len(b); f.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// An error of the output ends the reading, and Flush ends the goroutines and says it again.
func TestParallelStops(t *testing.T) {
	var load bytes.Buffer
	writeLoad(&load, 4<<20, 10)
	for _, room := range []int{0, 1 << 20} {
		p := pcap.NewParallel(pcap.NewJSON(&failing{room}), 2)
		var cfg pcap.Config
		p.Attach(&cfg)
		d := pcap.NewDissector(cfg)
		if err := d.Read(bytes.NewReader(load.Bytes())); !errors.Is(err, errFull) {
			t.Errorf("reading ends with %v", err)
		}
		if n := d.Summary().Packets; n > 20000 {
			t.Errorf("%d packets were read for an output that is full", n)
		}
		if err := p.Flush(); !errors.Is(err, errFull) {
			t.Errorf("Flush says %v", err)
		}
	}
	// The same of findings: each message has the same packet identifier, which is in use.
	k := newTalk()
	k.reopen(encode(t, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true}), encode(t, codec.V4, &codec.Connack{}))
	for range 20000 {
		k.say(0, []byte{0xC1, 0})
	}
	l := &pcap.Lint{Found: func(*pcap.Finding) error { return errFull }}
	p := pcap.NewParallelLint(l, 2)
	var cfg pcap.Config
	p.Attach(&cfg)
	d := pcap.NewDissector(cfg)
	if err := d.Read(bytes.NewReader(k.buf.Bytes())); !errors.Is(err, errFull) {
		t.Errorf("reading ends with %v", err)
	}
	if err := p.Flush(); !errors.Is(err, errFull) {
		t.Errorf("Flush says %v", err)
	}
}

// Packets of any size cost bounded memory: a large one ends its batch, and its buffers are let go.
func TestParallelMemory(t *testing.T) {
	var load bytes.Buffer
	writeLoad(&load, 16<<20, 10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := pcap.NewParallel(pcap.NewJSON(io.Discard), 3)
	var cfg pcap.Config
	p.Attach(&cfg)
	d := pcap.NewDissector(cfg)
	if err := errors.Join(d.Read(bytes.NewReader(load.Bytes())), d.Close(), p.Flush()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 24<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
}
