package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/pcap"
)

func pcapCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "pcap",
		Usage: "find MQTT in network captures, and show what was said",
		Description: describe(`Shows every MQTT packet of the captures, one on a line. FILE is a capture in the format pcap or pcapng, which
			may be compressed by gzip or zstd, or - for standard input. Several files are read as one, in the order given. MQTT is
			found on any port by its bytes, also inside WebSocket, and inside TLS where --keylog or the capture holds the keys.`,
			"mqlab pcap capture.pcapng",
			"mqlab pcap --filter 'type=publish topic=site/#' --time absolute capture.pcap.gz",
			"mqlab pcap --format json capture.pcap"),
		ArgsUsage: "FILE...",
		Flags:     append(pcapInput(), append(pcapChoice(), timeFlag(), passwordsFlag(), formatFlag("text", "json", "csv"), outputFlag())...),
		Subcommands: []*cli.Command{
			pcapTreeCommand(e), pcapStatsCommand(e), pcapFlowCommand(e), pcapLintCommand(e), pcapExportCommand(e), pcapLiveCommand(e),
		},
		Action: func(c *cli.Context) error {
			sink, err := e.pcapFormat(c)
			if err != nil {
				return err
			}
			return e.pcapPackets(c, sink)
		},
	}
}

// pcapFormat returns the maker of the sink that the flags ask for.
func (e *env) pcapFormat(c *cli.Context) (func(out output, prompt bool) pcapSink, error) {
	format, err := oneOf("format", c.String("format"), "text", "json", "csv")
	if err != nil {
		return nil, err
	}
	style, err := timeStyle(c)
	if err != nil {
		return nil, err
	}
	return func(out output, prompt bool) pcapSink {
		switch format {
		case "json":
			j := pcap.NewJSON(out)
			j.Passwords, j.Files, j.Prompt = c.Bool("passwords"), c.NArg() > 1, prompt
			return j
		case "csv":
			s := pcap.NewCSV(out)
			s.Prompt = prompt
			return s
		}
		l := pcap.NewList(out)
		l.Time, l.UI, l.Width, l.Prompt = style, out.ui, out.width, prompt
		return l
	}, nil
}

func pcapTreeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "tree",
		Usage: "show every field of the packets with its bytes",
		Description: describe(`Shows each packet field by field: where it stands, its bytes, and what they mean, with the names of
			properties and reason codes. What a packet does against the standard stands below it, with the id of the rule.`,
			"mqlab pcap tree -n 3 capture.pcap",
			"mqlab pcap tree --filter 'type=connect client=sensor-*' capture.pcap"),
		ArgsUsage: "FILE...",
		Flags:     append(pcapInput(), append(pcapChoice(), passwordsFlag(), outputFlag())...),
		Action: func(c *cli.Context) error {
			return e.pcapPackets(c, func(out output, _ bool) pcapSink {
				t := pcap.NewTree(out)
				t.UI, t.Passwords = out.ui, c.Bool("passwords")
				return t
			})
		},
	}
}

// pcapInput are the flags of every command that reads captures.
func pcapInput() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "port", Usage: "take TCP `PORT` for MQTT, WebSocket or TLS without looking at the first bytes; several are separated by commas"},
		&cli.StringFlag{Name: "keylog", Usage: "decrypt TLS with the secrets in `FILE`, as SSLKEYLOGFILE makes them"},
	}
}

// pcapChoice are the flags that choose among the packets.
func pcapChoice() []cli.Flag {
	var words []string
	for _, k := range pcap.FilterKeys() {
		words = append(words, k[0])
	}
	return []cli.Flag{
		&cli.StringFlag{Name: "filter", Usage: "only packets that meet all `CONDITIONS`, as in 'type=publish,puback topic=a/# qos!=0'; known are " + strings.Join(words, ", ")},
		&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "stop after `N` packets (default: all)"},
	}
}

func timeFlag() cli.Flag {
	return &cli.StringFlag{Name: "time", Value: "relative", Usage: "write times as `STYLE`: relative, absolute (UTC), delta"}
}

func passwordsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "passwords", Usage: "show passwords; otherwise only their length is shown"}
}

func timeStyle(c *cli.Context) (pcap.TimeStyle, error) {
	word, err := oneOf("time", c.String("time"), "relative", "absolute", "delta")
	switch word {
	case "absolute":
		return pcap.TimeAbsolute, err
	case "delta":
		return pcap.TimeDelta, err
	}
	return pcap.TimeRelative, err
}

// pcapSink takes in what a capture holds and writes it.
type pcapSink interface {
	Packet(*pcap.Packet) error
	Gap(*pcap.Gap) error
	Flush() error
}

// errEnough ends the reading of a capture when everything that was asked for is there.
var errEnough = errors.New("enough")

// upTo hands on the first n packets that the filter lets pass, all of them when n is 0.
func upTo(n int, filter pcap.Filter, sink func(*pcap.Packet) error) func(*pcap.Packet) error {
	return func(p *pcap.Packet) error {
		if !filter.Match(p) {
			return nil
		}
		if err := sink(p); err != nil {
			return err
		}
		if n--; n == 0 {
			return errEnough
		}
		return nil
	}
}

// pcapPackets writes the chosen packets of the captures by a sink.
func (e *env) pcapPackets(c *cli.Context, sink func(out output, prompt bool) pcapSink) error {
	cfg, unread, err := pcapConfig(c)
	if err != nil {
		return err
	}
	filter, err := pcap.ParseFilter(c.String("filter"))
	if err != nil {
		return usagef("--filter: %w", err)
	}
	if c.Int("count") < 0 {
		return usagef("--count: %d is below 0", c.Int("count"))
	}
	files, err := captureArgs(c)
	if err != nil {
		return err
	}
	prompt := len(files) == 1 && files[0] == "-"
	write := e.writeResult
	if prompt && c.String("output") == "" {
		write = e.writePrompt
	}
	return write(c.String("output"), func(out output) error {
		s := sink(out, prompt)
		flush := s.Flush
		cfg.Packet = upTo(c.Int("count"), filter, s.Packet)
		if c.String("filter") == "" {
			cfg.Gap = s.Gap
		}
		// What is chosen needs to be decoded first, and what a person waits for does not wait for others.
		if lines, ok := s.(pcap.Lines); ok && c.String("filter") == "" && c.Int("count") == 0 && !prompt && !out.ui.Color() {
			if n := runtime.GOMAXPROCS(0); n > 1 {
				p := pcap.NewParallel(lines, n)
				p.Attach(&cfg)
				flush = p.Flush
			}
		}
		d := pcap.NewDissector(cfg)
		err := e.readCaptures(d, files)
		if ferr := flush(); ferr != nil && (err == nil || errors.Is(err, errEnough)) {
			return ferr
		}
		if errors.Is(err, errEnough) {
			return nil
		}
		if err == nil || d.Summary().Frames > 0 { // else the error says it all
			e.pcapRemarks(d.Summary(), unread)
		}
		return err
	})
}

// writePrompt is writeResult for output that has to appear while it comes into being.
func (e *env) writePrompt(_ string, write func(output) error) error {
	return write(output{e.stdout, e.ui(), e.width})
}

// unreadStreams are those of TLS that could not be read, the first of them in words.
type unreadStreams struct {
	shown []string
	count int
	keys  *pcap.KeyLog
}

// maxUnread is how many streams are named that could not be read.
const maxUnread = 10

func (u *unreadStreams) add(s *pcap.Unread) error {
	if u.count++; len(u.shown) < maxUnread {
		u.shown = append(u.shown, s.String())
	}
	return nil
}

func pcapConfig(c *cli.Context) (pcap.Config, *unreadStreams, error) {
	cfg := pcap.Config{Keys: new(pcap.KeyLog)}
	unread := &unreadStreams{keys: cfg.Keys}
	cfg.Unread = unread.add
	for _, list := range c.StringSlice("port") {
		for word := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseUint(strings.TrimSpace(word), 10, 16)
			if err != nil || n == 0 {
				return cfg, nil, usagef("--port: %q is no TCP port, which is a number from 1 to 65535", word)
			}
			cfg.Ports = append(cfg.Ports, uint16(n))
		}
	}
	if name := c.String("keylog"); name != "" {
		text, err := os.ReadFile(name)
		if err != nil {
			return cfg, nil, usagef("--keylog: %w", err)
		}
		cfg.Keys.Add(text)
	}
	return cfg, unread, nil
}

func captureArgs(c *cli.Context) ([]string, error) {
	files := c.Args().Slice()
	if len(files) == 0 {
		return nil, usagef("%s needs a FILE, or - for standard input; %s --help says more", c.Command.FullName(), c.Command.FullName())
	}
	for _, name := range files {
		if name == "-" {
			continue
		}
		if info, err := os.Stat(name); err != nil {
			return nil, usagef("open the capture: %w", err)
		} else if info.IsDir() {
			return nil, usagef("open the capture: %s is a folder", name)
		}
	}
	return files, nil
}

// readCaptures reads the files one after the other and ends every stream. What is in front of damage
// has been passed on when the error says that a capture is damaged.
func (e *env) readCaptures(d *pcap.Dissector, files []string) error {
	var damage error
	for _, name := range files {
		err := e.readCapture(d, name)
		switch {
		case errors.Is(err, pcap.ErrFormat):
			return usagef("%s: %w", name, err)
		case errors.Is(err, pcap.ErrDamaged):
			if damage == nil {
				damage = exitWith(exitNo, fmt.Errorf("%s: %w; everything before it is shown", name, err))
			}
		case err != nil:
			if e.ctx.Err() != nil {
				if cerr := d.Close(); cerr != nil {
					return cerr
				}
			}
			return err
		}
	}
	if err := d.Close(); err != nil {
		return err
	}
	return damage
}

func (e *env) readCapture(d *pcap.Dissector, name string) error {
	if name == "-" {
		return d.Read(e.interruptible(e.stdin))
	}
	f, err := os.Open(name)
	if err != nil {
		return usagef("open the capture: %w", err)
	}
	defer f.Close()
	return d.Read(stopReader{e.ctx, f})
}

// stopReader reads until the user interrupts.
type stopReader struct {
	ctx context.Context
	r   io.Reader
}

func (s stopReader) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}

// interruptible makes a read that waits for input end when the user interrupts. The goroutine behind
// it ends with the input, or with the program.
func (e *env) interruptible(r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		buf := make([]byte, 256<<10)
		for {
			n, err := r.Read(buf)
			if n > 0 {
				if _, werr := pw.Write(buf[:n]); werr != nil {
					return
				}
			}
			if err != nil {
				_ = pw.CloseWithError(err)
				return
			}
		}
	}()
	context.AfterFunc(e.ctx, func() { _ = pr.CloseWithError(e.ctx.Err()) })
	return pr
}

// pcapRemarks says what a reader of the result should know and does not see there.
func (e *env) pcapRemarks(s pcap.Summary, unread *unreadStreams) {
	if s.MQTT == 0 {
		fmt.Fprintf(e.stderr, "mqlab: no MQTT in %s frames with %s TCP streams; --port N takes a port for MQTT all the same\n",
			ui.Count(s.Frames), ui.Count(int64(s.Streams)))
	}
	switch {
	case unread.count == 0:
	case unread.keys.Sessions() == 0: // a capture of somebody's browser has hundreds, and nothing else to tell of them
		fmt.Fprintf(e.stderr, "mqlab: %s of TLS could not be read; --keylog FILE gives the secrets\n", streams(unread.count))
	default:
		for _, text := range unread.shown {
			fmt.Fprintf(e.stderr, "mqlab: %s\n", text)
		}
		if n := unread.count - len(unread.shown); n > 0 {
			fmt.Fprintf(e.stderr, "mqlab: %s more of TLS could not be read\n", streams(n))
		}
	}
	if s.Forgotten > 0 {
		fmt.Fprintf(e.stderr, "mqlab: %s open streams were given up, as more were open than are followed at a time\n", ui.Count(s.Forgotten))
	}
}

func streams(n int) string {
	if n == 1 {
		return "1 stream"
	}
	return ui.Count(int64(n)) + " streams"
}

// writeJSONLine writes v on a line of its own.
func writeJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
