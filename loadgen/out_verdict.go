package loadgen

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/ui"
)

// Verdict is what a result comes to.
type Verdict struct {
	// Passed says that no promise was broken and every threshold held.
	Passed bool
	// Broken are the promises of MQTT that were not kept, a sentence each.
	Broken []string
	// Failed are the thresholds that did not hold.
	Failed []ThresholdResult
	// Sentences say in plain words what was offered and what came of it.
	Sentences []string
}

// Word is the verdict in one word.
func (v Verdict) Word() string {
	if v.Passed {
		return ui.Pass
	}
	return ui.Fail
}

// Verdict weighs the result. Duplicates at QoS 1 are legal; order is told, and left to thresholds.
func (r *Result) Verdict() Verdict {
	var v Verdict
	for i := range r.Ledger {
		row := &r.Ledger[i]
		breach := func(n uint64, format string) {
			if n > 0 {
				v.Broken = append(v.Broken, fmt.Sprintf("QoS %d: %s", row.QoS, fmt.Sprintf(format, count(n))))
			}
		}
		if row.QoS > 0 {
			breach(row.Lost, "%s of the messages that were acknowledged never arrived")
		}
		if row.QoS != 1 {
			breach(row.Duplicated, "%s of the arrivals repeat what may arrive once only")
		}
		breach(row.Corrupted, "%s of the messages arrived with another payload than was sent")
	}
	for _, t := range r.Thresholds {
		if !t.Passed {
			v.Failed = append(v.Failed, t)
		}
	}
	v.Passed = len(v.Broken) == 0 && len(v.Failed) == 0
	v.Sentences = r.sentences(v)
	return v
}

func (r *Result) sentences(v Verdict) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	c := &r.Totals
	span := r.span()
	switch {
	case r.Model == "open" && c.Scheduled > 0:
		s := fmt.Sprintf("%s messages fell due in %s (%s), and %s were published", count(c.Scheduled), ui.Duration(span), rate(c.Scheduled, span), count(c.Published))
		if c.Published < c.Scheduled {
			s += fmt.Sprintf(" (%.4g %%)", floor(100*float64(c.Published)/float64(c.Scheduled)))
		}
		say("%s.", s)
	case c.Published > 0:
		say("%s messages were published in %s (%s).", count(c.Published), ui.Duration(span), rate(c.Published, span))
	default:
		say("%d clients connected and published nothing.", r.Generator.Clients)
	}
	if p := r.Main().orNone().percentiles(); p.Count > 0 {
		what := map[string]string{
			PublishAck: "were acknowledged", EndToEnd: "arrived", Request: "were answered", Connect: "had connected",
		}[r.Main().Metric]
		who, since := "messages", " after the instant they were due"
		if r.Main().Metric == Connect {
			who, since = "clients", ""
		}
		if r.Model != "open" {
			since = ""
		}
		if what != "" {
			say("Half of the %s %s within %s%s, 99 %% within %s; the slowest took %s.", who, what, micros(p.P50), since, micros(p.P99), micros(p.Max))
		}
	}
	lost, duplicated, unsettled := uint64(0), uint64(0), uint64(0)
	verified := uint64(0)
	for _, row := range r.Ledger {
		if row.QoS == 0 {
			lost += row.Lost
		}
		if row.QoS == 1 {
			duplicated += row.Duplicated
		}
		unsettled += row.Unsettled
		verified += row.Expected
	}
	switch {
	case len(v.Broken) > 0:
		say("A promise was broken. %s.", strings.Join(v.Broken, "; "))
	case verified == 0:
		say("No delivery was verified.")
	default:
		say("Every promise was kept: of %s deliveries that were owed, none is missing.", count(verified-min(verified, lost+unsettled)))
	}
	if lost > 0 {
		say("At QoS 0, which promises nothing, %s of them were lost.", count(lost))
	}
	if duplicated > 0 {
		say("At QoS 1, where it is legal, %s of the arrivals were repeats.", count(duplicated))
	}
	switch n := len(r.Thresholds); {
	case n > 0 && len(v.Failed) == 0:
		say("%s held.", plural(n, "threshold"))
	case n > 0:
		why := make([]string, len(v.Failed))
		for i, t := range v.Failed {
			why[i] = strings.TrimSuffix(t.Why, ".")
		}
		say("%d of %s failed: %s.", len(v.Failed), plural(n, "threshold"), strings.Join(why, "; "))
	}
	if len(r.Generator.Limited) > 0 {
		say("The generator was the limit, so its latencies say nothing about the server: %s", sentence(strings.Join(r.Generator.Limited, " ")))
	}
	for _, n := range r.Generator.Notes {
		say("%s", sentence(n))
	}
	if r.Stopped != "" {
		say("The run ended before its plan: %s", sentence(r.Stopped))
	}
	return out
}

// span is the time in which messages fell due: the phases, as far as the run came.
func (r *Result) span() time.Duration {
	span := r.Planned
	for i := range r.Phases {
		span = max(span, r.Phases[i].To)
	}
	if span <= 0 || r.Elapsed > 0 && r.Elapsed < span {
		span = r.Elapsed
	}
	return span
}

func (l *Latency) orNone() *Latency {
	if l == nil {
		return &Latency{}
	}
	return l
}

// sentence ends a text with a full stop, whoever wrote it.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func count(n uint64) string {
	const top = 1<<63 - 1
	return ui.Count(int64(min(n, top)))
}

// micros writes a recorded value.
func micros(us int64) string {
	const most = int64(1<<63-1) / int64(time.Microsecond)
	return ui.Duration(time.Duration(min(us, most)) * time.Microsecond)
}

func rate(n uint64, span time.Duration) string { return ui.Rate(perSecond(n, span)) }

func perSecond(n uint64, span time.Duration) float64 {
	if span <= 0 {
		return 0
	}
	return float64(n) / span.Seconds()
}

// floor cuts off behind the second decimal, so that 99.999 is never shown as 100.
func floor(v float64) float64 { return float64(int(v*100)) / 100 }
