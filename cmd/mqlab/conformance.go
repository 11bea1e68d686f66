package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/ui"
)

func conformanceCommand(e *env) *cli.Command {
	flags := append(targetFlags(),
		&cli.StringFlag{Name: "ws-target", Usage: "the broker's WebSocket `URL`, for the rules about WebSocket"},
		&cli.StringFlag{Name: "mqtt", Usage: "only these `VERSIONS`: 3.1.1, 5 or 3.1.1,5"},
		&cli.StringSliceFlag{Name: "run", Usage: "only rules and checks whose id or name matches `GLOB`; may be repeated"},
		&cli.BoolFlag{Name: "list", Usage: "list the checks with their rules and do nothing"},
		&cli.BoolFlag{Name: "strict", Usage: "a warning makes the exit code 1 as well"},
		&cli.BoolFlag{Name: "fast", Usage: "leave out the rules about time, such as Keep Alive"},
		&cli.BoolFlag{Name: "no-global-filters", Usage: "leave out checks whose filters escape the topic prefix (#, +/x), on a broker that others use"},
		&cli.Float64Flag{Name: "patience", Value: 1, Usage: "wait `N` times as long where a rule asks to wait: more on a slow link"},
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long something that must happen is waited for"},
		&cli.IntFlag{Name: "parallel", Value: 32, Usage: "run `N` checks at the same time"},
		&cli.StringFlag{Name: "client-id-prefix", Usage: "put `TEXT` before every Client Identifier"},
		&cli.StringFlag{Name: "topic-prefix", Value: "mqlab/", Usage: "put `TEXT` before every topic"},
		&cli.StringFlag{Name: "bad-username", Usage: "a user `NAME` that the broker refuses"},
		&cli.StringFlag{Name: "bad-password", EnvVars: []string{"MQLAB_BAD_PASSWORD"}, Usage: "a `PASSWORD` that the broker refuses"},
		&cli.StringFlag{Name: "forbidden-topic", Usage: "a `TOPIC` that the broker does not let the user publish to"},
		&cli.StringFlag{Name: "auth-method", Usage: "an enhanced authentication `METHOD` of the broker"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every check with its transcript"},
		formatFlag("text", "json"), outputFlag(),
	)
	return &cli.Command{
		Name:  "conformance",
		Usage: "check a broker against every rule of MQTT 3.1.1 and 5.0",
		Description: describe(`Provokes a broker rule by rule and says which rules it keeps, which it breaks and how. Without --target the
			embedded broker is checked. A rule fails only where the standard leaves no way out: what a broker says it does not
			support is not applicable, and what cannot be decided is inconclusive.`,
			"mqlab conformance --mqtt 3.1.1",
			"mqlab conformance --target mqtt://127.0.0.1:1883 --run 'MQTT-3.3*'"),
		Flags: flags,
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json")
			if err != nil {
				return err
			}
			cfg, err := conformanceConfig(c)
			if err != nil {
				return err
			}
			if c.Bool("list") {
				return e.writeResult(c.String("output"), func(out output) error { return listChecks(out, cfg) })
			}
			line := ui.NewLine(e.stderr, e.errTTY)
			cfg.Events = func(ev conformance.Event) {
				line.Set(ui.New(e.stderr, e.errTTY, e.getenv).Progress(max(e.width, 60), "checks", int64(ev.Number), int64(ev.Total), ev.Check))
			}
			rep, err := conformance.Run(e.ctx, cfg)
			line.Clear()
			if err != nil {
				return err
			}
			err = e.writeResult(c.String("output"), func(out output) error {
				if format == "json" {
					return writeJSON(out, rep)
				}
				return rep.WriteText(out, out.ui, conformance.TextOptions{Width: out.width, Verbose: c.Bool("verbose")})
			})
			if err == nil && !rep.OK() {
				return exitWith(exitNo, nil)
			}
			return err
		},
	}
}

// conformanceConfig turns the flags into a configuration.
func conformanceConfig(c *cli.Context) (conformance.Config, error) {
	t, err := targetFrom(c)
	if err != nil {
		return conformance.Config{}, err
	}
	cfg := conformance.Config{
		Target: t.url, WSTarget: c.String("ws-target"), TLS: t.tls, Username: t.username, Password: t.password,
		BadUsername: c.String("bad-username"), BadPassword: c.String("bad-password"),
		ForbiddenTopic: c.String("forbidden-topic"), AuthMethod: c.String("auth-method"),
		Parallel: c.Int("parallel"), Timeout: c.Duration("timeout"), Patience: c.Float64("patience"),
		Strict: c.Bool("strict"), Fast: c.Bool("fast"), NoGlobalFilters: c.Bool("no-global-filters"), Transcripts: c.Bool("verbose"),
		ClientIDPrefix: c.String("client-id-prefix"), TopicPrefix: c.String("topic-prefix"),
	}
	for _, globs := range c.StringSlice("run") {
		cfg.Run = append(cfg.Run, strings.Split(globs, ",")...)
	}
	if v := c.String("mqtt"); v != "" {
		if cfg.Versions, err = rules.ParseVersions(v); err != nil {
			return cfg, usagef("--mqtt: %w", err)
		}
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return cfg, nil
}

func listChecks(out output, cfg conformance.Config) error {
	var rows [][]string
	for _, s := range cfg.Select() {
		rows = append(rows, []string{s.Version.String(), s.Check.Name, strings.Join(s.Check.RulesFor(s.Version), " ")})
	}
	if len(rows) == 0 {
		return errors.New("no check matches")
	}
	_, err := fmt.Fprint(out, out.ui.Table(out.width, []ui.Column{{Title: "MQTT"}, {Title: "Check"}, {Title: "Rules", Flex: true}}, rows))
	return err
}
