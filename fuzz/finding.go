package fuzz

import (
	"fmt"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// Oracle names the way in which trouble was noticed.
type Oracle string

// The oracles.
const (
	OracleDied      Oracle = "died"      // the process ended, by itself or by a signal, or wrote the trace of a panic
	OracleDeaf      Oracle = "deaf"      // the port accepts no connection any more, though the process runs
	OracleHang      Oracle = "hang"      // a fresh or a long-lived connection is not served any more
	OracleMemory    Oracle = "memory"    // resident or virtual memory grows and does not come back
	OracleLeak      Oracle = "leak"      // descriptors, threads or sessions outlive their connections
	OracleSpin      Oracle = "spin"      // the processor is busy though nobody asks for anything
	OracleMalformed Oracle = "malformed" // an answer cannot be decoded
	OracleRule      Oracle = "rule"      // an answer breaks a rule of the registry
	OracleClose     Oracle = "close"     // a connection is kept that had to be closed
	OracleDelivery  Oracle = "delivery"  // bystanders lost a message, or got one twice, out of order or changed
)

// oracles lists them, the gravest first, with the class that a user selects them by and what they say in a title.
var oracles = []struct {
	oracle      Oracle
	class, says string
}{
	{OracleDied, "crash", "the target died"},
	{OracleDeaf, "crash", "the target accepts no connection any more"},
	{OracleHang, "hang", "the target does not serve a connection any more"},
	{OracleSpin, "hang", "the target is busy though nobody asks for anything"},
	{OracleMemory, "leak", "memory grows and does not come back"},
	{OracleLeak, "leak", "something outlives its connection"},
	{OracleDelivery, "delivery", "bystanders did not get what they were promised"},
	{OracleMalformed, "rule", "an answer cannot be decoded"},
	{OracleRule, "rule", "an answer breaks a rule"},
	{OracleClose, "rule", "a connection is kept that had to be closed"},
}

// Oracles returns all oracles, the gravest first.
func Oracles() []Oracle {
	var all []Oracle
	for _, o := range oracles {
		all = append(all, o.oracle)
	}
	return all
}

// Classes returns the classes of oracles, the gravest first.
func Classes() []string {
	var all []string
	for _, o := range oracles {
		if !slices.Contains(all, o.class) {
			all = append(all, o.class)
		}
	}
	return all
}

// Class returns the class that a user selects the oracle by: crash, hang, leak, delivery or rule.
func (o Oracle) Class() string {
	for _, x := range oracles {
		if x.oracle == o {
			return x.class
		}
	}
	return ""
}

// Says returns what the oracle noticed in one phrase.
func (o Oracle) Says() string {
	for _, x := range oracles {
		if x.oracle == o {
			return x.says
		}
	}
	return string(o)
}

// Finding is one kind of trouble, with the script that brings it about. Findings with the same Key are the same trouble.
type Finding struct {
	Oracle Oracle `json:"oracle"`
	// Signature tells this trouble from others of the same oracle and is the same in every run: the first frames of a
	// stack trace, the fault of a malformed answer, the rule. It holds no address, port, process number or time.
	Signature string `json:"signature"`
	// State is where in the conversation it happened, as the state map has it; "" where that says nothing.
	State string `json:"state,omitempty"`
	Title string `json:"title"`          // one line for people
	Rule  string `json:"rule,omitempty"` // of the registry
	// Warn marks what breaks a SHOULD, or where the evidence does not suffice for more.
	Warn   bool     `json:"warn,omitempty"`
	Detail []string `json:"detail,omitempty"` // what was expected and seen, or measured, line by line

	Script  *Script `json:"-"` // as it was found
	Minimal *Script `json:"-"` // the smallest script known that brings it about; nil where nobody looked
	// Files are what was written about the finding, by kind, such as "scenario", "script" and "report".
	Files map[string]string `json:"files,omitempty"`

	Stderr string `json:"stderr,omitempty"` // the end of what the target wrote
	Target string `json:"target"`           // its command line or URL, without secrets
	Seed   uint64 `json:"seed"`             // of the run
	Execs  int64  `json:"execs"`            // scripts executed before it was found
	// After is how long the run took to find it.
	After time.Duration `json:"after_ns"`
	At    time.Time     `json:"at"`
	// Count is how often it was met.
	Count int `json:"count"`
	// Confirmed of Tried replays on a fresh target brought it about again.
	Confirmed int `json:"confirmed"`
	Tried     int `json:"tried"`

	attempts int // to confirm it, each by replays of another script
}

// maxAttempts is how often it is tried to confirm a finding: what depends on chance is met with many scripts, and some of
// them bring it about for certain.
const maxAttempts = 4

// unsure reports whether another script may yet confirm the finding.
func (f *Finding) unsure() bool {
	return f.attempts > 0 && f.attempts < maxAttempts && f.Confirmed == 0
}

// Key is the same for findings of the same trouble.
func (f *Finding) Key() string { return string(f.Oracle) + "|" + f.Signature + "|" + f.State }

// Class returns the class of the finding's oracle.
func (f *Finding) Class() string { return f.Oracle.Class() }

// Best returns the smallest script at hand, or nil.
func (f *Finding) Best() *Script {
	if f.Minimal != nil {
		return f.Minimal
	}
	return f.Script
}

// Slug returns a name for files about the finding, such as "died-1f0a93c2": the same trouble has the same one in every run.
func (f *Finding) Slug() string {
	// FNV-1a: short, and the same everywhere.
	h := uint32(2166136261)
	for _, b := range []byte(f.Key()) {
		h = (h ^ uint32(b)) * 16777619
	}
	return fmt.Sprintf("%s-%08x", f.Oracle, h)
}

// Confirmation says how sure the finding is, in words.
func (f *Finding) Confirmation() string {
	switch {
	case f.Tried == 0:
		return "not replayed"
	case f.Confirmed == 0:
		return fmt.Sprintf("did not come back in %s", plural(int64(f.Tried), "replay"))
	default:
		return fmt.Sprintf("%d of %s", f.Confirmed, plural(int64(f.Tried), "replay"))
	}
}

// Summary is what a run comes to.
type Summary struct {
	Target   string          `json:"target"` // command line or URL, without secrets
	Seed     uint64          `json:"seed"`
	Versions []codec.Version `json:"versions"`
	Started  time.Time       `json:"started"`
	Elapsed  time.Duration   `json:"elapsed_ns"`
	Execs    int64           `json:"execs"`   // scripts
	Packets  int64           `json:"packets"` // sent
	Corpus   int             `json:"corpus"`  // scripts kept because they led somewhere new
	States   int             `json:"states"`
	Edges    int             `json:"edges"`
	Restarts int             `json:"restarts"` // of a target that the run started
	// Covered counts the blocks of the target's code that have run; 0 where nobody looked.
	Covered int `json:"covered,omitempty"`
	// Stopped says why the run ended before its time; "" where it did not.
	Stopped  string     `json:"stopped,omitempty"`
	Findings []*Finding `json:"findings"`
	// FailOn are the classes that make the run fail; empty: all.
	FailOn []string `json:"fail_on,omitempty"`
}

// Fails reports whether a finding makes the run fail: its class was selected and it is more than a warning.
func (s *Summary) Fails(f *Finding) bool {
	return !f.Warn && (len(s.FailOn) == 0 || slices.Contains(s.FailOn, f.Class()))
}

// Failed counts the findings that make the run fail.
func (s *Summary) Failed() int {
	n := 0
	for _, f := range s.Findings {
		if s.Fails(f) {
			n++
		}
	}
	return n
}

// OK reports whether nothing was found that makes the run fail.
func (s *Summary) OK() bool { return s.Failed() == 0 }

// Rate returns scripts per second.
func (s *Summary) Rate() float64 {
	if s.Elapsed <= 0 {
		return 0
	}
	return float64(s.Execs) / s.Elapsed.Seconds()
}

// plural returns a count with its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
