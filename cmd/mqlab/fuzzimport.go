package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/fuzz"
	"github.com/mqlab/mqlab/internal/ui"
	"github.com/mqlab/mqlab/pcap"
)

func fuzzImportCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "import",
		Usage: "make scripts of captures and of other fuzzers' files",
		Description: describe(`Writes scripts to the corpus in DIR, from which fuzz --corpus DIR begins. Files are captures (pcap and pcapng, packed
			or not: what each client sends becomes a script), files of go test -fuzz, lines of hexadecimal digits as FUME writes them, messages
			that have their length in front as AFLNet replays them, raw bytes that a client sends, and scripts. What kind of file it is the
			content says; of a folder every file is read. A file that is none of these is named and passed over, and the exit code is 1.

			What a capture holds is in the scripts: names, passwords, payloads.`,
			"mqlab fuzz import corpus capture.pcapng",
			"mqlab fuzz import corpus testdata/fuzz/FuzzDecode aflnet-out/replayable-queue crash.raw"),
		ArgsUsage: "DIR FILE...",
		Flags:     append(pcapInput(), formatFlag("text", "json"), outputFlag()),
		Action:    func(c *cli.Context) error { return e.fuzzImport(c) },
	}
}

// imported is what was made of one file.
type imported struct {
	File    string `json:"file"`
	Kind    string `json:"kind,omitempty"`
	Scripts int    `json:"scripts"`
	Added   int    `json:"added"`
	Skipped string `json:"skipped,omitempty"` // why nothing was made of it
}

func (e *env) fuzzImport(c *cli.Context) error {
	if c.NArg() < 2 {
		return usagef("fuzz import needs the DIR of a corpus and a FILE")
	}
	if _, err := oneOf("format", c.String("format"), "text", "json"); err != nil {
		return err
	}
	cfg, _, err := pcapConfig(c)
	if err != nil {
		return err
	}
	files, err := filesIn(c.Args().Tail())
	if err != nil {
		return err
	}
	all, skipped := []imported{}, 0
	for _, name := range files {
		if e.ctx.Err() != nil {
			return e.ctx.Err()
		}
		r := imported{File: name}
		var scripts []*fuzz.Script
		if r.Kind, scripts, err = importFile(cfg, name); err != nil {
			r.Skipped = err.Error()
			skipped++
			fmt.Fprintf(e.stderr, "mqlab: %s is passed over: %v\n", ui.Printable(name), err)
		} else if r.Added, err = fuzz.AddToCorpus(c.Args().First(), scripts); err != nil {
			return err
		}
		r.Scripts = len(scripts)
		all = append(all, r)
	}
	err = e.writeForms(c, []string{"text", "json"}, map[string]form{
		"json": func(out output) error { return writeJSON(out, all) },
		"text": func(out output) error {
			added := 0
			for _, r := range all {
				if added += r.Added; r.Skipped == "" {
					fmt.Fprintf(out, "%s: %s, %s, %d of them new\n", ui.Printable(r.File), r.Kind, plural(r.Scripts, "script"), r.Added)
				}
			}
			_, err := fmt.Fprintf(out, "%s added to %s\n", plural(added, "script"), ui.Printable(c.Args().First()))
			return err
		},
	}, false)
	if err == nil && skipped > 0 {
		err = exitWith(exitNo, nil)
	}
	return err
}

// filesIn returns the files, and those in folders.
func filesIn(names []string) ([]string, error) {
	var files []string
	for _, name := range names {
		err := filepath.WalkDir(name, func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				files = append(files, file)
			}
			return err
		})
		if err != nil {
			return nil, usagef("read what is to be imported: %w", err)
		}
	}
	return files, nil
}

// captureStarts are the first bytes of captures, and of what they are packed in.
var captureStarts = []string{"\xd4\xc3\xb2\xa1", "\xa1\xb2\xc3\xd4", "\x4d\x3c\xb2\xa1", "\xa1\xb2\x3c\x4d", "\x0a\x0d\x0d\x0a", "\x1f\x8b", "\x28\xb5\x2f\xfd"}

// importFile makes scripts of a file.
func importFile(cfg pcap.Config, name string) (kind string, scripts []*fuzz.Script, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	head, _ := in.Peek(4)
	for _, start := range captureStarts {
		if bytes.HasPrefix(head, []byte(start)) {
			scripts, err = importCapture(cfg, in)
			return "capture", scripts, err
		}
	}
	b, err := io.ReadAll(io.LimitReader(in, importBytes))
	if err != nil {
		return "", nil, err
	}
	return fuzz.Import(b)
}

// Bounds on what is read: bytes of a file that is no capture, which are more than fuzz.Import takes, connections of a
// capture, and packets of each.
const (
	importBytes   = 32 << 20
	importStreams = 10_000
	importPackets = 3000
)

// importCapture makes scripts of what each client of a capture sends. A damaged capture is used as far as it goes.
func importCapture(cfg pcap.Config, r io.Reader) ([]*fuzz.Script, error) {
	type client struct {
		version  codec.Version
		messages [][]byte
	}
	var clients []*client
	cfg.Packet = func(p *pcap.Packet) error {
		if p.From != codec.Client || p.Missing > 0 {
			return nil
		}
		x, known := p.Stream.Value.(*client)
		if !known {
			x = &client{}
			p.Stream.Value = x
			if len(clients) < importStreams {
				clients = append(clients, x)
			}
		}
		x.version = p.Stream.Version
		if len(x.messages) < importPackets {
			x.messages = append(x.messages, bytes.Clone(p.Raw))
		}
		return nil
	}
	d := pcap.NewDissector(cfg)
	rerr := d.Read(r)
	if err := d.Close(); err != nil {
		return nil, err
	}
	var all []*fuzz.Script
	for _, x := range clients {
		all = append(all, fuzz.FromClient(x.messages, x.version)...)
	}
	switch {
	case len(all) > 0:
		return all, nil
	case rerr != nil:
		return nil, rerr
	}
	return nil, errors.New("no client in it sends MQTT")
}
