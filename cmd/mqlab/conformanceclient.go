package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/internal/ui"
)

// conformanceClientCommand checks a client instead of a broker.
func conformanceClientCommand(e *env) *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "call the client `NAME` in the reports"},
		&cli.StringSliceFlag{Name: "run", Usage: "only rules and checks whose id or name matches `GLOB`; may be repeated"},
		&cli.BoolFlag{Name: "list", Usage: "list the checks of clients with their rules and do nothing"},
		&cli.BoolFlag{Name: "holes", Usage: "list the rules on clients that cannot be judged, with the reason, and do nothing"},
		&cli.BoolFlag{Name: "strict", Usage: "a warning makes the exit code 1 as well"},
		&cli.BoolFlag{Name: "fast", Usage: "leave out the rules about time, such as Keep Alive"},
		&cli.Float64Flag{Name: "patience", Value: 1, Usage: "wait `N` times as long where a rule asks to wait"},
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long something that must happen is waited for"},
		&cli.IntFlag{Name: "parallel", Value: 8, Usage: "run `N` checks at the same time, each with a process of its own"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every check with its transcript"},
		formatFlag(reportFormats...), outputFlag(),
	}
	flags = append(flags, fileFlags(reportFormats)...)
	return &cli.Command{
		Name:      "client",
		Usage:     "check a client against the rules of MQTT 3.1.1 and 5.0 that bind clients",
		ArgsUsage: "-- COMMAND [ARGUMENT...]",
		Description: describe(`Runs the client's command once for each check, against a scripted server on the loopback interface that provokes
			it, and judges all that it sends. In the arguments {host}, {port}, {url}, {topic}, {clientid} and {message} stand for what
			the check chooses. The client is judged by the version that it speaks. What it never does, such as publish, is not applicable.`,
			"mqlab conformance client -- mosquitto_sub -h {host} -p {port} -t {topic} -q 2",
			"mqlab conformance client --fast -- mosquitto_pub -h {host} -p {port} -V mqttv5 -t {topic} -q 1 -m {message}",
			"mqlab conformance client --holes"),
		Flags: flags,
		Action: func(c *cli.Context) error {
			if _, err := oneOf("format", c.String("format"), reportFormats...); err != nil {
				return err
			}
			cfg := conformance.ClientConfig{
				Command: c.Args().Slice(), Name: c.String("name"), Parallel: c.Int("parallel"), Timeout: c.Duration("timeout"), Patience: c.Float64("patience"),
				Strict: c.Bool("strict"), Fast: c.Bool("fast"), Transcripts: c.Bool("verbose"),
			}
			for _, globs := range c.StringSlice("run") {
				cfg.Run = append(cfg.Run, strings.Split(globs, ",")...)
			}
			if c.Bool("list") {
				return e.writeResult(c.String("output"), func(out output) error { return listClientChecks(out) })
			}
			if c.Bool("holes") {
				return e.writeResult(c.String("output"), func(out output) error { return listClientHoles(out) })
			}
			if err := cfg.Validate(); err != nil {
				return usagef("%s", oneSentence(err))
			}
			line := ui.NewLine(e.stderr, e.errTTY)
			cfg.Events = func(ev conformance.Event) {
				line.Set(ui.New(e.stderr, e.errTTY, e.getenv).Progress(max(e.width, 60), "checks", int64(ev.Number), int64(ev.Total), ev.Check))
			}
			rep, err := conformance.RunClient(e.ctx, cfg)
			line.Clear()
			if err != nil {
				return err
			}
			reports := []*conformance.Report{rep}
			if err := e.writeReports(c, reports); err != nil {
				return err
			}
			return verdictOf(reports)
		},
	}
}

// listClientHoles says how many rules on clients are judged, and which are not.
func listClientHoles(out output) error {
	for _, v := range []conformance.Versions{conformance.MQTT311, conformance.MQTT5} {
		count := map[conformance.Seer]int{}
		total := 0
		for _, who := range conformance.ClientCoverage()[v] {
			count[who]++
			total++
		}
		fmt.Fprintf(out, "MQTT %s: of %d rules that a client can be seen to break, %d are provoked by checks, %d are seen to on every connection, %d are not judged\n",
			v, total, count[conformance.SeenByCheck], count[conformance.SeenByJudge], count[conformance.SeenByNobody])
	}
	var rows [][]string
	for _, h := range conformance.ClientHoles() {
		rows = append(rows, []string{h.Version.String(), h.Rule, h.Why})
	}
	_, err := fmt.Fprint(out, "\n", out.ui.Table(out.width, []ui.Column{{Title: "MQTT"}, {Title: "Rule"}, {Title: "Why not", Flex: true}}, rows))
	return err
}

func listClientChecks(out output) error {
	var rows [][]string
	for _, c := range conformance.ClientChecks() {
		for _, v := range c.Versions.Split() {
			rows = append(rows, []string{v.String(), c.Name, strings.Join(c.RulesFor(v), " ")})
		}
	}
	_, err := fmt.Fprint(out, out.ui.Table(out.width, []ui.Column{{Title: "MQTT"}, {Title: "Check"}, {Title: "Rules", Flex: true}}, rows))
	return err
}
