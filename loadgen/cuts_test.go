package loadgen

import (
	"fmt"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/scenarios"
)

// cutWindow is how much is under way to and from a client: all of it goes out again after each cut, and has to come
// through before the next one on any machine.
const cutWindow = 50

// cutWorkload is load over connections that break about every half second in the midst of whatever is under way.
func cutWorkload(qos uint8, version string, clean bool, length time.Duration) *scenarios.Workload {
	w := pairs(20, qos, 2000, length)
	w.MQTT, w.Window = version, cutWindow
	if qos == 0 || clean {
		w.Drain = time.Second // what is missing will not come
	}
	for i := range w.Clients {
		g := &w.Clients[i]
		g.CleanStart = &clean
		if version == "5.0" {
			g.SessionExpiry = time.Minute
		}
		g.Link = &scenarios.Link{Delay: time.Millisecond, Jitter: 2 * time.Millisecond, CutEvery: 500 * time.Millisecond, CutJitter: 200 * time.Millisecond}
		g.Reconnect = &scenarios.Reconnect{After: 10 * time.Millisecond}
	}
	return w
}

// TestCuts holds the promises of each QoS over 100,000 messages while connections break all the time.
func TestCuts(t *testing.T) {
	t.Parallel()
	srv := newServer(t, broker.Config{QueueMessages: 1 << 20, QueueBytes: 1 << 30, MaxInflight: cutWindow})
	other, _ := mosquitto(t)
	for _, target := range []struct{ name, url string }{{"embedded", srv.URL}, {"mosquitto", other}} {
		for qos := range 3 {
			for _, clean := range []bool{false, true} {
				length := 2500 * time.Millisecond
				if clean || qos == 0 || raceEnabled {
					length = 500 * time.Millisecond
				}
				if clean && (qos == 0 || target.name != "embedded") {
					continue
				}
				t.Run(fmt.Sprintf("%s/qos=%d/clean=%v", target.name, qos, clean), func(t *testing.T) {
					t.Parallel()
					version := []string{"3.1.1", "5.0", "5.0"}[qos] // in 5.0 mosquitto says how much may be under way; in 3.1.1 it cuts off
					r := mustRun(t, Config{Workload: cutWorkload(uint8(qos), version, clean, length), Target: target.url})
					scheduled := 40 * uint64(length/time.Millisecond)
					row := ledgerOf(r, qos)
					t.Logf("%+v; %+v", row, r.Totals)
					if r.Totals.Scheduled != scheduled {
						t.Errorf("%d scheduled, want %d", r.Totals.Scheduled, scheduled)
					}
					if qos > 0 && !clean {
						if want := (LedgerRow{QoS: qos, Expected: scheduled, Delivered: scheduled, Duplicated: row.Duplicated}); row != want {
							t.Errorf("got %+v, want %+v", row, want)
						}
					}
					if row.Expected != scheduled-r.Totals.Dropped || row.Expected != row.Delivered+row.Unsettled {
						t.Errorf("%+v does not add up with %d scheduled and %d dropped", row, scheduled, r.Totals.Dropped)
					}
					if row.Lost+row.Corrupted+row.Unexpected+row.Reordered+row.Unverified > 0 || qos != 1 && row.Duplicated > 0 {
						t.Errorf("the promise of QoS %d is broken: %+v", qos, row)
					}
					if want := 40 + 20*uint64(length/(500*time.Millisecond))/2; r.Totals.Connects < want {
						t.Errorf("%d connections, want %d at least", r.Totals.Connects, want)
					}
					// A server that comes to a CONNECT only after the connection was cut takes the session over once more.
					slowest, _, _ := r.Lookup(Connect, "max", nil)
					if r.Totals.Disconnects > 0 && slowest < 0.2 {
						t.Errorf("%d connections ended that no cut had ended; connecting took %.3f s at most", r.Totals.Disconnects, slowest)
					}
				})
			}
		}
	}
}
