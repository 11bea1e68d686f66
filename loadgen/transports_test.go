package loadgen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/scenarios"
)

// selfSigned makes a certificate for the loopback and the pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func TestTransports(t *testing.T) {
	t.Parallel()
	network := new(transport.Network)
	cert, pool := selfSigned(t)
	srv := newServer(t, broker.Config{TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, Mem: network})
	for _, url := range []string{
		"mem://load", "unix://" + filepath.Join(t.TempDir(), "s"), "ws://127.0.0.1:0/mqtt", "mqtts://127.0.0.1:0", "wss://127.0.0.1:0/mqtt",
	} {
		scheme, _, _ := strings.Cut(url, ":")
		t.Run(scheme, func(t *testing.T) {
			target := srv.Listen(url)
			t.Parallel()
			for _, big := range []bool{false, true} {
				w := pairs(5, 1, 200, 500*time.Millisecond)
				if big {
					w.Clients[1].Publish[0].Size = scenarios.Size{Fixed: 100_000}
					w.Clients[1].Publish[0].Rate = 20
				}
				r := mustRun(t, Config{Workload: w, Target: target, TLS: &tls.Config{RootCAs: pool}, Network: network})
				want := uint64(500)
				if big {
					want = 50
				}
				if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: want, Delivered: want}}, r.Ledger); diff != "" {
					t.Error(diff)
				}
				if len(r.Errors) > 0 {
					t.Errorf("errors: %v", r.Errors)
				}
			}
		})
	}
}

// TestSources spreads connections over local addresses.
func TestSources(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	w := pairs(4, 1, 100, 200*time.Millisecond)
	r := mustRun(t, Config{Workload: w, Target: srv.URL, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")}})
	if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: 80, Delivered: 80}}, r.Ledger); diff != "" {
		t.Error(diff)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := "mqtt://" + l.Addr().String()
	l.Close()
	_, err = Run(t.Context(), Config{Workload: pairs(2, 0, 1, time.Second), Target: target})
	if err == nil || !strings.Contains(err.Error(), "connection refused; nothing listens at "+l.Addr().String()) {
		t.Errorf("error %v", err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{Authenticate: func(context.Context, broker.Login) error { return broker.ErrBadCredentials }})
	_, err := Run(t.Context(), Config{Workload: pairs(2, 0, 1, time.Second), Target: srv.URL})
	if err == nil || !strings.Contains(strings.ToLower(err.Error()), "bad user name or password") {
		t.Errorf("error %v", err)
	}
}

func TestTooManyClients(t *testing.T) {
	w := pairs(1_000_000, 0, 1, time.Second)
	_, err := Run(t.Context(), Config{Workload: w, Target: "mqtt://127.0.0.1:1"})
	if err == nil || !strings.Contains(err.Error(), "descriptors") {
		t.Errorf("error %v", err)
	}
	// So many that descriptors are not what lacks, yet ports are.
	p := &plan{cfg: &Config{}}
	target, _ := transport.Parse("mqtt://127.0.0.1:1883")
	p.groups = []*group{{Group: &scenarios.Group{Count: 100}, target: target}}
	if err := p.portsFor(60); err == nil || !strings.Contains(err.Error(), "give 2 addresses with --source") {
		t.Errorf("error %v", err)
	}
}

// TestInterrupted stops a run in which messages are held back: one at a time is under way, and takes longer than an
// interval. What was due when it was stopped is published, and nothing else.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	const clients, rate = 3, 80
	w := pairs(clients, 1, rate, time.Hour)
	w.Window = 1
	w.Clients[1].Link = &scenarios.Link{Delay: 10 * time.Millisecond}
	r, err := Run(ctx, Config{Workload: w, Target: srv.URL, Progress: func(s *Snapshot) {
		if s.Elapsed > 0 {
			cancel()
		}
	}})
	cancel()
	if err != nil {
		t.Fatal(err)
	}
	if r.Stopped == "" || r.Elapsed <= 0 {
		t.Errorf("stopped %q after %v", r.Stopped, r.Elapsed)
	}
	var due uint64
	for i := range clients {
		for k := 0; ; k++ {
			if at := (float64(k) + float64(i)/clients) / rate; time.Duration(at*1e9) > r.Elapsed {
				break
			}
			due++
		}
	}
	if r.Totals.Scheduled != due || r.Totals.Published != due {
		t.Errorf("%d scheduled and %d published, %d were due within %v", r.Totals.Scheduled, r.Totals.Published, due, r.Elapsed)
	}
	if diff := cmp.Diff([]LedgerRow{{QoS: 1, Expected: due, Delivered: due}}, r.Ledger); diff != "" {
		t.Error(diff)
	}
}
