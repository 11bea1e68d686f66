package fuzz

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// The text form of a script: a head, then a line for each step.
//
//	mqlab fuzz script
//	version 5.0
//	seed 4711
//	finding died "go panic: ..."
//	c0 open
//	c0 send 10 0d 00 04 ... 61*70000  # CONNECT ...
//	c0 send x100 edit="half a packet" 30 05
//	c0 drip 3 1ms 30 05 ...
//	c0 answer twice
//	c0 settle 50ms
//	pause 10ms
//	c0 send x500 counting 34 08 00 01 74 00 01 70 70 70
//	churn 8 x20 10 0d ...
//	c0 stall
//	c0 resume
//	meanwhile x20
//	afterwards
//	c0 close
//	c0 drop
//
// A byte with *N stands for N of it. What follows a # is for readers.

const scriptMagic = "mqlab fuzz script"

// maxScript bounds what a script file may unfold to.
const maxScript = 64 << 20

var (
	opWords  = []string{"", "open", "send", "drip", "answer", "settle", "pause", "close", "drop", "churn", "stall", "resume", "meanwhile", "afterwards"}
	ackWords = []string{"right", "twice", "reversed", "wrong-type", "unknown", "refuse"}
)

// String returns the operation as script files name it.
func (o Op) String() string {
	if int(o) < len(opWords) {
		return opWords[o]
	}
	return "unknown"
}

// connected reports whether the operation is on a connection.
func (o Op) connected() bool {
	return o != Pause && o != Churn && o != Meanwhile && o != Afterwards
}

// String returns the way as script files name it.
func (a Ack) String() string {
	if int(a) < len(ackWords) {
		return ackWords[a]
	}
	return "unknown"
}

// Text returns the script in the text form that ReadScript reads. Comments name the packets.
func (s *Script) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nversion %s\n", scriptMagic, s.Version)
	if s.Seed != 0 {
		fmt.Fprintf(&b, "seed %d\n", s.Seed)
	}
	if s.Oracle != "" {
		fmt.Fprintf(&b, "finding %s %q\n", s.Oracle, s.Signature)
	}
	for i := range s.Steps {
		s.Steps[i].write(&b, s.Version)
	}
	return b.String()
}

func (st *Step) write(b *strings.Builder, v codec.Version) {
	if st.Op.connected() {
		fmt.Fprintf(b, "c%d ", st.Conn)
	}
	b.WriteString(st.Op.String())
	switch st.Op {
	case Drip:
		fmt.Fprintf(b, " %d %s", st.Size, st.Gap)
	case Churn:
		fmt.Fprintf(b, " %d", st.Size)
	case Answer:
		b.WriteString(" " + st.Ack.String())
	case Settle, Pause:
		b.WriteString(" " + st.Gap.String())
	}
	if st.Repeat > 1 {
		fmt.Fprintf(b, " x%d", st.Repeat)
	}
	if st.Counting {
		b.WriteString(" counting")
	}
	if st.Edit != "" {
		fmt.Fprintf(b, " edit=%q", st.Edit)
	}
	if len(st.Bytes) > 0 {
		b.WriteByte(' ')
		writeHex(b, st.Bytes)
		if words := Words(st.Bytes, v); words != "" {
			b.WriteString("  # " + words)
		}
	}
	b.WriteByte('\n')
}

// writeHex writes groups of bytes, long runs of one byte as HH*N.
func writeHex(b *strings.Builder, p []byte) {
	const run, group = 24, 16
	n := 0 // bytes in the group
	for i := 0; i < len(p); {
		j := i + 1
		for j < len(p) && p[j] == p[i] {
			j++
		}
		if j-i >= run {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(b, "%02x*%d", p[i], j-i)
			i, n = j, group
			continue
		}
		if n == group {
			b.WriteByte(' ')
			n = 0
		}
		fmt.Fprintf(b, "%02x", p[i])
		i++
		n++
	}
}

// Words names the packets in bytes that one side sends under the version, such as "CONNECT, SUBSCRIBE id=1".
func Words(b []byte, v codec.Version) string {
	var names []string
	d := codec.Decoder{Version: v, Mode: codec.Lenient}
	for len(b) > 0 && len(names) < 4 {
		frame, rest, err := codec.Cut(b, 0)
		if frame == nil || err != nil {
			names = append(names, fmt.Sprintf("part of %s", codec.Type(b[0]>>4)))
			break
		}
		p, err := d.Decode(frame)
		name := codec.Type(frame[0] >> 4).String()
		if p != nil {
			if name = codec.Describe(p, v); len(name) > 100 {
				name = strings.ToValidUTF8(name[:100], "") + "..."
			}
		}
		var all codec.Errors
		if errors.As(err, &all) && len(all) > 0 {
			name += " (" + all[0].Msg + ")"
		}
		names = append(names, name)
		if b = rest; len(names) == 4 && len(b) > 0 {
			names = append(names, "...")
		}
	}
	return strings.NewReplacer("\n", " ", "\r", " ").Replace(strings.Join(names, ", "))
}

// ReadScript reads the text form of a script.
func ReadScript(r io.Reader) (*Script, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 16<<20)
	s := &Script{Version: codec.V5}
	size := 0
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		if !strings.HasPrefix(line, "finding ") {
			line, _, _ = strings.Cut(line, "  # ")
		}
		line = strings.TrimSpace(line)
		if n == 1 {
			if line != scriptMagic {
				return nil, fmt.Errorf("line 1: a script begins with %q", scriptMagic)
			}
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if err := s.line(line, &size); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read the script: %w", err)
	}
	if len(s.Steps) == 0 {
		return nil, errors.New("the script has no steps")
	}
	return s, nil
}

func (s *Script) line(line string, size *int) error {
	words := strings.Fields(line)
	switch words[0] {
	case "version":
		for _, v := range []codec.Version{codec.V31, codec.V4, codec.V5} {
			if len(words) == 2 && words[1] == v.String() {
				s.Version = v
				return nil
			}
		}
		return errors.New("the version is 3.1, 3.1.1 or 5.0")
	case "finding":
		quoted := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line[len(words[0]):]), words[min(1, len(words)-1)]))
		text, err := strconv.Unquote(quoted)
		if len(words) < 3 || err != nil || Oracle(words[1]).Class() == "" {
			return errors.New("a finding is an oracle and a signature in quotation marks")
		}
		s.Oracle, s.Signature = Oracle(words[1]), text
		return nil
	case "seed":
		if len(words) == 2 {
			n, err := strconv.ParseUint(words[1], 10, 64)
			s.Seed = n
			return err
		}
	}
	var st Step
	if rest, ok := strings.CutPrefix(words[0], "c"); ok && words[0] != "churn" {
		n, err := strconv.Atoi(rest)
		if err != nil || n < 0 || n >= MaxConns || len(words) < 2 {
			return fmt.Errorf("%q is no step: connections are c0 to c%d", line, MaxConns-1)
		}
		st.Conn = uint8(n)
		line = strings.TrimSpace(line[len(words[0]):])
		words = words[1:]
	}
	i := slices.Index(opWords, words[0])
	if i < 1 {
		return fmt.Errorf("%q is no operation; known are%s", words[0], strings.Join(opWords, " "))
	}
	st.Op = Op(i)
	if err := st.read(strings.TrimSpace(line[len(words[0]):]), size); err != nil {
		return err
	}
	s.Steps = append(s.Steps, st)
	return nil
}

func (st *Step) read(rest string, size *int) error {
	word := func() string {
		w, after, _ := strings.Cut(rest, " ")
		rest = strings.TrimSpace(after)
		return w
	}
	duration := func() (err error) {
		st.Gap, err = time.ParseDuration(word())
		return err
	}
	var err error
	switch st.Op {
	case Drip:
		if st.Size, err = strconv.Atoi(word()); err == nil {
			err = duration()
		}
	case Churn:
		st.Size, err = strconv.Atoi(word())
	case Settle, Pause:
		err = duration()
	case Answer:
		w := word()
		i := slices.Index(ackWords, w)
		if i < 0 {
			return fmt.Errorf("%q is no way to answer; known are %s", w, strings.Join(ackWords, " "))
		}
		st.Ack = Ack(i)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", st.Op, err)
	}
	if strings.HasPrefix(rest, "x") {
		if st.Repeat, err = strconv.Atoi(word()[1:]); err != nil {
			return fmt.Errorf("repeat: %w", err)
		}
	}
	if after, ok := strings.CutPrefix(rest, "counting"); ok {
		st.Counting, rest = true, strings.TrimSpace(after)
	}
	if after, ok := strings.CutPrefix(rest, "edit="); ok {
		quoted, err := strconv.QuotedPrefix(after)
		if err != nil {
			return fmt.Errorf("edit: %w", err)
		}
		if st.Edit, err = strconv.Unquote(quoted); err != nil {
			return fmt.Errorf("edit: %w", err)
		}
		rest = after[len(quoted):]
	}
	for w := range strings.FieldsSeq(rest) {
		digits, times, many := strings.Cut(w, "*")
		b, err := hex.DecodeString(digits)
		if err != nil {
			return fmt.Errorf("bytes: %w", err)
		}
		n := 1
		if many {
			if n, err = strconv.Atoi(times); err != nil || n < 0 || len(b) != 1 {
				return fmt.Errorf("bytes: %q is not a byte and a number", w)
			}
		}
		if *size += n * len(b); *size > maxScript {
			return fmt.Errorf("the script is larger than %d bytes", maxScript)
		}
		if n == 1 {
			st.Bytes = append(st.Bytes, b...)
			continue
		}
		for range n {
			st.Bytes = append(st.Bytes, b[0])
		}
	}
	return nil
}

// Clone returns a copy that shares no memory with the script but for the bytes that steps send, which are never changed.
func (s *Script) Clone() *Script {
	c := *s
	c.Steps = slices.Clone(s.Steps)
	return &c
}

// Packets counts the packets, whole or not, that the script sends, answers aside.
func (s *Script) Packets() int {
	n := 0
	for i := range s.Steps {
		switch st := &s.Steps[i]; st.Op {
		case Send, Drip:
			n += max(1, st.Repeat) * packets(st.Bytes)
		case Churn:
			n += max(1, st.Repeat) * max(1, st.Size) * packets(st.Bytes)
		}
	}
	return n
}

func packets(b []byte) int {
	n := 0
	for len(b) > 0 {
		n++
		frame, rest, err := codec.Cut(b, 0)
		if frame == nil || err != nil {
			break
		}
		b = rest
	}
	return n
}
