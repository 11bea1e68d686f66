// Package brokertest runs a broker for the time of a Go test.
//
//	srv := brokertest.NewServer(t, broker.Config{})
//	c, err := client.Connect(t.Context(), srv.URL, client.Config{})
//
// The server listens on a free loopback port and in memory. It is stopped when the test ends,
// and the test fails when something of it is still running then.
package brokertest

import (
	"net"
	"testing"

	"github.com/mqlab/mqlab/broker"
)

// Server is a running broker.
type Server struct {
	*broker.Broker
	URL string // of the loopback TCP listener; empty for NewMem
	tb  testing.TB
}

// NewServer starts a broker that listens on a free TCP port of the loopback interface.
func NewServer(tb testing.TB, cfg broker.Config) *Server {
	tb.Helper()
	s := NewMem(tb, cfg)
	s.URL = s.Listen("mqtt://127.0.0.1:0")
	return s
}

// NewMem starts a broker without a socket, for tests inside a testing/synctest bubble.
func NewMem(tb testing.TB, cfg broker.Config) *Server {
	tb.Helper()
	if err := cfg.Validate(); err != nil {
		tb.Fatalf("%v", err)
	}
	s := &Server{Broker: broker.New(cfg), tb: tb}
	tb.Cleanup(s.stop)
	return s
}

// Listen opens a further listener, such as ws://127.0.0.1:0/mqtt, and returns its address.
func (s *Server) Listen(url string) string {
	s.tb.Helper()
	l, err := s.Broker.Listen(url)
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	return l.URL()
}

// Mem opens an in-memory connection. It is closed at the test's end.
func (s *Server) Mem() net.Conn {
	s.tb.Helper()
	c, err := s.Dial()
	if err != nil {
		s.tb.Fatalf("%v", err)
	}
	s.tb.Cleanup(func() { _ = c.Close() })
	return c
}

// stop ends the broker. Close waits for every goroutine, so what is counted as open afterwards
// was leaked.
func (s *Server) stop() {
	s.tb.Helper()
	if err := s.Close(); err != nil {
		s.tb.Errorf("close the broker: %v", err)
	}
	if n := s.Stats().Connections; n != 0 {
		s.tb.Errorf("%d connections are left after the broker was closed", n)
	}
}
