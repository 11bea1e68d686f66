package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/pcap"
)

func pcapFlowCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "flow",
		Usage: "draw a sequence diagram of a stream",
		Description: describe(`Draws what a client and the server say to each other as arrows between two lines, with the time on the
			left. Choose a stream or a client by --filter; without it every packet is drawn. The format svg is an image of one
			stream with up to 2,000 arrows.`,
			"mqlab pcap flow --filter stream=3 capture.pcapng",
			"mqlab pcap flow --filter client=sensor-7 --format svg --output sensor.svg capture.pcapng"),
		ArgsUsage: "FILE...",
		Flags:     append(pcapInput(), append(pcapChoice(), formatFlag("text", "svg"), outputFlag())...),
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "text", "svg")
			if err != nil {
				return err
			}
			return e.pcapPackets(c, func(out output, _ bool) pcapSink {
				if format == "svg" {
					return pcap.NewFlowSVG(out)
				}
				f := pcap.NewFlow(out)
				f.UI, f.Width = out.ui, out.width
				return f
			})
		},
	}
}

func pcapExportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "export",
		Usage: "write packets to a new capture, or a stream as a scenario that can be replayed",
		Description: describe(`Writes the chosen packets to a new capture in the format pcapng: out of TLS and WebSocket, without
			loss and retransmission, each stream on a connection of its own. With --anonymize, addresses, client ids, user names, passwords,
			topics, payloads and all other text are replaced, always the same by the same; packets that break the
			standard are then left out.

			The format scenario is a YAML file of what the client of one stream sent and what it was answered: mqlab scenario
			run replays it against any server.`,
			"mqlab pcap export --filter client=sensor-7 --output sensor.pcapng capture.pcapng",
			"mqlab pcap export --anonymize --output share.pcapng capture.pcapng",
			"mqlab pcap export --format scenario --filter stream=3 --output stream.yaml capture.pcapng"),
		ArgsUsage: "FILE...",
		Flags: append(pcapInput(), append(pcapChoice(), formatFlag("pcapng", "scenario"), outputFlag(),
			&cli.BoolFlag{Name: "anonymize", Usage: "replace everything that tells who spoke of what"})...),
		Action: func(c *cli.Context) error {
			format, err := oneOf("format", c.String("format"), "pcapng", "scenario")
			if err != nil {
				return err
			}
			if format == "scenario" {
				if c.Bool("anonymize") {
					return usagef("--anonymize works on captures: export an anonymized capture first, and a scenario of it then")
				}
				return e.exportScenario(c)
			}
			if c.String("output") == "" && e.isTTY {
				return usagef("a capture is nothing for a terminal; name a file by --output")
			}
			return e.exportCapture(c)
		},
	}
}

// exportCapture has its own way to the packets, since it has to know where streams end.
func (e *env) exportCapture(c *cli.Context) error {
	cfg, unread, err := pcapConfig(c)
	if err != nil {
		return err
	}
	filter, err := pcap.ParseFilter(c.String("filter"))
	if err != nil {
		return usagef("--filter: %w", err)
	}
	files, err := captureArgs(c)
	if err != nil {
		return err
	}
	var rerr error
	dropped := 0
	err = e.writeResult(c.String("output"), func(out output) error {
		x, err := pcap.NewExport(out)
		if err != nil {
			return err
		}
		if c.Bool("anonymize") {
			x.Anonymize = pcap.NewAnonymizer()
		}
		cfg.End = x.End
		cfg.Packet = upTo(c.Int("count"), filter, x.Packet)
		d := pcap.NewDissector(cfg)
		rerr = e.readCaptures(d, files)
		dropped = x.Dropped
		if errors.Is(rerr, errEnough) {
			rerr = nil
		} else {
			e.pcapRemarks(d.Summary(), unread)
		}
		return nil
	})
	if err == nil && dropped > 0 {
		fmt.Fprintf(e.stderr, "mqlab: %s left out, as bytes are missing or broken\n", plural(dropped, "packet"))
	}
	if err != nil {
		return err
	}
	return rerr
}

func (e *env) exportScenario(c *cli.Context) error {
	r := pcap.NewReplay()
	return e.pcapPackets(c, func(out output, _ bool) pcapSink { return &replaySink{Replay: r, out: out} })
}

// replaySink writes the scenario when all packets are there.
type replaySink struct {
	*pcap.Replay
	out output
	err error
}

func (s *replaySink) Packet(p *pcap.Packet) error {
	err := s.Replay.Packet(p)
	if errors.Is(err, pcap.ErrSeveral) {
		s.err = usagef("make a scenario: %w", err)
		return errEnough
	}
	return err
}

func (s *replaySink) Flush() error {
	if s.err != nil {
		return s.err
	}
	x, err := s.Exchange()
	if err != nil {
		return exitWith(exitNo, fmt.Errorf("make a scenario: %w", err))
	}
	text, err := x.Marshal()
	if err != nil {
		return err
	}
	_, err = s.out.Write(text)
	return err
}

func pcapLiveCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "live",
		Usage: "show MQTT on a network interface as it is spoken",
		Description: describe(`Shows every MQTT packet that passes the network interface INTERFACE until it is interrupted. It needs Linux
			and the right to open raw sockets, and no library. Elsewhere, and to see another machine, pipe a capture program into
			mqlab pcap -, as in tcpdump -U -i eth0 -w - tcp | mqlab pcap - here.`,
			"mqlab pcap live lo",
			"mqlab pcap live --filter type=connect --format json eth0"),
		ArgsUsage: "INTERFACE",
		Flags:     append(pcapInput(), append(pcapChoice(), timeFlag(), passwordsFlag(), formatFlag("text", "json", "csv"))...),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("pcap live needs the name of one INTERFACE, such as lo or eth0")
			}
			sink, err := e.pcapFormat(c)
			if err != nil {
				return err
			}
			cfg, unread, err := pcapConfig(c)
			if err != nil {
				return err
			}
			filter, err := pcap.ParseFilter(c.String("filter"))
			if err != nil {
				return usagef("--filter: %w", err)
			}
			s := sink(output{e.stdout, e.ui(), e.width}, true)
			cfg.Gap = s.Gap
			if unread.keys.Sessions() > 0 { // nothing else would tell that something is missing
				cfg.Unread = func(u *pcap.Unread) error {
					fmt.Fprintf(e.stderr, "mqlab: %s\n", u)
					return nil
				}
			}
			cfg.Packet = upTo(c.Int("count"), filter, s.Packet)
			d := pcap.NewDissector(cfg)
			if err := d.Live(e.ctx, c.Args().First(), nil); err != nil && !errors.Is(err, errEnough) {
				return err
			}
			if err := d.Close(); err != nil && !errors.Is(err, errEnough) {
				return err
			}
			if e.ctx.Err() != nil {
				return errStopped
			}
			return nil
		},
	}
}
