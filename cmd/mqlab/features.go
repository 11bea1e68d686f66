package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance"
)

func featuresCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "find out what a broker can do: features, limits and latency",
		Description: describe(`Connects under MQTT 3.1, 3.1.1 and 5.0 and asks for one feature after the other: QoS with its
			latency, retained messages, wildcards, shared subscriptions, aliases, sessions, Wills, and how long topics, Client Identifiers and payloads may be.
			Only legal packets are sent, and nothing is judged. Without --target the embedded broker is asked.`,
			"mqlab conformance features",
			"mqlab conformance features --target mqtt://127.0.0.1:1883 --format json"),
		Flags: append(manyTargetFlags(),
			&cli.IntFlag{Name: "max-payload", Value: conformance.DefaultMaxPayload, Usage: "try payloads up to `BYTES`"},
			&cli.DurationFlag{Name: "timeout", Value: 5 * time.Second, Usage: "how long an answer is waited for"},
			&cli.StringFlag{Name: "client-id-prefix", Usage: "put `TEXT` before every Client Identifier"},
			&cli.StringFlag{Name: "topic-prefix", Value: "mqlab/", Usage: "put `TEXT` before every topic"},
			formatFlag("text", "json"), outputFlag()),
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "json")
			if err != nil {
				return err
			}
			if c.Int("max-payload") < 1 {
				return usagef("--max-payload %d: at least one byte has to be tried", c.Int("max-payload"))
			}
			cfgs, err := e.conformanceConfigs(c)
			if err != nil {
				return err
			}
			var reports []*conformance.FeatureReport
			for _, cfg := range cfgs {
				rep, err := conformance.Probe(e.ctx, cfg, c.Int("max-payload"))
				if err != nil {
					return err
				}
				reports = append(reports, rep)
			}
			return e.writeResult(c.String("output"), func(out output) error {
				switch {
				case format == "json" && len(reports) == 1:
					return writeJSON(out, reports[0])
				case format == "json":
					return writeJSON(out, reports)
				}
				for i, rep := range reports {
					if i > 0 {
						if _, err := out.Write([]byte("\n")); err != nil {
							return err
						}
					}
					if err := rep.WriteText(out, out.ui, out.width); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
