package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/ui"
)

// fuzzView shows a run while it goes on: a line that is rewritten on a terminal, a line now and then elsewhere, and
// lines of JSON where a program listens.
type fuzzView struct {
	ui    *ui.UI
	width int
	live  *ui.Line
	log   io.Writer // nil: quiet
	json  *json.Encoder
	lines bool

	limit time.Duration
	execs int64
	last  fuzz.Stats
	told  time.Duration // when a plain line was written last
	shown map[string]bool
}

// plainEvery is how often a run tells how it goes where nobody sees a line rewritten.
const plainEvery = 10 * time.Second

func (e *env) fuzzView(quiet, lines bool, limit time.Duration, execs int64) *fuzzView {
	v := &fuzzView{ui: ui.New(e.stderr, e.errTTY, e.getenv), width: e.width, lines: lines, limit: limit, execs: execs, shown: map[string]bool{}}
	if lines {
		v.json = json.NewEncoder(e.stdout)
		v.json.SetEscapeHTML(false)
	}
	if !quiet {
		v.live, v.log = ui.NewLine(e.stderr, e.errTTY), e.stderr
	}
	return v
}

// event takes one event of the run.
func (v *fuzzView) event(ev fuzz.Event) {
	before := v.last
	v.last = ev.Stats
	if v.json != nil {
		switch {
		case ev.Finding != nil:
			v.line("finding", ev.Finding)
		case ev.Note != "":
			v.line("note", ev.Note)
		default:
			v.line("stats", ev.Stats)
		}
	}
	if v.log == nil {
		return
	}
	key := ""
	if x := ev.Finding; x != nil {
		key = string(x.Oracle) + x.Signature + x.At.String()
	}
	switch {
	case ev.Finding != nil && !v.shown[key]:
		v.shown[key] = true
		v.live.Clear()
		fmt.Fprintf(v.log, "found after %s: %s: %s\n", ui.Duration(ev.Finding.After), ev.Finding.Oracle, ui.Printable(ev.Finding.Title))
	case ev.Note != "":
		v.live.Clear()
		fmt.Fprintf(v.log, "note: %s\n", ui.Printable(ev.Note))
	}
	line := fuzzLine(v.ui, v.width, before, ev.Stats, v.limit, v.execs)
	if v.live != nil {
		v.live.Set(line)
	} else if ev.Stats.Elapsed-v.told >= plainEvery {
		v.told = ev.Stats.Elapsed
		fmt.Fprintln(v.log, line)
	}
}

// line writes one line of JSON.
func (v *fuzzView) line(kind string, value any) {
	_ = v.json.Encode(map[string]any{"type": kind, kind: value}) // who does not read any more does not care
}

func (v *fuzzView) end() { v.live.Clear() }

// fuzzLine is where a run stands, in one line.
func fuzzLine(u *ui.UI, width int, before, now fuzz.Stats, limit time.Duration, execs int64) string {
	span := (now.Elapsed - before.Elapsed).Seconds()
	if span <= 0 {
		span, before = max(now.Elapsed.Seconds(), 1e-9), fuzz.Stats{}
	}
	detail := fmt.Sprintf("%s  %s scripts  %s packets  corpus %s  states %s  findings %d", ui.Duration(now.Elapsed.Round(time.Second)),
		ui.Rate(float64(now.Execs-before.Execs)/span), ui.Rate(float64(now.Packets-before.Packets)/span),
		ui.Count(int64(now.Corpus)), ui.Count(int64(now.States)), now.Findings)
	if now.Covered > 0 {
		detail += fmt.Sprintf("  covered %s", ui.Count(int64(now.Covered)))
	}
	if now.Restarts > 0 {
		detail += fmt.Sprintf("  restarts %d", now.Restarts)
	}
	done, total := int64(now.Elapsed), int64(limit)
	if total == 0 || execs > 0 && total > 0 && now.Execs*total > execs*done {
		done, total = now.Execs, execs
	}
	return u.Progress(width, "fuzz", done, total, detail)
}
