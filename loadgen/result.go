package loadgen

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// ResultFormat names the format of a result and its version, which grows when a reader of the older one would be misled.
const ResultFormat = "mqlab-load/1"

// The metrics of latency. Each is recorded in microseconds by every worker and merged exactly.
const (
	// Connect is from the start of dialling to CONNACK.
	Connect = "connect"
	// Subscribe is from SUBSCRIBE to SUBACK.
	Subscribe = "subscribe"
	// ScheduleLag is from the intended instant of a message to its hand-over to the network: the generator's own lateness,
	// and what a client's window or link held back.
	ScheduleLag = "schedule_lag"
	// GeneratorLag is the part of the schedule lag that is the generator's own: of messages that nothing held back but that
	// the event loop came to them late.
	GeneratorLag = "generator_lag"
	// PublishService is from the write of a PUBLISH to the end of its handshake (PUBACK, PUBCOMP).
	PublishService = "publish_service"
	// PublishAck is from the intended instant of a message to the end of its handshake: what a user would have waited.
	PublishAck = "publish_ack"
	// EndToEnd is from the intended instant of a message to its arrival at a subscriber.
	EndToEnd = "end_to_end"
	// Request is from the intended instant of a request to its response.
	Request = "request"
	// Ping is from PINGREQ to PINGRESP.
	Ping = "ping"
)

// Result is all that a run has measured. It marshals to the documented JSON; histograms travel in the compressed form
// of the HdrHistogram log format.
type Result struct {
	Format  string        `json:"format"`
	Run     string        `json:"run"` // the run's id, which every message carries
	Title   string        `json:"title"`
	Target  string        `json:"target"` // without credentials
	Server  string        `json:"server,omitempty"`
	Model   string        `json:"model"` // "open", "closed" or "max"
	Window  int           `json:"window,omitempty"`
	Seed    uint64        `json:"seed"`
	Started time.Time     `json:"started"` // when the first message was due, a whole second
	Elapsed time.Duration `json:"elapsed_ns"`
	// Connecting is how long it took before all clients were connected and subscribed.
	Connecting time.Duration `json:"connecting_ns"`
	Planned    time.Duration `json:"planned_ns"`
	Stopped    string        `json:"stopped,omitempty"`  // why the run ended before its plan
	Workload   string        `json:"workload,omitempty"` // the scenario, as YAML

	Totals     Counts            `json:"totals"`
	Groups     []GroupResult     `json:"groups"`
	Phases     []PhaseResult     `json:"phases"`
	Latency    []Latency         `json:"latency"`
	Ledger     []LedgerRow       `json:"ledger"`
	Errors     []ErrorCount      `json:"errors,omitempty"`
	Series     []Second          `json:"series"`
	Generator  Generator         `json:"generator"`
	Broker     BrokerUse         `json:"broker"`
	Thresholds []ThresholdResult `json:"thresholds,omitempty"`
}

// Counts are numbers of events. Rates are these over the time they were counted in.
type Counts struct {
	Scheduled    uint64 `json:"scheduled"`    // messages that fell due; in the closed model and flat out: published
	Published    uint64 `json:"published"`    // PUBLISH packets handed to the network, resent ones not counted again
	Resent       uint64 `json:"resent"`       // PUBLISH packets sent again with DUP
	Acknowledged uint64 `json:"acknowledged"` // QoS 1 and 2 messages whose handshake ended well
	Refused      uint64 `json:"refused"`      // by PUBACK or PUBREC with a Reason Code of 0x80 or above
	Dropped      uint64 `json:"dropped"`      // never sent: QoS 0 while disconnected, or the run ended
	Received     uint64 `json:"received"`     // PUBLISH packets received
	Connects     uint64 `json:"connects"`     // CONNACKs with success
	ConnectFails uint64 `json:"connect_fails"`
	Disconnects  uint64 `json:"disconnects"` // connections that ended without the run's wish
	Pings        uint64 `json:"pings"`
	BytesOut     uint64 `json:"bytes_out"`
	BytesIn      uint64 `json:"bytes_in"`
}

// GroupResult are the counts of one client group.
type GroupResult struct {
	Name    string `json:"name"`
	Clients int    `json:"clients"`
	Counts  Counts `json:"counts"`
}

// PhaseResult are the counts and latencies of one phase, by the intended instant of messages.
type PhaseResult struct {
	Name    string        `json:"name"`
	Kind    string        `json:"kind"`
	From    time.Duration `json:"from_ns"` // since Started
	To      time.Duration `json:"to_ns"`
	Counts  Counts        `json:"counts"`
	Latency []Latency     `json:"latency"`
}

// Latency is one histogram, in microseconds. QoS and Group narrow it; -1 and "" are all. Rows of all come first.
type Latency struct {
	Metric    string                  `json:"metric"`
	QoS       int                     `json:"qos"`
	Group     string                  `json:"group,omitempty"`
	Histogram *hdrhistogram.Histogram `json:"-"`
	// OutOfRange counts values beyond the histogram's range, which are recorded as its greatest value.
	OutOfRange uint64 `json:"out_of_range,omitempty"`
}

// LedgerRow is what receivers verified of the messages of one effective QoS, the lower of publication's and subscription's.
type LedgerRow struct {
	QoS       int    `json:"qos"`
	Expected  uint64 `json:"expected"`  // deliveries that the subscriptions entitle to
	Delivered uint64 `json:"delivered"` // different messages that arrived
	Lost      uint64 `json:"lost"`
	// Duplicated counts arrivals beyond the first. At QoS 1 that is legal; at 0 and 2 it breaks the promise.
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`  // a first arrival behind a later message of its publisher, topic and QoS
	Corrupted  uint64 `json:"corrupted"`  // arrived with another payload than was sent
	Unexpected uint64 `json:"unexpected"` // arrived where no subscription asked for it
	// Unsettled are losses that nobody promised against: messages whose handshake the run did not see finish, and QoS 0
	// messages to or from a client that was cut. They are not in Lost.
	Unsettled uint64 `json:"unsettled"`
	// Unverified arrivals carried no proof.
	Unverified uint64 `json:"unverified,omitempty"`
}

// ErrorCount is one kind of trouble.
type ErrorCount struct {
	Kind   string `json:"kind"`   // "connect", "publish", "subscribe", "disconnect", "protocol", "socket"
	Reason string `json:"reason"` // the Reason Code's name, or the system's words
	Code   int    `json:"code"`   // the Reason Code, -1 where there is none
	Count  uint64 `json:"count"`
	Advice string `json:"advice,omitempty"` // what to do about it, for those met often: ports, descriptors
}

// Second is one line of the time series. Messages count in the second in which the event happened; latencies are those
// of handshakes and arrivals that ended in it, in microseconds.
type Second struct {
	At        time.Duration `json:"at_ns"` // its beginning, since Started
	Phase     string        `json:"phase"`
	Connected int           `json:"connected"`
	Inflight  int           `json:"inflight"` // QoS 1 and 2 messages under way at the end of the second
	Backlog   int           `json:"backlog"`  // messages due and not sent
	Counts    Counts        `json:"counts"`
	Lag       Percentiles   `json:"schedule_lag"`
	Ack       Percentiles   `json:"publish_ack"`
	EndToEnd  Percentiles   `json:"end_to_end"`
	Errors    uint64        `json:"errors"`

	GeneratorCPU float64 `json:"generator_cpu"` // cores busy
	BrokerCPU    float64 `json:"broker_cpu"`    // cores busy; -1 where unknown
	BrokerRSS    int64   `json:"broker_rss"`    // bytes; -1 where unknown
	// Sys are $SYS values, by topic below $SYS/.
	Sys map[string]float64 `json:"sys,omitempty"`
}

// Percentiles are a histogram in short, in microseconds. Count 0 means that there is nothing.
type Percentiles struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50"`
	P90   int64 `json:"p90"`
	P99   int64 `json:"p99"`
	P999  int64 `json:"p999"`
	Max   int64 `json:"max"`
}

// Generator is what the run says of itself.
type Generator struct {
	Cores      int     `json:"cores"`
	Workers    int     `json:"workers"`
	CPUSeconds float64 `json:"cpu_seconds"` // user and system, of the measured phases
	MaxRSS     int64   `json:"max_rss"`     // bytes
	Clients    int     `json:"clients"`
	// Limited says, in sentences, why the generator itself was the limit; then no latency threshold passes.
	Limited []string `json:"limited,omitempty"`
	// Notes are sentences on what the run could not do, such as messages that are too small to be verified.
	Notes []string `json:"notes,omitempty"`
	// LedgerBytes is the memory that verification took.
	LedgerBytes int64 `json:"ledger_bytes"`
}

// BrokerUse is what the broker's process took, where --pid named it.
type BrokerUse struct {
	PID        int     `json:"pid,omitempty"`
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
	MaxRSS     int64   `json:"max_rss,omitempty"`
}

// ThresholdResult is one threshold and whether it held.
type ThresholdResult struct {
	Text   string  `json:"text"`
	Passed bool    `json:"passed"`
	Value  float64 `json:"value"` // of the left side, in its base unit: seconds, messages
	Why    string  `json:"why"`   // one sentence with the measured value
}

// Snapshot is the live view of a run, made once a second.
type Snapshot struct {
	Second
	Title      string
	Target     string
	Elapsed    time.Duration // since Started; negative while connecting
	Planned    time.Duration
	Clients    int     // all of the workload
	Offered    float64 // messages due per second at this moment; 0 in the closed model
	Totals     Counts
	TotalLag   Percentiles
	TotalAck   Percentiles
	TotalEnd   Percentiles
	Lost       uint64 // known so far
	Duplicated uint64
	TopErrors  []ErrorCount
	Limited    []string
	Draining   bool
}
