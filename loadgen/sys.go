package loadgen

import (
	"context"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// sysSampler listens to what the server says of itself under $SYS, over a connection of its own. It is a courtesy: where it
// cannot connect there are no values.
type sysSampler struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex // guards all below
	now  map[string]float64
	name string
}

// sysTopics bounds the values that are kept.
const sysTopics = 200

func startSys(p *plan) *sysSampler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sysSampler{cancel: cancel, done: make(chan struct{}), now: map[string]float64{}}
	go func() {
		defer close(s.done)
		s.listen(ctx, p)
	}()
	return s
}

func (s *sysSampler) stop() {
	s.cancel()
	<-s.done
}

func (s *sysSampler) listen(ctx context.Context, p *plan) {
	d := transport.Dialer{TLS: p.cfg.TLS, Mem: p.cfg.Network, LocalAddr: p.sourceOf(0)}
	conn, err := d.Dial(ctx, p.cfg.Target)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	hello := codec.Connect{ClientID: "mqlab-sys-" + p.run, CleanStart: true, KeepAlive: 30}
	user, password := p.cfg.Username, p.cfg.Password
	if t, err := transport.Parse(p.cfg.Target); err == nil && user == "" {
		user, password = t.Username, t.Password
	}
	if hello.HasUsername = user != ""; hello.HasUsername {
		hello.Username, hello.HasPassword, hello.Password = user, password != "", []byte(password)
	}
	b, err := hello.AppendTo(nil, codec.V4)
	if err != nil {
		return
	}
	ask := codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "$SYS/#"}}}
	if b, err = ask.AppendTo(b, codec.V4); err != nil {
		return
	}
	if _, err := conn.Write(b); err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var pings sync.WaitGroup
	pings.Go(func() { s.ping(ctx, conn) })
	defer func() {
		cancel()
		conn.Close()
		pings.Wait()
	}()
	r := codec.NewReader(conn, 4096)
	r.MaxSize = 1 << 20
	dec := codec.Decoder{Version: codec.V4, From: codec.Server}
	for {
		f, err := r.Next()
		if err != nil {
			return
		}
		pkt, _ := dec.Decode(f)
		if pub, ok := pkt.(*codec.Publish); ok {
			s.take(strings.TrimPrefix(pub.Topic, "$SYS/"), string(pub.Payload))
		}
	}
}

func (s *sysSampler) ping(ctx context.Context, conn net.Conn) {
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if _, err := conn.Write([]byte{0xC0, 0}); err != nil {
				return
			}
		}
	}
}

// take keeps a value. Servers write numbers with units behind them ("12 seconds").
func (s *sysSampler) take(name, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "broker/version" {
		s.name = strings.Clone(text)
		return
	}
	number, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return
	}
	if _, has := s.now[name]; has || len(s.now) < sysTopics {
		s.now[strings.Clone(name)] = v
	}
}

func (s *sysSampler) values() map[string]float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.now) == 0 {
		return nil
	}
	return maps.Clone(s.now)
}

func (s *sysSampler) version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name
}
