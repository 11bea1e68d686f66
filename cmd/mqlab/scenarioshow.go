package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/scenarios"
)

// workloadSummary is one line of the list of built-in workloads.
type workloadSummary struct {
	Name       string         `json:"name"`
	Title      string         `json:"title"`
	About      string         `json:"about"`
	MQTT       string         `json:"mqtt"`
	Clients    int            `json:"clients"`
	Groups     map[string]int `json:"groups"`
	Rate       float64        `json:"rate"` // messages per second at the factor 1
	Seconds    float64        `json:"duration_s"`
	Thresholds []string       `json:"thresholds"`
}

func summaryOf(w *scenarios.Workload) workloadSummary {
	return workloadSummary{
		Name: w.Name, Title: w.Title, About: strings.Join(strings.Fields(w.About), " "), MQTT: w.Resolved().MQTT,
		Clients: w.ClientCount(), Groups: w.Counts(), Rate: float64(w.Offered()), Seconds: w.Duration().Seconds(), Thresholds: w.Thresholds,
	}
}

func scenarioListCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the built-in workloads",
		Description: describe(`Lists the workloads that are part of the program: what each loads, with how many clients, how many messages
			per second they publish together, and how long it takes. All of these can be changed on the command line of mqlab load.`,
			"mqlab scenario list",
			"mqlab scenario list --format json"),
		Flags: []cli.Flag{formatFlag("text", "json"), outputFlag()},
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json")
			if err != nil {
				return err
			}
			var list []workloadSummary
			for _, w := range scenarios.Library() {
				list = append(list, summaryOf(w))
			}
			err = e.writeResult(c.String("output"), func(out output) error {
				if format == "json" {
					return writeJSON(out, list)
				}
				rows := make([][]string, 0, len(list))
				for _, s := range list {
					rows = append(rows, []string{
						out.ui.Strong(s.Name), strconv.Itoa(s.Clients), rateText(scenarios.Rate(s.Rate)),
						shortDuration(time.Duration(s.Seconds * float64(time.Second))), s.Title,
					})
				}
				_, err := fmt.Fprint(out, out.ui.Table(out.width, []ui.Column{
					{Title: "name"}, {Title: "clients", Right: true}, {Title: "rate", Right: true}, {Title: "time", Right: true}, {Title: "what it loads", Flex: true},
				}, rows))
				return err
			})
			if err == nil && format == "text" && e.isTTY {
				fmt.Fprintln(e.stderr, "mqlab scenario show NAME says all about one, and mqlab load NAME runs it")
			}
			return err
		},
	}
}

// rateText is a rate for people: whole where it is not small.
func rateText(r scenarios.Rate) string {
	switch {
	case r == 0:
		return "-"
	case r >= 10:
		return strconv.FormatFloat(float64(r), 'f', 0, 64) + "/s"
	}
	return r.String()
}

// shortDuration leaves out what is zero: 1h instead of 1h0m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func scenarioValidateCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "validate",
		Usage: "say what is wrong with scenario files",
		Description: describe(`Reads each FILE, an exchange or a workload, and reports every problem with its place. Nothing is sent.`,
			"mqlab scenario validate qos1.yaml",
			"mqlab scenario validate evidence/5.0-ping-answered.yaml fleet.yaml"),
		ArgsUsage: "FILE...",
		Action: func(c *cli.Context) error {
			files, err := readScenarios(c, false)
			werr := e.writeResult("", func(out output) error {
				for _, f := range files {
					if _, err := fmt.Fprintf(out, "%s: %s\n", f.path, kindText(f.Scenario)); err != nil {
						return err
					}
				}
				return nil
			})
			return errors.Join(err, werr)
		},
	}
}

// kindText says in a line what a scenario is.
func kindText(s scenarios.Scenario) string {
	switch s := s.(type) {
	case *scenarios.Exchange:
		return fmt.Sprintf("an exchange of %d steps under MQTT %s", len(s.Steps), s.Version())
	case *scenarios.Workload:
		text := fmt.Sprintf("a workload of %s in %s", count(s.ClientCount(), "client"), count(len(s.Clients), "group"))
		if r := s.Offered(); r > 0 {
			text += ", " + rateText(r)
		}
		return text + ", " + shortDuration(s.Duration())
	}
	return "a scenario"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

func scenarioShowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "show what scenarios do",
		Description: describe(`Shows each FILE, or built-in workload by its NAME, in words: what it is about, and what its steps or its clients do.
			With --format yaml a NAME is written as the file that it is, to be changed and run with mqlab load. Nothing is sent.`,
			"mqlab scenario show qos1.yaml",
			"mqlab scenario show telemetry-fan-in --format yaml --output fleet.yaml"),
		ArgsUsage: "FILE|NAME...",
		Flags:     []cli.Flag{formatFlag("text", "yaml"), outputFlag()},
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "yaml")
			if err != nil {
				return err
			}
			files, err := readScenarios(c, true)
			if err != nil {
				return err
			}
			if format == "yaml" && len(files) > 1 {
				return usagef("--format yaml shows one scenario at a time, but got %s", strings.Join(c.Args().Slice(), " "))
			}
			return e.writeResult(c.String("output"), func(out output) error {
				for i, f := range files {
					text := ""
					switch s := f.Scenario.(type) {
					case *scenarios.Exchange:
						text = exchangeText(out, exchangeFile{f.path, s})
					case *scenarios.Workload:
						text = workloadText(out, f.path, s)
					}
					if format == "yaml" {
						raw, err := scenarioSource(f)
						if err != nil {
							return err
						}
						text = string(raw)
					} else if i > 0 {
						text = "\n" + text
					}
					if _, err := fmt.Fprint(out, text); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// scenarioSource is the text of the file.
func scenarioSource(f scenarioFile) ([]byte, error) {
	if w, ok := f.Scenario.(*scenarios.Workload); ok && w.Name != "" {
		return scenarios.Text(w.Name)
	}
	return os.ReadFile(f.path)
}

func exchangeText(out output, f exchangeFile) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", out.ui.Heading(f.Title))
	about := []string{f.path, "MQTT " + f.Version().String()}
	if f.Rule != "" {
		about = append(about, f.Rule)
	}
	fmt.Fprintf(&b, "%s\n", out.ui.Dim(strings.Join(about, ", ")))
	if f.About != "" {
		b.WriteString(ui.Wrap(ui.Printable(strings.Join(strings.Fields(f.About), " ")), out.width, 0) + "\n")
	}
	for i := range f.Steps {
		line := fmt.Sprintf("  %3d %s", i+1, ui.Printable(f.Steps[i].String()))
		if out.width > 0 {
			line = ui.Truncate(line, out.width)
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// workloadText says what the clients of a workload do, phase by phase, and what the result is judged by.
func workloadText(out output, path string, w *scenarios.Workload) string {
	var b strings.Builder
	u, r := out.ui, w.Resolved()
	line := func(indent int, text string) {
		b.WriteString(ui.Wrap(ui.Printable(text), out.width, indent) + "\n")
	}
	fmt.Fprintf(&b, "%s\n", u.Heading(ui.Printable(w.Title)))
	fmt.Fprintf(&b, "%s\n", u.Dim(ui.Printable(path)+", "+kindText(w)))
	if w.About != "" {
		line(0, strings.Join(strings.Fields(w.About), " "))
	}
	if r.Model == "closed" {
		line(0, fmt.Sprintf("Closed model: each client has at most %s under way, and publishes the next when one is acknowledged.", count(r.Window, "message")))
	}
	for i := range r.Clients {
		g := &r.Clients[i]
		b.WriteByte('\n')
		fmt.Fprintf(&b, "%s %s\n", u.Strong(g.Name), u.Dim(fmt.Sprintf("%s, MQTT %s%s", count(g.Count, "client"), g.MQTT, groupTraits(g))))
		for j := range g.Publish {
			line(2, "publish "+publicationText(&g.Publish[j]))
		}
		for _, s := range g.Subscribe {
			text := fmt.Sprintf("subscribe %s at QoS %d", s.Filter, s.QoS)
			if s.Share != "" {
				text += ", shared as " + s.Share
			}
			line(2, text)
		}
		if g.Respond != nil {
			line(2, "answer requests at QoS "+strconv.Itoa(int(g.Respond.QoS)))
		}
		if g.Will != nil {
			line(2, fmt.Sprintf("Will on %s at QoS %d", g.Will.Topic, g.Will.QoS))
		}
		if text := linkText(g.Link); text != "" {
			line(2, "link: "+text)
		}
	}
	fmt.Fprintf(&b, "\n%s\n", u.Strong("phases"))
	rows := make([][]string, 0, len(r.Phases))
	for i := range r.Phases {
		p := &r.Phases[i]
		rows = append(rows, []string{"  " + p.Name, shortDuration(p.For), phaseText(p, r)})
	}
	b.WriteString(u.Table(out.width, []ui.Column{{}, {Right: true}, {Flex: true}}, rows))
	if len(w.Thresholds) > 0 {
		fmt.Fprintf(&b, "\n%s\n", u.Strong("must hold"))
		for _, t := range w.Thresholds {
			line(2, t)
		}
	}
	return b.String()
}

func groupTraits(g *scenarios.Group) string {
	var out []string
	if !*g.CleanStart {
		out = append(out, "sessions are kept")
	}
	if g.Reconnect.Never {
		out = append(out, "not coming back")
	}
	if g.Target != "" {
		out = append(out, "at "+ui.Printable(g.Target))
	}
	if len(out) == 0 {
		return ""
	}
	return ", " + strings.Join(out, ", ")
}

func publicationText(p *scenarios.Publication) string {
	text := p.Topic
	if p.Topics > 1 {
		text += fmt.Sprintf(" (%d topics)", p.Topics)
	}
	text += " at QoS " + mixText(p.QoS)
	if p.Retain {
		text += ", retained"
	}
	if p.Rate > 0 {
		text += fmt.Sprintf(", each %s", trimmedRate(p.Rate))
		if p.Arrival != "even" {
			text += " (" + p.Arrival + ")"
		}
	}
	switch {
	case p.File != "":
		text += ", the content of " + p.File
	case p.Payload != "":
		text += ", " + p.Payload
	case p.Size.Mean > 0:
		text += fmt.Sprintf(", about %.0f bytes", p.Size.Mean)
	case p.Size.Max > 0:
		text += fmt.Sprintf(", %d to %d bytes", p.Size.Min, p.Size.Max)
	default:
		text += ", " + count(p.Size.Fixed, "byte")
	}
	return text
}

// trimmedRate shortens rates that come of a division.
func trimmedRate(r scenarios.Rate) string {
	if s := r.String(); len(s) <= 10 {
		return s
	}
	return strconv.FormatFloat(float64(r), 'g', 4, 64) + "/s"
}

func mixText(m scenarios.QoSMix) string {
	var out []string
	for q, share := range m.Shares() {
		switch {
		case share == 1:
			return strconv.Itoa(q)
		case share > 0:
			out = append(out, fmt.Sprintf("%d (%s%%)", q, strconv.FormatFloat(share*100, 'g', 3, 64)))
		}
	}
	return strings.Join(out, ", ")
}

func linkText(l *scenarios.Link) string {
	if l == nil {
		return ""
	}
	var out []string
	add := func(set bool, format string, args ...any) {
		if set {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	add(l.Up > 0, "%s up", l.Up)
	add(l.Down > 0, "%s down", l.Down)
	add(l.Delay > 0, "%v each way", l.Delay)
	add(l.Jitter > 0, "up to %v more", l.Jitter)
	add(l.CutEvery > 0, "cut about every %v", l.CutEvery)
	add(l.CutFor > 0, "for %v", l.CutFor)
	add(l.HalfOpen > 0, "silent for %v before", l.HalfOpen)
	return strings.Join(out, ", ")
}

// phaseText says what happens in a phase.
func phaseText(p *scenarios.Phase, w *scenarios.Workload) string {
	text := p.Kind
	factor := func(f float64) string { return strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64) }
	switch p.Kind {
	case "ramp", "step":
		text += fmt.Sprintf(" from %s to %s times the rate", factor(p.From), factor(p.To))
		if p.Kind == "step" {
			text += fmt.Sprintf(" in %d steps", p.Steps)
		}
	case "spike":
		text += fmt.Sprintf(" of %s times the rate", factor(p.To))
	case "hold":
		text = "the full rate"
		if p.To != 1 {
			return factor(p.To) + " times the rate" + phaseOverrides(p)
		}
	case "idle":
		text += ": nothing is published"
	case "storm":
		text += fmt.Sprintf(": %s%% of the clients are cut at once and come back", factor(p.Share*100))
		if p.Rate > 0 {
			text += ", " + p.Rate.String()
		}
	case "churn":
		text += fmt.Sprintf(": %s disconnect and connect anew", p.Rate)
		if p.Abrupt {
			text += ", without DISCONNECT"
		}
	case "takeover":
		text += fmt.Sprintf(": %s connect with a Client Identifier in use", p.Rate)
	}
	if (p.Kind == "storm" || p.Kind == "churn" || p.Kind == "takeover") && p.To != 1 {
		text += fmt.Sprintf(", %s times the rate", factor(p.To))
	}
	if len(p.Groups) > 0 && !slices.Equal(p.Groups, groupNames(w)) {
		text += ", of " + strings.Join(p.Groups, ", ")
	}
	return text + phaseOverrides(p)
}

func phaseOverrides(p *scenarios.Phase) string {
	text := ""
	if p.QoS != nil {
		text += fmt.Sprintf(", all at QoS %d", *p.QoS)
	}
	if p.Window > 0 {
		text += fmt.Sprintf(", window %d", p.Window)
	}
	return text
}

func groupNames(w *scenarios.Workload) []string {
	var out []string
	for i := range w.Clients {
		out = append(out, w.Clients[i].Name)
	}
	return out
}

func scenarioSchemaCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "schema",
		Usage: "write the JSON Schema of scenario files",
		Description: describe(`Writes the JSON Schema of the file format, of both kinds. An editor that knows it completes and checks scenarios as
			they are written.`,
			"mqlab scenario schema",
			"mqlab scenario schema --output scenario.schema.json"),
		Flags: []cli.Flag{outputFlag()},
		Action: func(c *cli.Context) error {
			return e.writeResult(c.String("output"), func(out output) error {
				_, err := out.Write(scenarios.Schema())
				return err
			})
		},
	}
}
