package loadgen

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/mqlab/mqlab/codec"
)

// lossyProxy stands between clients and a broker. What the broker sends passes frame by frame through bend, which returns
// what the client gets instead.
type lossyProxy struct {
	url string
	wg  sync.WaitGroup

	mu    sync.Mutex // guards all below
	conns []net.Conn
	log   proxyLog
}

// proxyLog is what the proxy has done.
type proxyLog struct{ seen, dropped, doubled, swapped, damaged uint64 }

func newLossyProxy(t *testing.T, broker string) *lossyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyProxy{url: "mqtt://" + l.Addr().String()}
	p.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", broker)
			if err != nil {
				c.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, c, s)
			p.mu.Unlock()
			p.wg.Go(func() { _, _ = io.Copy(s, c); s.Close() })
			p.wg.Go(func() { p.down(c, s); c.Close() })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// done returns what has been done.
func (p *lossyProxy) done() proxyLog {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log
}

// down passes what the broker sends. The faults have periods that are prime, so that all combinations of places come up;
// one message has one fault.
func (p *lossyProxy) down(c, s net.Conn) {
	r := codec.NewReader(s, 0)
	n := 0
	var held []byte
	for {
		f, err := r.Next()
		if err != nil {
			return
		}
		out := append([]byte(nil), f...)
		if f[0]>>4 == byte(codec.TypePublish) {
			n++
			p.mu.Lock()
			p.log.seen++
			switch {
			case held != nil:
				out = append(out, held...)
				held = nil
			case n%97 == 0:
				p.log.dropped++
				out = nil
			case n%89 == 0:
				p.log.doubled++
				out = append(out, out...)
			case n%83 == 0:
				p.log.swapped++
				held, out = out, nil
			case n%101 == 0:
				p.log.damaged++
				out[len(out)-1] ^= 0x20
			}
			p.mu.Unlock()
		}
		if len(out) == 0 {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
