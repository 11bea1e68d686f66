package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/internal/transport"
)

func brokerCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "broker",
		Usage: "run the in-memory broker",
		Description: describe(`Serves MQTT 3.1, 3.1.1 and 5.0 from memory until it is interrupted, and prints what it listens on. Every limit
			is announced to clients and enforced. SIGINT and SIGTERM end all sessions in order.`,
			"mqlab broker --listen mqtt://127.0.0.1:1883 --listen ws://127.0.0.1:8083/mqtt",
			"mqlab broker --listen mqtt://127.0.0.1:0 --max-qos 1 --log-level debug"),
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "listen", Usage: "listen on `URL`: mqtt:// mqtts:// ws:// wss:// unix://, port 0 for any free one; may be repeated (default: mqtt://127.0.0.1:1883)"},
			&cli.StringFlag{Name: "cert", Usage: "certificate chain of mqtts and wss in `FILE` (PEM)"},
			&cli.StringFlag{Name: "key", Usage: "private key of --cert in `FILE` (PEM)"},
			&cli.StringFlag{Name: "cafile", Usage: "ask clients for a certificate that an authority in `FILE` has signed (PEM)"},
			&cli.StringFlag{Name: "password-file", Usage: "admit only the accounts in `FILE`; mqlab broker passwd writes its lines"},
			&cli.IntFlag{Name: "max-qos", Value: 2, Usage: "highest `QOS` of a message: 0, 1 or 2"},
			&cli.BoolFlag{Name: "no-retain", Usage: "support no retained messages"},
			&cli.BoolFlag{Name: "no-wildcards", Usage: "support no wildcard subscriptions"},
			&cli.BoolFlag{Name: "no-shared", Usage: "support no shared subscriptions"},
			&cli.BoolFlag{Name: "no-subscription-ids", Usage: "support no subscription identifiers"},
			&cli.UintFlag{Name: "receive-maximum", Usage: "unacknowledged messages that a client may send (default: 65535)"},
			&cli.IntFlag{Name: "topic-alias-maximum", Usage: "highest topic alias that a client may use; -1 for none (default: 64)"},
			&cli.UintFlag{Name: "max-packet-size", Usage: "largest packet of a client in `BYTES` (default: what the protocol allows)"},
			&cli.DurationFlag{Name: "server-keep-alive", Usage: "the keep alive of every version 5 client, in whole seconds"},
			&cli.IntFlag{Name: "max-connections", Usage: "open connections at a time (default: no bound)"},
			&cli.IntFlag{Name: "queue-messages", Usage: "messages that wait for one session (default: 10000)"},
			&cli.DurationFlag{Name: "sys-interval", Value: 10 * time.Second, Usage: "publish statistics under $SYS/broker this often; 0 for never"},
			&cli.StringFlag{Name: "log-level", Value: "info", Usage: "say what happens at this `LEVEL` and above: debug, info, warn, error"},
		},
		Subcommands: []*cli.Command{passwdCommand(e)},
		Action: func(c *cli.Context) error {
			cfg, err := brokerConfig(e, c)
			if err != nil {
				return err
			}
			return serve(e, c, cfg)
		},
	}
}

func brokerConfig(e *env, c *cli.Context) (broker.Config, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return broker.Config{}, usagef("--log-level: unknown level %q; known are debug, info, warn, error", c.String("log-level"))
	}
	cfg := broker.Config{
		RetainUnavailable: c.Bool("no-retain"), WildcardUnavailable: c.Bool("no-wildcards"),
		SharedUnavailable: c.Bool("no-shared"), SubscriptionIDsUnavailable: c.Bool("no-subscription-ids"),
		TopicAliasMaximum: c.Int("topic-alias-maximum"), ServerKeepAlive: c.Duration("server-keep-alive"),
		MaxConnections: c.Int("max-connections"), QueueMessages: c.Int("queue-messages"), SysInterval: c.Duration("sys-interval"),
		Logger: slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level})),
	}
	switch c.Int("max-qos") {
	case 0:
		cfg.MaximumQoS = broker.UpToQoS0
	case 1:
		cfg.MaximumQoS = broker.UpToQoS1
	case 2:
	default:
		return cfg, usagef("--max-qos: %d is not 0, 1 or 2", c.Int("max-qos"))
	}
	if n := c.Uint("receive-maximum"); n > 65535 {
		return cfg, usagef("--receive-maximum: %d is above 65535", n)
	} else {
		cfg.ReceiveMaximum = uint16(n)
	}
	if n := c.Uint("max-packet-size"); n > 1<<32-1 {
		return cfg, usagef("--max-packet-size: %d does not fit 32 bits", n)
	} else {
		cfg.MaximumPacketSize = uint32(n)
	}
	if cert := c.String("cert"); cert != "" {
		cfg.TLS = &transport.TLS{CertFile: cert, KeyFile: c.String("key"), CAFile: c.String("cafile")}
	}
	if file := c.String("password-file"); file != "" {
		f, err := os.Open(file)
		if err != nil {
			return cfg, usagef("--password-file: %w", err)
		}
		defer f.Close()
		p, err := broker.ReadPasswords(f)
		if err != nil {
			return cfg, usagef("--password-file %s: %w", file, err)
		}
		cfg.Authenticate = p.Authenticate
	}
	if err := cfg.Validate(); err != nil {
		return cfg, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return cfg, nil
}

// serve runs the broker until the user stops it, which is its normal end.
func serve(e *env, c *cli.Context, cfg broker.Config) error {
	urls := c.StringSlice("listen")
	if len(urls) == 0 {
		urls = []string{"mqtt://127.0.0.1:1883"}
	}
	b := broker.New(cfg)
	defer b.Close()
	for _, u := range urls {
		l, err := b.Listen(u)
		if err != nil {
			return fmt.Errorf("--listen: %w", err)
		}
		fmt.Fprintf(e.stdout, "listening on %s\n", l.URL())
	}
	<-e.ctx.Done()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.ctx), 5*time.Second)
	defer cancel()
	if err := b.Shutdown(ctx); err != nil {
		return err
	}
	return errStopped
}

func passwdCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "passwd",
		Usage: "write an account for a password file",
		Description: describe(`Reads a password from the first line of standard input and writes the line that --password-file needs to
			admit USER with it. The password itself is not kept, only its salted PBKDF2 hash.`,
			"mqlab broker passwd alice",
			"mqlab broker passwd --iterations 10000 bob"),
		ArgsUsage: "USER",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "iterations", Value: broker.DefaultIterations, Usage: "work factor of the hash; lower where thousands log in at once"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usagef("broker passwd needs the name of one USER")
			}
			in := bufio.NewScanner(e.stdin)
			if !in.Scan() {
				return usagef("broker passwd reads the password from standard input, and there is none")
			}
			line, err := broker.HashPassword(c.Args().First(), in.Text(), c.Int("iterations"))
			if err != nil {
				return usagef("%w", err)
			}
			fmt.Fprintln(e.stdout, line)
			return nil
		},
	}
}
