package judge_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// The exchanges under testdata are written in a small language of their own, so that a packet may
// be as wrong as it has to be. A packet is either a verb with fields, as in
//
//	C> publish t=a/b q=1 id=7 dup
//
// or its bytes: hexadecimal, "text" with a two-byte length in front, 'text' without, { } with the
// length of its content in front as a Variable Byte Integer, and | after the first byte to have the
// Remaining Length put in.
//
//	C> 32| "a/b" 0007 { } 'payload'

// step is one line of an exchange.
type step struct {
	what  string // "packet", "bytes", "gap", "end", "next", "assume"
	from  codec.Side
	at    time.Duration
	bytes []byte
	v     codec.Version
}

// exchange is one case of an exchange file.
type exchangeCase struct {
	name   string
	line   int
	v      codec.Version
	expect []string
	steps  []step
}

func readExchanges(t testing.TB, file string) []exchangeCase {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []exchangeCase
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "case "); ok {
			v, name, _ := strings.Cut(name, " ")
			out = append(out, exchangeCase{name: v + " " + name, line: n, v: version(t, v)})
			continue
		}
		if len(out) == 0 {
			t.Fatalf("%s:%d: a line before the first case", file, n)
		}
		c := &out[len(out)-1]
		if want, ok := strings.CutPrefix(line, "expect "); ok {
			c.expect = append(c.expect, want)
			continue
		}
		s, err := parseStep(line, c.v)
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
		c.steps = append(c.steps, s)
	}
	return out
}

func version(t testing.TB, s string) codec.Version {
	switch s {
	case "3":
		return codec.V31
	case "4":
		return codec.V4
	case "5":
		return codec.V5
	}
	t.Fatalf("unknown version %q", s)
	return 0
}

func parseStep(line string, v codec.Version) (s step, err error) {
	words := strings.Fields(line)
	s.v = v
	switch words[0] {
	case "next":
		return step{what: "next"}, nil
	case "assume":
		return step{what: "assume", v: v}, nil
	case "gap", "end":
		s.what = words[0]
		words = words[1:]
		switch words[0] {
		case "C":
			s.from = codec.Client
		case "S":
			s.from = codec.Server
		}
	case "C>", "S>", "C+", "S+":
		s.what, s.from = "packet", codec.Client
		if words[0][0] == 'S' {
			s.from = codec.Server
		}
		if words[0][1] == '+' {
			s.what = "bytes"
		}
	default:
		return s, fmt.Errorf("unknown line %q", line)
	}
	words = words[1:]
	if len(words) > 0 && words[0][0] == '@' {
		if s.at, err = time.ParseDuration(words[0][1:]); err != nil {
			return s, err
		}
		words = words[1:]
	}
	if len(words) > 0 {
		s.bytes, err = packetBytes(strings.Join(words, " "), v)
	}
	return s, err
}

// packetBytes returns the bytes of a packet written in either way.
func packetBytes(text string, v codec.Version) ([]byte, error) {
	verb, rest, _ := strings.Cut(text, " ")
	if build, ok := verbs[verb]; ok {
		return build(fields(rest), v), nil
	}
	p := parser{tokens: strings.Fields(strings.NewReplacer("{", " { ", "}", " } ", "|", " | ").Replace(text))}
	return p.sequence("")
}

type parser struct{ tokens []string }

func (p *parser) sequence(until string) ([]byte, error) {
	var out []byte
	for len(p.tokens) > 0 {
		tok := p.tokens[0]
		p.tokens = p.tokens[1:]
		switch {
		case tok == until && until != "":
			return out, nil
		case tok == "|":
			body, err := p.sequence("")
			return append(codec.AppendVarint(out, uint32(len(body))), body...), err
		case tok == "{":
			body, err := p.sequence("}")
			if err != nil {
				return nil, err
			}
			out = append(codec.AppendVarint(out, uint32(len(body))), body...)
		case tok[0] == '"':
			s := strings.Trim(tok, `"`)
			out = append(binary.BigEndian.AppendUint16(out, uint16(len(s))), s...)
		case tok[0] == '\'':
			out = append(out, strings.Trim(tok, "'")...)
		default:
			b, err := hex.DecodeString(tok)
			if err != nil {
				return nil, fmt.Errorf("token %q: %w", tok, err)
			}
			out = append(out, b...)
		}
	}
	if until != "" {
		return nil, fmt.Errorf("no %s", until)
	}
	return out, nil
}

// field set of a verb line.
type fieldSet map[string]string

func fields(s string) fieldSet {
	f := fieldSet{}
	for w := range strings.FieldsSeq(s) {
		k, v, _ := strings.Cut(w, "=")
		f[k] = v
	}
	return f
}

func (f fieldSet) has(k string) bool { _, ok := f[k]; return ok }

func (f fieldSet) num(k string, def uint64) uint64 {
	s, ok := f[k]
	if !ok {
		return def
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		panic(fmt.Sprintf("field %s=%s: %v", k, s, err))
	}
	return n
}

func frame(first byte, body []byte) []byte {
	return append(codec.AppendVarint([]byte{first}, uint32(len(body))), body...)
}

func text(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func u16(b []byte, n uint64) []byte { return binary.BigEndian.AppendUint16(b, uint16(n)) }

// props builds the properties that the fields name, with their length in front.
func (f fieldSet) props(v codec.Version) []byte {
	if v != codec.V5 {
		return nil
	}
	var p []byte
	for _, x := range []struct {
		key  string
		id   byte
		kind byte // 1, 2, 4 bytes; v varint; s string
	}{
		{"sei", 0x11, 4},
		{"rm", 0x21, 2},
		{"mps", 0x27, 4},
		{"tam", 0x22, 2},
		{"rri", 0x19, 1},
		{"rpi", 0x17, 1},
		{"am", 0x15, 's'},
		{"ad", 0x16, 's'},
		{"aci", 0x12, 's'},
		{"ska", 0x13, 2},
		{"ri", 0x1A, 's'},
		{"rs", 0x1F, 's'},
		{"mq", 0x24, 1},
		{"ra", 0x25, 1},
		{"wa", 0x28, 1},
		{"sia", 0x29, 1},
		{"sa", 0x2A, 1},
		{"alias", 0x23, 2},
		{"rt", 0x08, 's'},
		{"ct", 0x03, 's'},
		{"cd", 0x09, 's'},
		{"pf", 0x01, 1},
		{"me", 0x02, 4},
		{"sid", 0x0B, 'v'},
	} {
		if !f.has(x.key) {
			continue
		}
		for one := range strings.SplitSeq(f[x.key], ",") {
			p = append(p, x.id)
			switch n := (fieldSet{"n": one}); x.kind {
			case 's':
				p = text(p, one)
			case 'v':
				p = codec.AppendVarint(p, uint32(n.num("n", 0)))
			case 1:
				p = append(p, byte(n.num("n", 0)))
			case 2:
				p = u16(p, n.num("n", 0))
			case 4:
				p = binary.BigEndian.AppendUint32(p, uint32(n.num("n", 0)))
			}
		}
	}
	if f.has("up") {
		k, val, _ := strings.Cut(f["up"], ":")
		p = text(text(append(p, 0x26), k), val)
	}
	return append(codec.AppendVarint(nil, uint32(len(p))), p...)
}

func ack(first byte) func(fieldSet, codec.Version) []byte {
	return func(f fieldSet, v codec.Version) []byte {
		b := u16(nil, f.num("id", 0))
		props := f.props(v)
		if v == codec.V5 && (f.has("rc") || len(props) > 1) {
			b = append(b, byte(f.num("rc", 0)))
			if len(props) > 1 {
				b = append(b, props...)
			}
		}
		return frame(first, b)
	}
}

func reply(first byte) func(fieldSet, codec.Version) []byte {
	return func(f fieldSet, v codec.Version) []byte {
		b := append(u16(nil, f.num("id", 0)), f.props(v)...)
		if f["c"] != "" {
			for c := range strings.SplitSeq(f["c"], ",") {
				b = append(b, byte(fieldSet{"c": c}.num("c", 0)))
			}
		}
		return frame(first, b)
	}
}

func request(first byte, options bool) func(fieldSet, codec.Version) []byte {
	return func(f fieldSet, v codec.Version) []byte {
		b := append(u16(nil, f.num("id", 0)), f.props(v)...)
		for one := range strings.SplitSeq(f["f"], ",") {
			name, opt, _ := strings.Cut(one, ":")
			b = text(b, name)
			if options {
				b = append(b, byte(fieldSet{"o": "0" + opt}.num("o", 0)))
			}
		}
		return frame(first, b)
	}
}

func bare(first byte) func(fieldSet, codec.Version) []byte {
	return func(f fieldSet, v codec.Version) []byte {
		if v != codec.V5 || first != 0xE0 && first != 0xF0 || len(f) == 0 {
			return frame(first, nil)
		}
		return frame(first, append([]byte{byte(f.num("rc", 0))}, f.props(v)...))
	}
}

var verbs = map[string]func(fieldSet, codec.Version) []byte{
	"connect": func(f fieldSet, v codec.Version) []byte {
		b := text(nil, "MQTT")
		if v == codec.V31 {
			b = text(nil, "MQIsdp")
		}
		flags := byte(0)
		if f.has("clean") {
			flags |= 2
		}
		if f.has("will") {
			flags |= 4
		}
		if f.has("user") {
			flags |= 0x80
		}
		if f.has("pass") {
			flags |= 0x40
		}
		b = u16(append(b, byte(v), flags), f.num("ka", 0))
		b = text(append(b, f.props(v)...), f["id"])
		if f.has("will") {
			if v == codec.V5 {
				b = append(b, 0)
			}
			b = text(text(b, f["will"]), "bye")
		}
		if f.has("user") {
			b = text(b, f["user"])
		}
		if f.has("pass") {
			b = text(b, f["pass"])
		}
		return frame(0x10, b)
	},
	"connack": func(f fieldSet, v codec.Version) []byte {
		return frame(0x20, append([]byte{byte(f.num("sp", 0)), byte(f.num("rc", 0))}, f.props(v)...))
	},
	"publish": func(f fieldSet, v codec.Version) []byte {
		first := 0x30 | byte(f.num("q", 0))<<1
		if f.has("dup") {
			first |= 8
		}
		if f.has("retain") {
			first |= 1
		}
		b := text(nil, f["t"])
		if f.has("id") {
			b = u16(b, f.num("id", 0))
		}
		b = append(b, f.props(v)...)
		return frame(first, append(b, f["pl"]...))
	},
	"puback": ack(0x40), "pubrec": ack(0x50), "pubrel": ack(0x62), "pubcomp": ack(0x70),
	"subscribe": request(0x82, true), "suback": reply(0x90), "unsubscribe": request(0xA2, false), "unsuback": reply(0xB0),
	"pingreq": bare(0xC0), "pingresp": bare(0xD0), "disconnect": bare(0xE0), "auth": bare(0xF0),
}
