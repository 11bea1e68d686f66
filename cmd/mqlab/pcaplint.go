package main

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/pcap"
)

func pcapLintCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "lint",
		Usage: "find where the captured packets break the rules",
		Description: describe(`Judges both directions of every stream by all rules that can be judged from outside, and names
			the rule, the frame and the side at fault. What the capture does not prove is not reported: after missing bytes, and
			where a stream began before the capture, only what single packets show is judged. A finding is no warning about
			style: mqlab rules show ID says what the rule demands.`,
			"mqlab pcap lint capture.pcapng",
			"mqlab pcap lint --side server --format json capture.pcapng"),
		ArgsUsage: "FILE...",
		Flags: append(pcapInput(),
			&cli.StringFlag{Name: "run", Usage: "only rules whose ids match `GLOB`, with * and ?; several are separated by commas"},
			&cli.StringFlag{Name: "side", Usage: "only breaches by this `SIDE`: client, server"},
			&cli.BoolFlag{Name: "strict", Usage: "exit with 1 on warnings too"},
			formatFlag("text", "json"), outputFlag()),
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json")
			if err != nil {
				return err
			}
			side := ""
			if c.IsSet("side") {
				if side, err = oneOf("side", c.String("side"), "client", "server"); err != nil {
					return err
				}
			}
			cfg, unread, err := pcapConfig(c)
			if err != nil {
				return err
			}
			files, err := captureArgs(c)
			if err != nil {
				return err
			}
			var globs []string
			if c.String("run") != "" {
				globs = strings.Split(c.String("run"), ",")
			}
			var rerr error
			fails, warns := 0, 0
			err = e.writeResult(c.String("output"), func(out output) error {
				w := lintWriter{out: out, json: format == "json", files: files}
				l := &pcap.Lint{Found: func(f *pcap.Finding) error {
					if side != "" && f.By != side || len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool {
						return rules.Match(g, f.Rule) || rules.Match("MQTT-"+g, f.Rule)
					}) {
						return nil
					}
					return w.found(f)
				}}
				cfg.Packet, cfg.Gap, cfg.End = l.Packet, l.Gap, l.End
				flush := func() error { return nil }
				if n := runtime.GOMAXPROCS(0); n > 1 && files[0] != "-" { // what is piped in may be live
					p := pcap.NewParallelLint(l, n)
					p.Attach(&cfg)
					flush = p.Flush
				}
				d := pcap.NewDissector(cfg)
				rerr = e.readCaptures(d, files)
				if err := flush(); err != nil && rerr == nil {
					rerr = err
				}
				fails, warns = w.fails, w.warns
				if err := w.end(l, d.Summary()); err != nil {
					return err
				}
				e.pcapRemarks(d.Summary(), unread)
				return nil
			})
			if err != nil {
				return err
			}
			if rerr != nil {
				return rerr
			}
			if fails > 0 || warns > 0 && c.Bool("strict") {
				return exitWith(exitNo, nil)
			}
			return nil
		},
	}
}

// lintWriter writes findings as they come, so that a capture without end needs no memory for them.
type lintWriter struct {
	out          output
	json         bool
	files        []string
	fails, warns int
	rules        map[string]int
}

func (w *lintWriter) found(f *pcap.Finding) error {
	if w.rules == nil {
		w.rules = make(map[string]int)
	}
	w.rules[f.Rule]++
	word := ui.Fail
	if f.Grade == "warn" {
		word = ui.Warn
		w.warns++
	} else {
		w.fails++
	}
	if w.json {
		return writeJSONLine(w.out, f)
	}
	u := w.out.ui
	place := "a frame long before"
	if f.Frame > 0 {
		place = "frame " + strconv.Itoa(f.Frame)
	}
	if len(w.files) > 1 && f.File < len(w.files) {
		place += " of " + w.files[f.File]
	}
	client := ui.Printable(f.ClientID)
	if client == "" {
		client = f.Client
	}
	_, err := fmt.Fprintf(w.out, "%s %s by the %s, MQTT %s, %s, stream %d, client %s\n     expected %s\n     got      %s\n",
		u.Verdict(word), u.Code(f.Rule), f.By, f.Version, place, f.Stream, client, ui.Printable(f.Expected), ui.Printable(f.Actual))
	return err
}

func (w *lintWriter) end(l *pcap.Lint, s pcap.Summary) error {
	duties, judgements := l.Judged()
	if w.json {
		return writeJSONLine(w.out, struct {
			Event      string         `json:"event"`
			Fails      int            `json:"fails"`
			Warns      int            `json:"warns"`
			Rules      map[string]int `json:"findings_by_rule"`
			Duties     int            `json:"duties_judged"`
			Judgements int            `json:"judgements"`
			Limits     map[string]int `json:"limits"`
			Capture    pcap.Summary   `json:"capture"`
		}{"end", w.fails, w.warns, w.rules, duties, judgements, l.Limits(), s})
	}
	fmt.Fprintf(w.out, "%s and %s in %s packets on %s; %s judgements of %s duties\n",
		plural(w.fails, "failure"), plural(w.warns, "warning"), ui.Count(s.Packets), streams(s.MQTT), ui.Count(int64(judgements)), ui.Count(int64(duties)))
	for _, id := range slices.Sorted(maps.Keys(w.rules)) {
		fmt.Fprintf(w.out, "%7d  %s\n", w.rules[id], id)
	}
	for _, text := range slices.Sorted(maps.Keys(l.Limits())) {
		fmt.Fprintf(w.out, "not judged to the end on %s: %s\n", streams(l.Limits()[text]), text)
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return ui.Count(int64(n)) + " " + word + "s"
}
