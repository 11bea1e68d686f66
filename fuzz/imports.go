package fuzz

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mqlab/mqlab/codec"
)

// Kinds of files that Import reads.
const (
	ImportScript   = "script"      // of this package
	ImportGo       = "Go corpus"   // of go test -fuzz
	ImportHex      = "hexadecimal" // bytes as digits, one message a line
	ImportMessages = "messages"    // each with its length in front, as AFLNet replays them
	ImportRaw      = "raw"         // what a client sends, as it is
)

// Bounds on what is made of one connection.
const (
	importPackets = 40 // in a script, so that what is made of it by mutation stays short
	importScripts = 64
	importSize    = 16 << 20 // of a file
)

// goCorpus is the first line of a file that go test -fuzz has written.
const goCorpus = "go test fuzz v1"

// Import makes scripts of a file that another tool has written, or another fuzzer. What kind of file it is the content
// says. A client that sends no CONNECT is given one, and a long conversation becomes several scripts that begin with its
// CONNECT. The error says in half a sentence why nothing can be made of the file.
func Import(b []byte) (kind string, scripts []*Script, err error) {
	text := strings.TrimSpace(string(b[:min(len(b), importSize)]))
	switch {
	case len(b) > importSize:
		return "", nil, fmt.Errorf("it is larger than %d MiB", importSize>>20)
	case text == "":
		return "", nil, errors.New("it is empty")
	case strings.HasPrefix(text, scriptMagic):
		s, err := ReadScript(bytes.NewReader(b))
		if err != nil {
			return ImportScript, nil, err
		}
		return ImportScript, []*Script{s}, nil
	case strings.HasPrefix(text, goCorpus):
		values, err := goValues(text)
		if err != nil {
			return ImportGo, nil, err
		}
		for _, v := range values {
			if streams, err := framed(v); err == nil {
				scripts = append(scripts, FromClient(streams, 0)...)
			}
		}
		if len(scripts) == 0 {
			return ImportGo, nil, errors.New("none of its values holds a whole packet")
		}
		return ImportGo, scripts, nil
	}
	if lines, ok := hexLines(text); ok {
		for _, messages := range conversations(lines) {
			scripts = append(scripts, FromClient(messages, 0)...)
		}
		return ImportHex, scripts, nil
	}
	if messages, ok := prefixed(b); ok {
		return ImportMessages, FromClient(messages, 0), nil
	}
	if strings.IndexFunc(text, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) && !unicode.IsSpace(r) }) < 0 {
		return "", nil, errors.New("it is text of no known kind")
	}
	frames, err := framed(b)
	if err != nil {
		return "", nil, fmt.Errorf("it is of no known kind, and as raw bytes %w", err)
	}
	return ImportRaw, FromClient(frames, 0), nil
}

// framed cuts what a client sends into packets. The last one may be cut short.
func framed(b []byte) ([][]byte, error) {
	var frames [][]byte
	for rest := b; len(rest) > 0; {
		frame, after, err := codec.Cut(rest, 0)
		if err != nil || frame == nil {
			if len(frames) == 0 {
				return nil, errors.New("it does not begin with a whole packet")
			}
			return append(frames, rest), nil
		}
		if codec.Type(frame[0]>>4) == 0 && len(frames) == 0 {
			return nil, errors.New("it begins with a packet of type 0, which there is not")
		}
		frames, rest = append(frames, frame), after
	}
	return frames, nil
}

// hexLines reads lines of hexadecimal digits, in groups or not.
func hexLines(text string) ([][]byte, bool) {
	var all [][]byte
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits := strings.NewReplacer(" ", "", "\t", "", ",", "", "0x", "", "\\x", "", "\r", "", "\n", "").Replace(line)
		if digits == "" {
			continue
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, false
		}
		all = append(all, b)
	}
	return all, len(all) > 0
}

// conversations begins a new connection with each message that begins with a CONNECT.
func conversations(messages [][]byte) [][][]byte {
	var all [][][]byte
	for _, m := range messages {
		if len(all) == 0 || codec.Type(m[0]>>4) == codec.TypeConnect {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], m)
	}
	return all
}

// prefixed reads messages that have their length, of four bytes with the least first, in front.
func prefixed(b []byte) ([][]byte, bool) {
	var all [][]byte
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, false
		}
		n := binary.LittleEndian.Uint32(b)
		if n == 0 || uint64(n) > uint64(len(b)-4) {
			return nil, false
		}
		all, b = append(all, b[4:4+n]), b[4+n:]
	}
	return all, len(all) > 0
}

// goValues reads the values of a file of go test -fuzz that are bytes or text.
func goValues(text string) ([][]byte, error) {
	var all [][]byte
	n := 1
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if n++; n == 2 || line == "" {
			continue
		}
		x, err := parser.ParseExpr(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is no value of a fuzz target", n-1)
		}
		call, ok := x.(*ast.CallExpr)
		if !ok || len(call.Args) != 1 {
			return nil, fmt.Errorf("line %d is no value of a fuzz target", n-1)
		}
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			continue // a number
		}
		s, err := strconv.Unquote(lit.Value)
		if err != nil {
			return nil, fmt.Errorf("line %d is no value of a fuzz target", n-1)
		}
		all = append(all, []byte(s))
	}
	return all, nil
}

// FromClient makes scripts of the messages that one client has sent on one connection, which may hold a packet each, or
// several, or parts. The version, where it is not 0, is that of a connection whose CONNECT is not among them.
func FromClient(messages [][]byte, v codec.Version) []*Script {
	if len(messages) == 0 {
		return nil
	}
	var hello []byte
	if first := messages[0]; len(first) > 0 && codec.Type(first[0]>>4) == codec.TypeConnect {
		hello, messages = first, messages[1:]
		d := codec.Decoder{Mode: codec.Lenient}
		if frame, _, err := codec.Cut(first, 0); err == nil && frame != nil {
			if p, _ := d.Decode(frame); p != nil {
				v = p.(*codec.Connect).Version
			}
		}
		if v == 0 {
			v = codec.V5
		}
	} else {
		if v == 0 {
			v = guessed(messages)
		}
		hello, _ = (&codec.Connect{Version: v, ClientID: "imported", CleanStart: true, KeepAlive: 60}).AppendTo(nil, v)
	}
	var all []*Script
	for {
		s := &Script{Version: v, Steps: []Step{{Op: Open}, {Op: Send, Bytes: hello}, {Op: Settle, Gap: settleGap}}}
		for n := 0; n < importPackets && len(messages) > 0; n++ {
			m := messages[0]
			messages = messages[1:]
			if len(m) == 0 {
				continue
			}
			switch codec.Type(m[0] >> 4) {
			case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp: // it answers
				s.Steps = append(s.Steps, Step{Op: Settle, Gap: settleGap})
			}
			s.Steps = append(s.Steps, Step{Op: Send, Bytes: bytes.Clone(m)})
		}
		all = append(all, s)
		if len(messages) == 0 || len(all) == importScripts {
			return all
		}
	}
}

// guessed returns the version that most of the packets are legal under.
func guessed(messages [][]byte) codec.Version {
	best, most := codec.V5, -1
	for _, v := range []codec.Version{codec.V5, codec.V4} {
		d := codec.Decoder{Version: v, From: codec.Client}
		legal := 0
		for _, m := range messages {
			if frame, _, err := codec.Cut(m, 0); err == nil && frame != nil {
				if _, err := d.Decode(frame); err == nil {
					legal++
				}
			}
		}
		if legal > most {
			best, most = v, legal
		}
	}
	return best
}

// AddToCorpus writes scripts into the folder of a corpus, and says how many of them were not there yet.
func AddToCorpus(dir string, scripts []*Script) (added int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("make the folder of the corpus: %w; choose another one", err)
	}
	for _, s := range scripts {
		name, text := corpusFile(dir, s)
		if _, err := os.Stat(name); err == nil {
			continue
		}
		if err := os.WriteFile(name, text, 0o644); err != nil {
			return added, fmt.Errorf("write the corpus: %w", err)
		}
		added++
	}
	return added, nil
}
