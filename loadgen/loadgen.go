// Package loadgen offers load to an MQTT server and measures what comes of it: thousands of virtual clients on a few
// workers, messages at instants that were fixed beforehand, latency from those instants, and every message verified.
//
// Start from [Run] with a [scenarios.Workload]; [Result] is what it returns.
package loadgen

import (
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/scenarios"
)

// Config is one run. Workload and Target are needed.
type Config struct {
	Workload *scenarios.Workload
	Target   string // URL of the server
	Run      string // id of the run, in client identifiers and messages; "" draws one

	TLS                *tls.Config
	Username, Password string // of clients whose group names none
	// Sources are the local addresses that connections are spread over.
	Sources []netip.Addr
	// Network, where set, carries mem: URLs.
	Network *transport.Network

	// Max publishes as fast as the window and the socket allow.
	Max bool
	// Workers is the number of event loops; 0 chooses by the cores.
	Workers int

	PID int  // sample this process as the server's
	Sys bool // sample $SYS
	// Verify can be switched off, for payloads that cannot carry a proof.
	NoVerify bool

	// Progress, where set, is called once a second from one goroutine. It must not keep the snapshot's slices.
	Progress func(*Snapshot)
	// Second, where set, is called with each finished second and the interval's histograms, for logs that are written while
	// the run goes on. The histograms are valid during the call.
	Second func(*Second, []Latency)
	// Now replaces the wall clock of Started, in tests.
	Now func() time.Time
}
