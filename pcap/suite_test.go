package pcap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/internal/pcapng"
	"github.com/mqlab/mqlab/pcap"
)

// recorder writes what connections carry to one capture.
type recorder struct {
	mu   sync.Mutex // guards everything below
	file bytes.Buffer
	w    *pcapng.Writer
	n    int
	last time.Time
}

// now never goes backwards: the frames of a capture do not.
func (r *recorder) now() time.Time {
	if t := time.Now(); t.After(r.last) {
		r.last = t
	}
	return r.last
}

// recorded is a connection that is written down.
type recorded struct {
	net.Conn
	r *recorder
	s *pcapng.Stream
}

func (r *recorder) wrap(c net.Conn) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.n >> 12), byte(r.n >> 4)}), uint16(20000+r.n&15))
	s, err := r.w.Stream(r.now(), addr, netip.MustParseAddrPort("10.255.0.1:1883"))
	return &recorded{c, r, s}, err
}

func (c *recorded) Write(b []byte) (int, error) {
	c.r.mu.Lock()
	err := c.s.Data(c.r.now(), false, b, "")
	c.r.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if n > 0 {
		if werr := c.s.Data(c.r.now(), true, b[:n], ""); werr != nil {
			return n, werr
		}
	}
	if errors.Is(err, io.EOF) {
		return n, errors.Join(c.s.Close(c.r.now(), true), err)
	}
	return n, err
}

func (c *recorded) Close() error {
	c.r.mu.Lock()
	err := c.s.Close(c.r.now(), false)
	c.r.mu.Unlock()
	return errors.Join(err, c.Conn.Close())
}

// The baseline broker breaks no rule, so a capture of it under the whole suite, faulty packets included, must
// not yield a finding against it. The suite as a client breaks the rules that its checks say they break, and no others.
func TestLintOfSuiteTraffic(t *testing.T) {
	srv := brokertest.NewMem(t, broker.Config{})
	rec := new(recorder)
	var err error
	if rec.w, err = pcapng.NewWriter(&rec.file, pcapng.RawIP, ""); err != nil {
		t.Fatal(err)
	}
	rep, err := conformance.Run(t.Context(), conformance.Config{
		Fast: true, Timeout: 20 * time.Second,
		Dial: func(context.Context) (net.Conn, error) {
			c, err := srv.Dial()
			if err != nil {
				return nil, err
			}
			return rec.wrap(c)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Rules) == 0 {
		t.Fatal("the suite has judged nothing")
	}
	broken := map[string]bool{}
	for _, c := range conformance.All() {
		for _, v := range []conformance.Versions{conformance.MQTT311, conformance.MQTT5} {
			for _, id := range c.BreaksFor(v) {
				broken[fmt.Sprintf("%s %s", v, id)] = true
			}
		}
	}
	found := map[string]int{}
	l := &pcap.Lint{Found: func(f *pcap.Finding) error {
		known := false
		for v := range strings.SplitSeq(f.Version, ",") { // both where the connection did not get so far
			if key := v + " " + f.Rule; broken[key] {
				known = true
				found[key]++
			}
		}
		if f.By == "server" {
			t.Errorf("a finding against the baseline broker: %+v", *f)
		} else if !known {
			t.Errorf("a finding against the suite that no check declares: %+v", *f)
		}
		return nil
	}}
	rec.mu.Lock()
	capture := bytes.Clone(rec.file.Bytes())
	rec.mu.Unlock()
	d := pcap.NewDissector(pcap.Config{Packet: l.Packet, Gap: l.Gap, End: l.End, Ports: []uint16{1883}})
	if err := errors.Join(d.Read(bytes.NewReader(capture)), d.Close()); err != nil {
		t.Fatal(err)
	}
	duties, judgements := l.Judged()
	t.Logf("%d packets on %d streams, %d judgements of %d duties, %d rules broken of %d declared",
		d.Summary().Packets, d.Summary().MQTT, judgements, duties, len(found), len(broken))
	if len(found) < len(broken)/2 {
		t.Errorf("only %d of the %d rules that the suite breaks were found", len(found), len(broken))
	}
}
