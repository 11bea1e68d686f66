package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/codec"
)

func pubCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "pub",
		Usage: "publish messages",
		Description: describe(`Publishes a message, or each line of standard input, and ends when the broker has acknowledged all of
			it as the QoS demands. A connection that breaks is made again. With --store what was accepted outlives a crash and is
			sent by the next run with the same store. Without --target the embedded broker takes the messages.

			Exit code 1 says that the broker refused a message, 3 that it could not be reached in time.`,
			"mqlab pub -t lamp/7 -m on -q 1 --target mqtt://127.0.0.1:1883",
			"mqlab pub -t lamp/7 --null -r",
			"mqlab pub -t sensor/1 -m 21.5 --repeat 3 --every 100ms --property content-type=text/plain --property message-expiry=60"),
		Flags: append(clientFlags(),
			&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Required: true, Usage: "publish to `TOPIC`"},
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "the payload is `TEXT`"},
			&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Usage: "the payload is what `FILE` holds; - for standard input"},
			&cli.BoolFlag{Name: "stdin-file", Aliases: []string{"s"}, Usage: "the payload is all of standard input"},
			&cli.BoolFlag{Name: "lines", Aliases: []string{"l"}, Usage: "publish each line of standard input"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"n"}, Usage: "publish an empty payload; with -r it clears a retained message"},
			&cli.BoolFlag{Name: "retain", Aliases: []string{"r"}, Usage: "let the broker keep the message for later subscribers"},
			&cli.StringSliceFlag{Name: "property", Aliases: []string{"D"}, Usage: "set a property of the message, `NAME=VALUE`: " + strings.Join(slices.Sorted(maps.Keys(publishProperties)), ", ")},
			&cli.UintFlag{Name: "repeat", Value: 1, Usage: "publish `N` times"},
			&cli.StringFlag{Name: "every", Usage: "pause for `TIME` between repetitions, such as 500ms"},
			&cli.StringFlag{Name: "timeout", Value: "30s", Usage: "wait for acknowledgements for `TIME` at most"},
		),
		Action: func(c *cli.Context) error { return publishAll(e, c) },
	}
}

// publishProperties are the properties that --property sets.
var publishProperties = map[string]codec.PropID{
	"content-type": codec.PropContentType, "correlation-data": codec.PropCorrelationData, "message-expiry": codec.PropMessageExpiry,
	"payload-format": codec.PropPayloadFormat, "response-topic": codec.PropResponseTopic,
}

// pubMessage is the message that the flags describe, without its payload.
func pubMessage(c *cli.Context) (client.Message, error) {
	m := client.Message{Topic: c.String("topic"), Retain: c.Bool("retain")}
	var err error
	if m.QoS, err = qosFlag(c, "qos"); err != nil {
		return m, err
	}
	if !codec.ValidTopicName(m.Topic) {
		return m, usagef("--topic: %q is no topic to publish to: it must not be empty or hold + or #", m.Topic)
	}
	users, err := userProperties(c)
	if err != nil {
		return m, err
	}
	for _, u := range users {
		m.Props.AddUser(u.Name, u.Value)
	}
	for _, text := range c.StringSlice("property") {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return m, usagef("--property: %q has no =; write NAME=VALUE", text)
		}
		if name, err = oneOf("property", name, slices.Sorted(maps.Keys(publishProperties))...); err != nil {
			return m, err
		}
		switch id := publishProperties[name]; id.Info().Kind {
		case codec.KindString:
			m.Props.SetText(id, value)
		case codec.KindBinary:
			data := []byte(value)
			if digits, ok := strings.CutPrefix(value, "0x"); ok {
				if data, err = hex.DecodeString(digits); err != nil {
					return m, usagef("--property %s: %w", name, err)
				}
			}
			m.Props.SetBytes(id, data)
		default:
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return m, usagef("--property %s: %q is no number", name, value)
			}
			m.Props.SetUint(id, uint32(n))
		}
	}
	if !m.Props.Empty() && strings.HasPrefix(c.String("mqtt"), "3") {
		return m, usagef("properties need MQTT 5")
	}
	return m, nil
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return b, nil
}

func publishAll(e *env, c *cli.Context) error {
	m, err := pubMessage(c)
	if err != nil {
		return err
	}
	sources := 0
	for _, f := range []string{"message", "file", "stdin-file", "lines", "null"} {
		if c.IsSet(f) {
			sources++
		}
	}
	if sources != 1 {
		return usagef("pub needs one of -m TEXT, -f FILE, -s, -l and --null, and here are %d", sources)
	}
	every, err := duration(c, "every")
	if err != nil {
		return err
	}
	timeout, err := duration(c, "timeout")
	if err != nil {
		return err
	}
	switch {
	case c.IsSet("message"):
		m.Payload = []byte(c.String("message"))
	case c.IsSet("file"):
		m.Payload, err = e.readInput(c.String("file"))
	case c.Bool("stdin-file"):
		m.Payload, err = readAll(e.stdin)
	}
	if err != nil {
		return err
	}
	url, cfg, closeAll, err := e.clientConfig(c)
	if err != nil {
		return err
	}
	defer closeAll()
	cfg.ConnectTimeout = timeout
	cfg.Offline = cfg.Store != nil && m.QoS > 0
	cl, err := client.Connect(e.ctx, url, cfg)
	if err != nil {
		return err
	}
	defer cl.Close()

	p := &publisher{ctx: e.ctx, client: cl, timeout: timeout, window: make(chan struct{}, 100), failed: make(chan struct{})}
	if c.Bool("lines") {
		lines, end := readLines(e.ctx, e.stdin)
		for line := range lines {
			m.Payload = line
			if err = p.publish(m); err != nil {
				break
			}
		}
		if err == nil {
			err = end()
		}
	} else {
		for i := range c.Uint("repeat") {
			if i > 0 && every > 0 {
				select {
				case <-time.After(every):
				case <-e.ctx.Done():
				}
			}
			if err = p.publish(m); err != nil || e.ctx.Err() != nil {
				break
			}
		}
	}
	if err == nil {
		err = p.finish()
	}
	if err == nil && e.ctx.Err() != nil {
		return e.ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		n := cl.Stats().Pending
		if cfg.Store != nil {
			return fmt.Errorf("%d messages are not acknowledged within %s; they are kept in %s for the next run with this store", n, timeout, c.String("store"))
		}
		return fmt.Errorf("%d messages are not acknowledged within %s", n, timeout)
	}
	return clientError(err)
}

// readLines reads lines in the background, so that an interrupt need not wait for one. end says what ended it.
func readLines(ctx context.Context, r io.Reader) (lines <-chan []byte, end func() error) {
	ch := make(chan []byte)
	read := make(chan []byte)
	var rerr error
	go func() { // ends with its input, or with the program
		defer close(read)
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadBytes('\n')
			if len(line) > 0 {
				select {
				case read <- bytes.TrimRight(line, "\r\n"):
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					rerr = fmt.Errorf("read standard input: %w", err)
				}
				return
			}
		}
	}()
	go func() {
		defer close(ch)
		for {
			select {
			case line, ok := <-read:
				if !ok {
					return
				}
				select {
				case ch <- line:
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, func() error {
		if ctx.Err() != nil {
			return nil
		}
		return rerr
	}
}

// publisher publishes ahead of the acknowledgements, within a window.
type publisher struct {
	ctx     context.Context
	client  *client.Client
	timeout time.Duration
	window  chan struct{}
	failed  chan struct{} // closed with the first failure, which err holds
	once    sync.Once
	err     error
}

func (p *publisher) publish(m client.Message) error {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	defer cancel()
	select {
	case <-p.failed:
		return p.err
	case p.window <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var t *client.Token
	for {
		var err error
		if t, err = p.client.PublishAsync(ctx, m); err == nil {
			break
		}
		if !errors.Is(err, client.ErrOffline) {
			return err
		}
		select { // a QoS 0 message waits here for the next connection
		case <-time.After(50 * time.Millisecond):
		case <-p.client.Done():
			return p.client.Err()
		case <-ctx.Done():
			return err
		}
	}
	go func() {
		<-t.Done()
		if err := t.Err(); err != nil {
			p.once.Do(func() {
				p.err = err
				close(p.failed)
			})
		}
		<-p.window
	}()
	return nil
}

// finish waits for all acknowledgements and says farewell.
func (p *publisher) finish() error {
	ctx, cancel := context.WithTimeout(p.ctx, p.timeout)
	defer cancel()
	for range cap(p.window) {
		select {
		case p.window <- struct{}{}:
		case <-p.failed:
			return p.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case <-p.failed:
		return p.err
	default:
	}
	return p.client.Disconnect(ctx)
}
