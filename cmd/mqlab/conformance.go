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
	flags := append(manyTargetFlags(),
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
		&cli.StringFlag{Name: "baseline", Usage: "expect the findings listed in `FILE`: they are shown, and do not count"},
		&cli.StringFlag{Name: "write-baseline", Usage: "write the findings to `FILE`, as a list for --baseline"},
		&cli.IntFlag{Name: "repeat", Usage: "run every check `N` times: a breach may show only now and then"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "show every check with its transcript"},
		formatFlag(reportFormats...), outputFlag(),
	)
	flags = append(flags, evidenceFlags()...)
	flags = append(flags, fileFlags(reportFormats)...)
	return &cli.Command{
		Name:  "conformance",
		Usage: "check a broker against every rule of MQTT 3.1.1 and 5.0",
		Description: describe(`Provokes a broker rule by rule and says which rules it keeps, which it breaks and how. Without --target the
			embedded broker is checked. A rule fails only where the standard leaves no way out: what a broker says it does not
			support is not applicable, and what cannot be decided is inconclusive. Several targets are tested in turn and compared.`,
			"mqlab conformance --mqtt 3.1.1",
			"mqlab conformance --target mqtt://127.0.0.1:1883 --run 'MQTT-3.3*'",
			"mqlab conformance --cmd 'mosquitto -p {port}' --fast --baseline known.yaml"),
		Flags:       flags,
		Subcommands: []*cli.Command{featuresCommand(e), conformanceClientCommand(e)},
		Action: func(c *cli.Context) error {
			if _, err := oneOf("format", c.String("format"), reportFormats...); err != nil {
				return err
			}
			cfgs, err := e.conformanceConfigs(c)
			if err != nil {
				return err
			}
			if c.Bool("list") {
				return e.writeResult(c.String("output"), func(out output) error { return listChecks(out, cfgs[0]) })
			}
			reports, err := e.runTargets(cfgs)
			if err != nil && len(cfgs) == 1 {
				return err
			}
			if err = errors.Join(err, e.writeReports(c, reports), e.writeEvidence(c, reports)); err != nil {
				return err
			}
			return verdictOf(reports)
		},
	}
}

// conformanceConfig overrules the configuration by the flags: all of them, or those that were
// given where the configuration comes from a file.
func conformanceConfig(c *cli.Context, cfg *conformance.Config, url string) error {
	file := c.String("target-file") != ""
	t, err := targetAt(c, url)
	if err != nil {
		return err
	}
	text := func(field *string, flag, value string) {
		if !file || flag != "" && c.IsSet(flag) {
			*field = value
		}
	}
	text(&cfg.Target, "target", t.url)
	text(&cfg.Username, "username", t.username)
	if !file || t.password != "" {
		cfg.Password = t.password
	}
	if t.tls != nil {
		cfg.TLS = t.tls
	}
	for flag, field := range map[string]*string{
		"ws-target": &cfg.WSTarget, "cmd": &cfg.Cmd, "bad-username": &cfg.BadUsername, "bad-password": &cfg.BadPassword,
		"forbidden-topic": &cfg.ForbiddenTopic, "auth-method": &cfg.AuthMethod, "client-id-prefix": &cfg.ClientIDPrefix, "topic-prefix": &cfg.TopicPrefix,
	} {
		text(field, flag, c.String(flag))
	}
	if !file || c.IsSet("parallel") {
		cfg.Parallel = c.Int("parallel")
	}
	if !file && c.Duration("timeout") != 0 || c.IsSet("timeout") {
		cfg.Timeout = c.Duration("timeout")
	}
	if !file || c.IsSet("patience") {
		cfg.Patience = c.Float64("patience")
	}
	cfg.Repeat, cfg.Strict, cfg.Transcripts = c.Int("repeat"), c.Bool("strict"), c.Bool("verbose")
	cfg.Fast = cfg.Fast || c.Bool("fast")
	cfg.NoGlobalFilters = cfg.NoGlobalFilters || c.Bool("no-global-filters")
	for _, globs := range c.StringSlice("run") {
		cfg.Run = append(cfg.Run, strings.Split(globs, ",")...)
	}
	if v := c.String("mqtt"); v != "" {
		if cfg.Versions, err = rules.ParseVersions(v); err != nil {
			return usagef("--mqtt: %w", err)
		}
	}
	if path := c.String("baseline"); path != "" {
		if err := readBaseline(path, cfg); err != nil {
			return err
		}
	}
	if err := evidenceConfig(c, cfg); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return usagef("%s", oneSentence(err))
	}
	return nil
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
