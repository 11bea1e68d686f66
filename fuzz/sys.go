package fuzz

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/ui"
)

// Many brokers publish under $SYS what they hold: connections, sessions, subscriptions, messages. Nothing of that is in
// the standard, so the table below says who counts what under which name, and a broker that is not in it is silent.

// quantity is something that a broker says it holds.
type quantity struct {
	gauge   // its read is nil: it is not measured on the machine
	filters []string
}

// quantities are in the order of causes: a session that stays keeps its subscriptions and messages, so that only the
// first one that grows is looked into. The filters of one quantity mean the same to different brokers; the first that
// a broker publishes is taken, and the nodes of a cluster are added up.
var quantities = []quantity{
	{
		gauge{oracle: OracleLeak, signature: "connections", title: "the target counts connections that were closed long ago", show: count, suspect: 6, jump: 4, runs: 4, each: 2},
		[]string{
			"$SYS/broker/clients/connected",               // mosquitto, the embedded broker, mochi, HiveMQ
			"$SYS/broker/clients/active",                  // mosquitto before 1.5
			"$SYS/brokers/+/stats/live_connections/count", // EMQX 5
			"$SYS/brokers/+/stats/connections/count",      // EMQX
		},
	},
	{
		gauge{oracle: OracleLeak, signature: "sessions", title: "the target keeps sessions that were ended", show: count, suspect: 8, jump: 4, runs: 4, each: 2},
		[]string{
			"$SYS/broker/clients/total",           // mosquitto, the embedded broker, mochi, HiveMQ
			"$SYS/brokers/+/stats/sessions/count", // EMQX
			"$SYS/+/queue_processes",              // VerneMQ
			"$SYS/+/queue/processes",
		},
	},
	{
		gauge{oracle: OracleLeak, signature: "subscriptions", title: "the target counts subscriptions whose sessions were ended", show: count, suspect: 8, jump: 4, runs: 4, each: 2},
		[]string{
			"$SYS/broker/subscriptions/count",          // mosquitto, the embedded broker, HiveMQ
			"$SYS/broker/subscriptions",                // mochi
			"$SYS/brokers/+/stats/subscriptions/count", // EMQX
			"$SYS/+/router_subscriptions",              // VerneMQ
			"$SYS/+/router/subscriptions",
		},
	},
	{
		gauge{oracle: OracleLeak, signature: "retained messages", title: "the target counts retained messages that were removed", show: count, suspect: 8, jump: 4, runs: 4, each: 2},
		[]string{
			"$SYS/broker/retained messages/count", // mosquitto, the embedded broker, HiveMQ
			"$SYS/broker/retained",                // mochi
			"$SYS/brokers/+/stats/retained/count", // EMQX
			"$SYS/+/retain_messages",              // VerneMQ
			"$SYS/+/retain/messages",
		},
	},
	{
		gauge{oracle: OracleLeak, signature: "stored messages", title: "the target stores messages whose sessions were ended", show: count, suspect: 16, jump: 4, runs: 4, each: 2},
		[]string{
			"$SYS/broker/store/messages/count", // mosquitto
			"$SYS/broker/messages/stored",      // mosquitto before 1.5
		},
	},
	{
		gauge{oracle: OracleMemory, signature: "heap under $SYS", title: "the memory that the target says it has in use grows with every run of the script", show: ui.Bytes, suspect: 64 << 20, jump: 256 << 10, runs: 12, each: 128 << 10},
		[]string{"$SYS/broker/heap/current"}, // mosquitto
	},
}

// Beside the quantities: what tells that a broker has published anew although nothing has changed, and who it is.
const (
	sysUptime  = "$SYS/broker/uptime"
	sysVersion = "$SYS/broker/version"
)

// plainSpoken begin the versions of brokers whose quantities are known to go down again. Of others it is tried whether
// they count what is there or what ever came.
var plainSpoken = []string{"mosquitto version ", "mqlab"}

// Times of the messages under $SYS.
const (
	sysGap     = 60 * time.Millisecond // silence that ends a round of messages
	sysInitial = time.Second           // in which retained messages are the state from before
)

// maxSysValues bounds the numbers that are remembered beside the quantities.
const maxSysValues = 256

// sysMonitor is a client that is subscribed to $SYS. Its methods may be called from any goroutine.
type sysMonitor struct {
	nc   net.Conn
	done chan struct{} // closed when the reader has ended
	news chan struct{}
	born time.Time

	mu       sync.Mutex // guards the fields below
	values   map[string]int64
	version  string
	round    map[string]bool // topics of the latest round of messages
	first    time.Time       // its first message; zero before any
	last     time.Time       // the latest message
	interval time.Duration   // between two rounds; 0: not known
}

// openSys subscribes to $SYS. The error may be that the target does not allow that.
func openSys(ctx context.Context, g *guard, wait time.Duration) (*sysMonitor, error) {
	as := &guard{dial: g.dial, username: g.username, password: g.password, version: g.version, prefix: unique()}
	c, err := as.connect(ctx, "y", wait)
	if err != nil {
		return nil, err
	}
	m := &sysMonitor{nc: c.nc, done: make(chan struct{}), news: make(chan struct{}, 1), values: map[string]int64{}, round: map[string]bool{}}
	if err := c.send(as.version, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "$SYS/#"}}}); err != nil {
		_ = c.nc.Close()
		return nil, err
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	m.born = time.Now()
	go m.read(c)
	return m, nil
}

// read is the goroutine that takes the messages in.
func (m *sysMonitor) read(c *guardConn) {
	defer close(m.done)
	for {
		frame, err := c.r.Next()
		if err != nil {
			return
		}
		if p, err := c.dec.Decode(frame); err == nil {
			if p, ok := p.(*codec.Publish); ok && strings.HasPrefix(p.Topic, "$SYS/") {
				m.take(p.Topic, string(p.Payload), p.Retain, time.Now())
			}
		}
	}
}

// take takes a message in.
func (m *sysMonitor) take(name, text string, retained bool, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	number, _, _ := strings.Cut(text, " ") // "33752 bytes"
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && (len(m.values) < maxSysValues || quantityOf(name) != nil) {
		m.values[strings.Clone(name)] = n
	}
	if name == sysVersion {
		m.version = text
	} else if name != sysUptime && quantityOf(name) == nil { // events of clients come at any time
		return
	}
	if name == sysVersion || retained && now.Sub(m.born) < sysInitial {
		return
	}
	if m.first.IsZero() || m.round[name] || now.Sub(m.last) > sysGap {
		if !m.first.IsZero() {
			m.interval = now.Sub(m.first)
		}
		m.first = now
		clear(m.round)
	}
	m.round[strings.Clone(name)] = true
	m.last = now
	select {
	case m.news <- struct{}{}:
	default:
	}
}

// quantityOf returns the quantity that a topic tells, or nil.
func quantityOf(name string) *quantity {
	for i := range quantities {
		for _, f := range quantities[i].filters {
			if topic.Match(f, name) {
				return &quantities[i]
			}
		}
	}
	return nil
}

// alive reports whether messages are still awaited.
func (m *sysMonitor) alive() bool {
	if m == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// speaks reports whether the target has told any quantity.
func (m *sysMonitor) speaks() bool {
	for i := range quantities {
		if _, _, ok := m.value(&quantities[i]); ok {
			return true
		}
	}
	return false
}

// value returns what the target has said of a quantity, and where.
func (m *sysMonitor) value(q *quantity) (n int64, at string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range q.filters {
		for name, v := range m.values {
			if topic.Match(f, name) {
				n, at, ok = n+v, f, true
			}
		}
		if ok {
			return n, at, true
		}
	}
	return 0, "", false
}

// plain reports whether the target is known to count what is there, not what ever came.
func (m *sysMonitor) plain(at string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range plainSpoken {
		if strings.HasPrefix(m.version, v) {
			return true
		}
	}
	return strings.HasPrefix(at, "$SYS/brokers/+/stats/")
}

// next says when the next round of messages is expected after a time; false where nobody knows. A round may be left out:
// some brokers do not tell what has not changed.
func (m *sysMonitor) next(after time.Time) (at time.Time, interval time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.interval <= 0 {
		return after, 0, false
	}
	gone := max(0, after.Sub(m.first)/m.interval)
	return m.first.Add((gone + 1) * m.interval), m.interval, true
}

// heard waits for a round of messages that begins after a time, and for its end.
func (m *sysMonitor) heard(ctx context.Context, after time.Time, wait time.Duration) bool {
	limit := time.NewTimer(wait)
	defer limit.Stop()
	for {
		m.mu.Lock()
		begun, quiet := m.first.After(after), time.Since(m.last)
		m.mu.Unlock()
		if begun && quiet >= sysGap {
			return true
		}
		var pause <-chan time.Time
		if begun {
			pause = time.After(sysGap - quiet)
		}
		select {
		case <-m.news:
		case <-pause:
		case <-m.done:
			return false
		case <-ctx.Done():
			return false
		case <-limit.C:
			return begun
		}
	}
}

// close ends the subscription.
func (m *sysMonitor) close() {
	if m != nil {
		_ = m.nc.Close()
		<-m.done
	}
}
