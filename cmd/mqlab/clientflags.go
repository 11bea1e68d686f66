package main

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/client/store"
	"github.com/mqlab/mqlab/codec"
)

// clientFlags are the flags of pub and sub, with the short names that users of other clients know.
func clientFlags() []cli.Flag {
	flags := targetFlags()
	for _, f := range flags {
		s, ok := f.(*cli.StringFlag)
		switch {
		case !ok:
		case s.Name == "target":
			s.Aliases = nil // -t is a topic
		case s.Name == "password":
			s.Aliases = []string{"P"}
		}
	}
	return append(flags,
		&cli.StringFlag{Name: "host", Aliases: []string{"h"}, Usage: "the broker's `HOST`, instead of --target"},
		&cli.StringFlag{Name: "port", Aliases: []string{"p"}, Usage: "the broker's `PORT`, with --host (default: 1883)"},
		&cli.StringFlag{Name: "mqtt", Aliases: []string{"V"}, Value: "5", Usage: "speak `VERSION` 3.1, 3.1.1 or 5"},
		&cli.StringFlag{Name: "id", Aliases: []string{"i"}, Usage: "use `ID` as the Client Identifier"},
		&cli.StringFlag{Name: "keep-alive", Aliases: []string{"k"}, Value: "30s", Usage: "let the connection be silent for `TIME` at most, such as 30 or 30s; 0 for ever"},
		&cli.BoolFlag{Name: "keep-session", Aliases: []string{"c"}, Usage: "let the broker keep the session; needs --id"},
		&cli.StringFlag{Name: "session-expiry", Usage: "let the broker keep the session for `TIME`, such as 24h"},
		&cli.StringFlag{Name: "store", Usage: "keep this side of the session in `FILE`, through crashes"},
		&cli.StringFlag{Name: "will-topic", Usage: "have a Will published to `TOPIC` if this client is lost"},
		&cli.StringFlag{Name: "will-payload", Usage: "the Will's payload is `TEXT`"},
		&cli.UintFlag{Name: "will-qos", Usage: "the Will's `QOS`"},
		&cli.BoolFlag{Name: "will-retain", Usage: "the Will is retained"},
		&cli.StringSliceFlag{Name: "user-property", Usage: "send the User Property `NAME=VALUE`"},
		&cli.UintFlag{Name: "qos", Aliases: []string{"q"}, Usage: "the `QOS`: 0, 1 or 2"},
	)
}

// duration reads a time as people write it to either kind of program: 30 is seconds, 1m30s what it says.
func duration(c *cli.Context, flag string) (time.Duration, error) {
	text := c.String(flag)
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return 0, usagef("--%s: %q is no time; write 30, 30s or 5m", flag, text)
	}
	return d, nil
}

func qosFlag(c *cli.Context, flag string) (codec.QoS, error) {
	q := c.Uint(flag)
	if q > 2 {
		return 0, usagef("--%s: %d is not 0, 1 or 2", flag, q)
	}
	return codec.QoS(q), nil
}

// userProperties reads NAME=VALUE pairs.
func userProperties(c *cli.Context) ([]client.UserProperty, error) {
	var out []client.UserProperty
	for _, text := range c.StringSlice("user-property") {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--user-property: %q has no =; write NAME=VALUE", text)
		}
		out = append(out, client.UserProperty{Name: name, Value: value})
	}
	return out, nil
}

// clientTarget is where pub and sub connect to: the address, or "" for the embedded broker.
func clientTarget(c *cli.Context) (target, error) {
	if c.IsSet("host") || c.IsSet("port") {
		if c.IsSet("target") {
			return target{}, usagef("--target is the whole address: leave out --host and --port")
		}
		host, port := c.String("host"), c.String("port")
		if host == "" {
			host = "localhost"
		}
		if port == "" {
			port = "1883"
		}
		return targetAt(c, "mqtt://"+net.JoinHostPort(host, port))
	}
	return targetFrom(c)
}

// clientConfig is what the flags say, with what has to be closed after the client.
func (e *env) clientConfig(c *cli.Context) (url string, cfg client.Config, closeAll func(), err error) {
	closeAll = func() {}
	t, err := clientTarget(c)
	if err != nil {
		return "", cfg, closeAll, err
	}
	version, ok := map[string]codec.Version{"3.1": codec.V31, "31": codec.V31, "3.1.1": codec.V4, "311": codec.V4, "5": codec.V5, "5.0": codec.V5}[c.String("mqtt")]
	if !ok {
		return "", cfg, closeAll, usagef("--mqtt: unknown MQTT version %q; known are 3.1, 3.1.1, 5", c.String("mqtt"))
	}
	cfg = client.Config{Version: version, ClientID: c.String("id"), Username: t.username, TLS: t.tls}
	if t.password != "" {
		cfg.Password = []byte(t.password)
	}
	if cfg.KeepAlive, err = duration(c, "keep-alive"); err != nil {
		return "", cfg, closeAll, err
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = -1
	}
	if cfg.SessionExpiry, err = duration(c, "session-expiry"); err != nil {
		return "", cfg, closeAll, err
	}
	if c.Bool("keep-session") && cfg.SessionExpiry == 0 {
		cfg.SessionExpiry = client.Forever
	}
	if cfg.SessionExpiry > 0 && cfg.ClientID == "" && c.String("store") == "" {
		return "", cfg, closeAll, usagef("a session that is kept needs a name to come back to: give --id")
	}
	if topic := c.String("will-topic"); topic != "" {
		q, err := qosFlag(c, "will-qos")
		if err != nil {
			return "", cfg, closeAll, err
		}
		cfg.Will = &codec.Will{Topic: topic, Payload: []byte(c.String("will-payload")), QoS: q, Retain: c.Bool("will-retain")}
	} else if c.IsSet("will-payload") || c.IsSet("will-qos") || c.IsSet("will-retain") {
		return "", cfg, closeAll, usagef("a Will needs a --will-topic")
	}
	props, err := userProperties(c)
	if err != nil {
		return "", cfg, closeAll, err
	}
	if len(props) > 0 && version != codec.V5 {
		return "", cfg, closeAll, usagef("--user-property needs MQTT 5")
	}
	if err := cfg.Validate(); err != nil {
		return "", cfg, closeAll, usagef("%s", oneSentence(err))
	}
	if path := c.String("store"); path != "" {
		s, err := store.Open(path)
		if err != nil {
			return "", cfg, closeAll, usagef("--store: %w", err)
		}
		cfg.Store, closeAll = s, func() { _ = s.Close() }
	}
	if t.url == "" {
		b := broker.New(broker.Config{SysInterval: time.Second})
		cfg.Dial = func(context.Context) (net.Conn, error) { return b.Dial() }
		before := closeAll
		closeAll = func() {
			_ = b.Close()
			before()
		}
		return "the embedded broker", cfg, closeAll, nil
	}
	return t.url, cfg, closeAll, nil
}

// clientError gives an error of the client its exit code: what the broker refuses is an answer.
func clientError(err error) error {
	if r, ok := errors.AsType[*client.RefusedError](err); ok && r.Packet != codec.TypeConnack && r.Packet != codec.TypeDisconnect ||
		errors.Is(err, client.ErrUnsupported) || errors.Is(err, client.ErrTooLarge) {
		return exitWith(exitNo, err)
	}
	return err
}

// readFile reads a file, "-" being standard input.
func (e *env) readInput(path string) ([]byte, error) {
	if path == "-" {
		return readAll(e.stdin)
	}
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return nil, usagef("read the payload: %w", err)
	}
	return b, nil
}
