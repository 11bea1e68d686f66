package broker_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A subscriber that does not read costs a bounded buffer, holds publishers back once, and
// loses QoS 0 messages that are counted.
func TestSlowReaderQoS0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{OutboundBytes: 128 << 10})
		slow, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "slow", CleanStart: true})
		slow.subscribe("t", 0)
		quick, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "quick", CleanStart: true})
		quick.subscribe("t", 0)
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
		const n, size = 300, 1000
		start := time.Now()
		var done sync.WaitGroup
		done.Go(func() {
			for range n {
				b, _ := text("t", strings.Repeat("x", size), 0, 0).AppendTo(nil, codec.V4)
				if _, err := pub.nc.Write(b); err != nil {
					return
				}
			}
		})
		for range n {
			quick.recv()
		}
		done.Wait()
		pub.fence() // the batch's counts are in
		if d := time.Since(start); d < time.Second || d > 1100*time.Millisecond {
			t.Errorf("publishers were held back for %v, want 1s", d)
		}
		st := srv.Stats()
		if st.DroppedQoS0 == 0 || st.DroppedQoS0 > n-(128<<10)/1100 {
			t.Errorf("%d dropped", st.DroppedQoS0)
		}
		got := uint64(0)
		slow.send(&codec.Pingreq{})
		for {
			p, err := slow.tryRecv(time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			if p.Type() == codec.TypePingresp {
				break
			}
			got++
		}
		if got+st.DroppedQoS0 != n {
			t.Errorf("%d received and %d dropped of %d", got, st.DroppedQoS0, n)
		}
		slow.fence()
	})
}

// Many subscribers that do not read hold a publisher back hardly longer than one does.
func TestSlowReadersQoS0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{OutboundBytes: 16 << 10})
		for i := range 20 {
			id := strconv.Itoa(i)
			slow, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: id, CleanStart: true})
			slow.subscribe("t", 0)
		}
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
		start := time.Now()
		var batch []byte
		for range 300 {
			batch, _ = text("t", strings.Repeat("x", 1000), 0, 0).AppendTo(batch, codec.V4)
		}
		if _, err := pub.nc.Write(batch); err != nil {
			t.Fatal(err)
		}
		pub.fence()
		if d := time.Since(start); d < time.Second || d > 2*time.Second {
			t.Errorf("the publisher was held back for %v, want 1s to 2s", d)
		}
		if srv.Stats().DroppedQoS0 == 0 {
			t.Error("nothing was dropped")
		}
	})
}

// A connected subscriber that does not acknowledge: publishers wait, then it is disconnected.
func TestSlowConsumerQoS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{QueueMessages: 10, MaxInflight: 5})
		slow, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "slow"})
		slow.wait = time.Hour
		slow.subscribe("t", 1)
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true, KeepAlive: 1})
		pub.wait = time.Hour
		start := time.Now()
		for i := range uint16(16) {
			pub.send(text("t", "x", 1, i+1))
		}
		for i := range uint16(16) {
			pub.expect(&codec.Puback{PacketID: i + 1})
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("the publisher was held back for %v, want 2s", d)
		}
		for range 5 {
			slow.recv()
		}
		slow.closed(codec.QuotaExceeded)
		if st := srv.Stats(); st.SlowConsumers != 1 {
			t.Errorf("%d slow consumers", st.SlowConsumers)
		}
		pub.fence() // silence that the server caused is not held against the client
	})
}

// Two clients that publish to each other with full queues must not starve each other.
func TestMutualBackpressure(t *testing.T) {
	srv := newServer(t, broker.Config{QueueMessages: 64, MaxInflight: 8, SlowConsumer: time.Hour})
	const n = 3000
	done := make(chan error, 2)
	var both sync.WaitGroup // have subscribed
	both.Add(2)
	run := func(own, other string) {
		done <- func() error {
			nc, err := (&transport.Dialer{}).Dial(t.Context(), srv.URL)
			if err != nil {
				return err
			}
			defer nc.Close()
			b, _ := (&codec.Connect{ClientID: own, CleanStart: true}).AppendTo(nil, codec.V4)
			b, _ = (&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: own, QoS: 1}}}).AppendTo(b, codec.V4)
			if _, err := nc.Write(b); err != nil {
				return err
			}
			r, dec := codec.NewReader(nc, 0), codec.Decoder{Version: codec.V4, From: codec.Server}
			sent, acked, got, window := 0, 0, 0, 0
			subscribed := false
			for acked < n || got < n {
				_ = nc.SetDeadline(time.Now().Add(patience))
				for b = b[:0]; subscribed && window < 50 && sent < n; window++ {
					sent++
					b, _ = text(other, "x", 1, uint16(sent)).AppendTo(b, codec.V4)
				}
				if _, err := nc.Write(b); err != nil {
					return err
				}
				frame, err := r.Next()
				if err != nil {
					return fmt.Errorf("%s: %d acknowledged, %d received: %w", own, acked, got, err)
				}
				p, err := dec.Decode(frame)
				if err != nil {
					return err
				}
				switch p := p.(type) {
				case *codec.Suback:
					subscribed = true
					both.Done()
					both.Wait()
				case *codec.Puback:
					acked++
					window--
				case *codec.Publish:
					got++
					ack, _ := (&codec.Puback{PacketID: p.PacketID}).AppendTo(nil, codec.V4)
					if _, err := nc.Write(ack); err != nil {
						return err
					}
				}
			}
			return nil
		}()
	}
	go run("a", "b")
	go run("b", "a")
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// A claimed length costs memory only as bytes arrive.
func TestClaimedLengthIsNotBelieved(t *testing.T) {
	srv := newServer(t, broker.Config{})
	const n = 50
	before := heap()
	var cs []*client
	for i := range n {
		c := dial(t, srv.URL, codec.V4)
		c.send(&codec.Connect{ClientID: fmt.Sprint(i), CleanStart: true})
		c.connack()
		// Before CONNECT even the claim ends the connection.
		early := dial(t, srv.URL, codec.V4)
		early.raw([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0})
		early.closed()
		c.raw(append([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 'a'}, make([]byte, 1000)...)) // 256 MiB
		cs = append(cs, c)
	}
	eventually(t, func() bool { return srv.Stats().BytesReceived >= n*1008 && srv.Stats().Connections == n })
	if grown := int64(heap()) - int64(before); grown > n*32<<10 {
		t.Errorf("%d connections that claim 256 MiB cost %d bytes", n, grown)
	}
	for _, c := range cs {
		_ = c.nc.Close()
	}
}

func TestLargeAndSplitPackets(t *testing.T) {
	srv := newServer(t, broker.Config{OutboundBytes: 4 << 20})
	c := dial(t, srv.URL, codec.V4)
	c.send(&codec.Connect{ClientID: "c", CleanStart: true})
	c.connack()
	c.subscribe("t", 0)
	payload := make([]byte, 3<<20)
	for i := range payload {
		payload[i] = byte(i * 7 / 5)
	}
	go func() {
		for range 2 {
			b, _ := (&codec.Publish{Topic: "t", Payload: payload}).AppendTo(nil, codec.V4)
			b, _ = (&codec.Pingreq{}).AppendTo(b, codec.V4)
			_, _ = c.nc.Write(b)
		}
	}()
	for range 2 {
		c.expect(&codec.Publish{Topic: "t", Payload: payload}, &codec.Pingresp{})
	}
	b, _ := text("t", "byte by byte", 0, 0).AppendTo(nil, codec.V4)
	for i := range b {
		c.raw(b[i : i+1])
	}
	c.expect(text("t", "byte by byte", 0, 0))
}

// A client that sends but does not read its answers is not read any more: its memory is bounded.
func TestUnreadAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{OutboundBytes: 64 << 10})
		c, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true})
		pings := make([]byte, 64<<10)
		for i := range pings {
			pings[i] = []byte{0xC0, 0}[i%2]
		}
		_ = c.nc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		written := 0
		for {
			n, err := c.nc.Write(pings[written%2:])
			written += n
			if err != nil {
				break
			}
			if written > 8<<20 {
				t.Fatal("the broker goes on reading")
			}
		}
		other, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "other", CleanStart: true})
		other.fence()
		c.r = codec.NewReader(c.nc, 0)
		for range written / 2 {
			if p := c.recv(); p.Type() != codec.TypePingresp {
				t.Fatalf("got %v", p.Type())
			}
		}
	})
}

func TestListeners(t *testing.T) {
	dir := t.TempDir()
	files := makeCertificate(t, dir)
	srv := newMem(t, broker.Config{TLS: &files})
	roots := x509.NewCertPool()
	pemBytes, err := os.ReadFile(files.CertFile)
	if err != nil || !roots.AppendCertsFromPEM(pemBytes) {
		t.Fatal("no certificate", err)
	}
	for _, url := range []string{
		"mqtt://127.0.0.1:0", "ws://127.0.0.1:0/mqtt", "mqtts://127.0.0.1:0", "wss://127.0.0.1:0/mqtt",
		"unix://" + filepath.Join(dir, "s"),
	} {
		t.Run(strings.SplitN(url, ":", 2)[0], func(t *testing.T) {
			addr := srv.Listen(url)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			d := transport.Dialer{TLS: &tls.Config{RootCAs: roots}}
			nc, err := d.Dial(ctx, addr)
			if err != nil {
				t.Fatal(err)
			}
			c := newClient(t, nc, codec.V5)
			c.send(&codec.Connect{ClientID: url})
			c.connack()
			c.subscribe("t", 1)
			big := strings.Repeat("0123456789", 20_000)
			for i := range uint16(3) {
				c.send(text("t", big, 1, i+1))
				c.expect(text("t", big, 1, i+1), &codec.Puback{PacketID: i + 1})
			}
			for i := range uint16(100) {
				c.send(text("t", "small", 0, 0), &codec.Pingreq{})
				c.expect(text("t", "small", 0, 0), &codec.Pingresp{})
				_ = i
			}
			c.send(&codec.Connect{ClientID: "again"})
			c.closed(codec.ProtocolError)
		})
	}
}

func makeCertificate(t *testing.T, dir string) transport.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mqlab test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	files := transport.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{
		files.CertFile: {Type: "CERTIFICATE", Bytes: der},
		files.KeyFile:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// Idle connections cost at most 8 KiB each, the client's side of the pipe not counted.
func TestIdleConnections(t *testing.T) {
	const n = 9000
	srv := newMem(t, broker.Config{})
	var b []byte
	clients := make([]net.Conn, 0, n)
	before := footprint()
	for i := range n {
		nc, err := srv.Dial()
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, nc)
		id := fmt.Sprint("idle-", i)
		b, _ = (&codec.Connect{ClientID: id, CleanStart: true, KeepAlive: 600}).AppendTo(b[:0], codec.V4)
		b, _ = (&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: id, QoS: 1}}}).AppendTo(b, codec.V4)
		if _, err := nc.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var buf [64]byte
	for _, nc := range clients {
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		for got := 0; got < 9; {
			k, err := nc.Read(buf[got:])
			if err != nil {
				t.Fatal(err)
			}
			got += k
		}
	}
	if st := srv.Stats(); st.Connections != n || st.Subscriptions != n {
		t.Errorf("%d connections, %d subscriptions", st.Connections, st.Subscriptions)
	}
	each := (footprint() - before) / n
	t.Logf("%d bytes for each idle connection with one subscription", each)
	if each > 8<<10 && !raceEnabled {
		t.Errorf("an idle connection costs %d bytes, want at most 8 KiB", each)
	}
	for _, nc := range clients {
		_ = nc.Close()
	}
}

// footprint is what heap and stacks take.
func footprint() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
