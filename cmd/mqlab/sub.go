package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/charmbracelet/x/term"
	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

func subCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "sub",
		Usage: "subscribe, and print what arrives",
		Description: describe(`Subscribes to topics and prints each message on a line, until it is interrupted, q and Enter are typed, or what -C
			or -W says has come. A message is acknowledged when it has been printed. A connection that breaks is made again. With --id and -c
			the broker keeps messages of QoS 1 and 2 for the next run.

			--format takes text, json (one object a line), hex, or a line of its own with %t topic, %p payload, %x payload in hexadecimal, %l its length, %q QoS, %r retain flag,
			%d duplicate flag, %I time, %U seconds, %C content type, %R response topic, %D correlation data, %E message expiry, %P user properties, %j all as JSON, %% a percent
			sign; \n and \t are a line break and a tab. Exit code 1 says that fewer than -C messages came within -W, or that the broker refused a subscription.`,
			"mqlab sub -t 'lamp/#' -v --target mqtt://127.0.0.1:1883",
			"mqlab sub -t 'sensor/+' -q 1 -i desk -c -C 10 -W 60 --format json --target mqtt://127.0.0.1:1883",
			"mqlab sub -t '$SYS/broker/+' -C 1 -W 10 --format '%t %l'"),
		Flags: append(clientFlags(),
			&cli.StringSliceFlag{Name: "topic", Aliases: []string{"t"}, Required: true, Usage: "subscribe to the Topic Filter `TOPIC`"},
			&cli.StringSliceFlag{Name: "filter-out", Aliases: []string{"T"}, Usage: "do not print messages whose topic `TOPIC` matches"},
			&cli.UintFlag{Name: "count", Aliases: []string{"C"}, Usage: "end after `N` messages"},
			&cli.StringFlag{Name: "wait", Aliases: []string{"W"}, Usage: "end after `TIME`, such as 10 or 10s"},
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "print the topic before the payload"},
			&cli.StringFlag{Name: "format", Aliases: []string{"F"}, Value: "text", Usage: "print messages as `FORMAT`: text, json, hex, or a line with % signs"},
			&cli.BoolFlag{Name: "retained-only", Usage: "print retained messages alone, and end when the broker has sent them"},
			&cli.BoolFlag{Name: "no-retained", Aliases: []string{"R"}, Usage: "do not print messages that were retained before the subscription"},
			&cli.BoolFlag{Name: "remove-retained", Usage: "clear each retained message that arrives"},
			&cli.BoolFlag{Name: "no-local", Usage: "do not receive what this client publishes"},
			&cli.BoolFlag{Name: "retain-as-published", Usage: "keep the retain flag of live messages"},
			&cli.UintFlag{Name: "retain-handling", Usage: "0: send retained messages; 1: only for a new subscription; 2: never"},
		),
		Action: func(c *cli.Context) error { return subscribeAll(e, c) },
	}
}

func subscribeAll(e *env, c *cli.Context) error {
	q, err := qosFlag(c, "qos")
	if err != nil {
		return err
	}
	wait, err := duration(c, "wait")
	if err != nil {
		return err
	}
	print, err := formatter(c.String("format"), c.Bool("verbose"))
	if err != nil {
		return err
	}
	if c.Bool("retained-only") && c.Bool("no-retained") {
		return usagef("--retained-only and --no-retained leave nothing to print")
	}
	options := c.Bool("no-local") || c.Bool("retain-as-published") || c.IsSet("retain-handling")
	if options && strings.HasPrefix(c.String("mqtt"), "3") {
		return usagef("--no-local, --retain-as-published and --retain-handling need MQTT 5")
	}
	if c.Uint("retain-handling") > 2 {
		return usagef("--retain-handling: %d is not 0, 1 or 2", c.Uint("retain-handling"))
	}
	var subs []client.Subscription
	for _, f := range append(c.StringSlice("topic"), c.StringSlice("filter-out")...) {
		if !codec.ValidTopicFilter(f) {
			return usagef("%q is no Topic Filter: + fills a whole level, and # stands alone at the end", f)
		}
	}
	for _, f := range c.StringSlice("topic") {
		subs = append(subs, client.Subscription{
			Filter: f, QoS: q, NoLocal: c.Bool("no-local"), RetainAsPublished: c.Bool("retain-as-published"), RetainHandling: uint8(c.Uint("retain-handling")),
		})
	}
	url, cfg, closeAll, err := e.clientConfig(c)
	if err != nil {
		return err
	}
	defer closeAll()
	cfg.ManualAck = true
	if cfg.UserProperties, err = userProperties(c); err != nil {
		return err
	}
	cl, err := client.Connect(e.ctx, url, cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	messages := cl.Messages()

	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	if wait > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, wait)
		defer stop()
	}
	e.stopOnQ(cancel)
	s := &subscriber{env: e, cli: c, client: cl, print: print}
	asked := make(chan error, 1)
	go func() {
		_, err := cl.Subscribe(ctx, nil, subs...)
		asked <- err
	}()
	err = s.receive(ctx, messages, asked)
	bye, done := context.WithTimeout(context.WithoutCancel(e.ctx), 2*time.Second)
	defer done()
	_ = cl.Disconnect(bye)
	return err
}

// stopOnQ ends a command when q and Enter are typed on a terminal.
func (e *env) stopOnQ(stop func()) {
	f, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(f.Fd()) {
		return
	}
	go func() { // ends with the program
		in := bufio.NewScanner(f)
		for in.Scan() {
			if strings.TrimSpace(in.Text()) == "q" {
				stop()
				return
			}
		}
	}()
}

// subscriber prints messages.
type subscriber struct {
	env     *env
	cli     *cli.Context
	client  *client.Client
	print   func(*client.Message, time.Time) []byte
	printed uint
}

func (s *subscriber) receive(ctx context.Context, messages <-chan *client.Message, asked <-chan error) error {
	count := s.cli.Uint("count")
	for {
		select {
		case err := <-asked:
			asked = nil
			if err != nil && ctx.Err() == nil {
				return clientError(err)
			}
			if s.cli.Bool("retained-only") && err == nil {
				// Retained messages are on their way when SUBACK comes; PINGRESP may overtake none of them.
				settle, stop := context.WithTimeout(ctx, time.Second)
				defer stop()
				ctx, count = settle, max(count, 1<<31)
			}
		case m, ok := <-messages:
			if !ok {
				return s.client.Err()
			}
			if err := s.take(m); err != nil {
				return err
			}
			if s.printed >= count && count > 0 {
				return nil
			}
		case <-s.client.Done():
			return s.client.Err()
		case <-ctx.Done():
			if s.cli.Bool("retained-only") {
				return s.ended(nil)
			}
			if count > 0 && s.printed < count && s.env.ctx.Err() == nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return exitWith(exitNo, fmt.Errorf("%d of %d messages came within %s", s.printed, count, s.cli.String("wait")))
			}
			return s.ended(nil)
		}
	}
}

// ended is the result when the user or the time given ended it, which is as it should be.
func (s *subscriber) ended(err error) error {
	if s.env.ctx.Err() != nil {
		return errStopped
	}
	return err
}

// take prints a message, and acknowledges it when that is done.
func (s *subscriber) take(m *client.Message) error {
	now := time.Now()
	c := s.cli
	if c.Bool("remove-retained") && m.Retain {
		if err := s.client.Publish(s.env.ctx, client.Message{Topic: m.Topic, QoS: min(m.QoS, 1), Retain: true}); err != nil {
			return clientError(fmt.Errorf("remove the retained message: %w", err))
		}
	}
	shown := !(c.Bool("no-retained") && m.Retain || c.Bool("retained-only") && !m.Retain)
	for _, f := range c.StringSlice("filter-out") {
		shown = shown && !topic.Match(f, m.Topic)
	}
	if shown {
		if _, err := s.env.stdout.Write(s.print(m, now)); err != nil {
			return fmt.Errorf("write to standard output: %w", err)
		}
		s.printed++
	}
	m.Ack()
	return nil
}

// formatter returns how a message is printed.
func formatter(format string, verbose bool) (func(*client.Message, time.Time) []byte, error) {
	line := ""
	switch {
	case strings.Contains(format, "%"):
		line = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(format) + "\n"
	default:
		name, err := oneOf("format", format, "text", "json", "hex")
		if err != nil {
			return nil, err
		}
		line = map[string]string{"text": "%p\n", "json": "%j\n", "hex": "%x\n"}[name]
		if verbose && name != "json" {
			line = "%t " + line
		}
	}
	for i := 0; i < len(line); i++ {
		if line[i] != '%' {
			continue
		}
		if i++; i == len(line)-1 || !strings.ContainsRune("tpxXlqrdIUCRDEPj%", rune(line[i])) {
			return nil, usagef("--format: unknown %%%s; mqlab sub --help lists what there is", strings.TrimSpace(line[i:i+1]))
		}
	}
	return func(m *client.Message, at time.Time) []byte {
		var b []byte
		for i := 0; i < len(line); i++ {
			if line[i] != '%' {
				b = append(b, line[i])
				continue
			}
			i++
			b = appendField(b, line[i], m, at)
		}
		return b
	}, nil
}

func appendField(b []byte, field byte, m *client.Message, at time.Time) []byte {
	bit := func(v bool) byte {
		if v {
			return '1'
		}
		return '0'
	}
	switch field {
	case 't':
		return append(b, m.Topic...)
	case 'p':
		return append(b, m.Payload...)
	case 'x', 'X':
		text := hex.EncodeToString(m.Payload)
		if field == 'X' {
			text = strings.ToUpper(text)
		}
		return append(b, text...)
	case 'l':
		return strconv.AppendInt(b, int64(len(m.Payload)), 10)
	case 'q':
		return strconv.AppendInt(b, int64(m.QoS), 10)
	case 'r':
		return append(b, bit(m.Retain))
	case 'd':
		return append(b, bit(m.Dup))
	case 'I':
		return at.AppendFormat(b, time.RFC3339Nano)
	case 'U':
		return fmt.Appendf(b, "%d.%09d", at.Unix(), at.Nanosecond())
	case 'C':
		return append(b, m.Props.Text(codec.PropContentType)...)
	case 'R':
		return append(b, m.Props.Text(codec.PropResponseTopic)...)
	case 'D':
		return append(b, m.Props.Bytes(codec.PropCorrelationData)...)
	case 'E':
		if m.Props.Has(codec.PropMessageExpiry) {
			b = strconv.AppendUint(b, uint64(m.Props.Uint(codec.PropMessageExpiry, 0)), 10)
		}
		return b
	case 'P':
		sep := ""
		for k, v := range m.Props.UserProperties() {
			b = append(b, sep+k+"="+v...)
			sep = " "
		}
		return b
	case 'j':
		return appendJSON(b, m, at)
	}
	return append(b, '%')
}

// jsonMessage is a message as JSON. A payload that is no text is in base64.
type jsonMessage struct {
	At             time.Time    `json:"at"`
	Topic          string       `json:"topic"`
	QoS            codec.QoS    `json:"qos"`
	Retain         bool         `json:"retain"`
	Dup            bool         `json:"dup"`
	Payload        *string      `json:"payload,omitempty"`
	PayloadBase64  string       `json:"payload_base64,omitempty"`
	ContentType    string       `json:"content_type,omitempty"`
	ResponseTopic  string       `json:"response_topic,omitempty"`
	Correlation    string       `json:"correlation_data_base64,omitempty"`
	MessageExpiry  *uint32      `json:"message_expiry_s,omitempty"`
	PayloadFormat  *uint32      `json:"payload_format,omitempty"`
	UserProperties []jsonOption `json:"user_properties,omitempty"`
}

type jsonOption struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func appendJSON(b []byte, m *client.Message, at time.Time) []byte {
	p := &m.Props
	j := jsonMessage{
		At: at, Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, Dup: m.Dup,
		ContentType: p.Text(codec.PropContentType), ResponseTopic: p.Text(codec.PropResponseTopic),
		Correlation: base64.StdEncoding.EncodeToString(p.Bytes(codec.PropCorrelationData)),
	}
	if utf8.Valid(m.Payload) {
		text := string(m.Payload)
		j.Payload = &text
	} else {
		j.PayloadBase64 = base64.StdEncoding.EncodeToString(m.Payload)
	}
	for id, to := range map[codec.PropID]**uint32{codec.PropMessageExpiry: &j.MessageExpiry, codec.PropPayloadFormat: &j.PayloadFormat} {
		if p.Has(id) {
			n := p.Uint(id, 0)
			*to = &n
		}
	}
	for k, v := range p.UserProperties() {
		j.UserProperties = append(j.UserProperties, jsonOption{k, v})
	}
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(j); err != nil {
		return append(b, err.Error()...)
	}
	return append(b, strings.TrimSuffix(text.String(), "\n")...)
}
