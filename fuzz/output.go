package fuzz

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/scenarios"
)

// WriteFiles writes what is known of a finding into a folder: the script, a page for people, and, where steps of an exchange
// can say it, a scenario. Finding.Files names them.
func (f *Finding) WriteFiles(dir string) error {
	s := f.Best()
	if s == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder for findings: %w; choose another one", err)
	}
	s = s.Clone()
	s.Oracle, s.Signature = f.Oracle, f.Signature
	base := filepath.Join(dir, f.Slug())
	f.Files = map[string]string{}
	put := func(kind, ending string, text []byte) error {
		if err := os.WriteFile(base+ending, text, 0o644); err != nil {
			return fmt.Errorf("write the finding: %w", err)
		}
		f.Files[kind] = base + ending
		return nil
	}
	if err := put("script", ".txt", []byte(s.Text())); err != nil {
		return err
	}
	if x := f.Exchange(); x != nil {
		text, err := x.Marshal()
		if err == nil && len(text) < scenarios.MaxSize {
			if err := put("scenario", ".yaml", text); err != nil {
				return err
			}
		}
	}
	f.Files["report"] = base + ".md"
	var page bytes.Buffer
	if err := f.WriteMarkdown(&page); err != nil {
		return err
	}
	return put("report", ".md", page.Bytes())
}

const maxExchangeSteps = 500

// Exchange returns the finding as an exchange scenario, or nil where its script does what the steps of an exchange
// cannot say: bursts of many packets, and churn.
func (f *Finding) Exchange() *scenarios.Exchange {
	s := f.Best()
	if s == nil {
		return nil
	}
	x := &scenarios.Exchange{
		Kind: scenarios.KindExchange, Title: "The target survives what once went wrong: " + f.Title, Rule: f.Rule, MQTT: s.Version.String(), Timeout: 5 * time.Second,
		About: fmt.Sprintf("Found by mqlab fuzz on %s: %s (%s).", f.Target, f.Title, f.Signature),
	}
	w := exchangeWriter{x: x, v: s.Version}
	for i := range s.Steps {
		if !w.step(&s.Steps[i]) || len(x.Steps) > maxExchangeSteps {
			return nil
		}
	}
	w.oracle(f)
	if x.Validate() != nil {
		return nil
	}
	return x
}

// exchangeWriter turns steps of a script into those of an exchange.
type exchangeWriter struct {
	x     *scenarios.Exchange
	v     codec.Version
	names [MaxConns]string // of the connections that are open
	opens [MaxConns]int
	hello [MaxConns]bool // CONNECT was sent, and CONNACK not awaited
}

func (w *exchangeWriter) add(st scenarios.Step) { w.x.Steps = append(w.x.Steps, st) }

// step reports whether the step could be said.
func (w *exchangeWriter) step(st *Step) bool {
	c := st.Conn % MaxConns
	name := w.names[c]
	switch st.Op {
	case Open:
		w.end(c, "orderly")
		w.opens[c]++
		w.names[c] = fmt.Sprintf("c%d", c)
		if n := w.opens[c]; n > 1 {
			w.names[c] += fmt.Sprintf("x%d", n)
		}
		w.add(scenarios.Step{Open: w.names[c], Ack: "manual"})
	case Send, Drip:
		return name == "" || w.send(name, st)
	case Answer:
		if name != "" {
			w.add(scenarios.Step{Ack: "auto", Conn: name})
		}
	case Settle:
		switch {
		case name == "":
		case w.hello[c]:
			w.hello[c] = false
			w.add(scenarios.Step{Expect: &scenarios.Packet{Type: "connack"}, Conn: name, Optional: true, Within: time.Second})
		default:
			w.add(scenarios.Step{Wait: max(st.Gap, time.Millisecond)})
		}
	case Pause:
		w.add(scenarios.Step{Wait: max(st.Gap, time.Millisecond)})
	case Close:
		w.end(c, "orderly")
	case Drop:
		w.end(c, "drop")
	case Churn, Stall, Resume, Meanwhile, Afterwards:
		return false
	}
	return true
}

func (w *exchangeWriter) end(c uint8, how string) {
	if w.names[c] == "" {
		return
	}
	st := scenarios.Step{Close: w.names[c]}
	if how == "drop" {
		st.How = how
	}
	w.add(st)
	w.names[c], w.hello[c] = "", false
}

func (w *exchangeWriter) send(name string, st *Step) bool {
	repeat := max(1, st.Repeat)
	if st.Counting || repeat > 100 || len(st.Bytes) > 1<<20 || repeat*len(st.Bytes) > 2<<20 || len(st.Bytes) == 0 {
		return len(st.Bytes) == 0
	}
	if codec.Type(st.Bytes[0]>>4) == codec.TypeConnect {
		w.hello[st.Conn%MaxConns] = true
	}
	one := scenarios.Step{SendHex: grouped(st.Bytes)}
	if frame, rest, err := codec.Cut(st.Bytes, 0); err == nil && frame != nil && len(rest) == 0 {
		one = scenarios.SendStep(st.Bytes, w.v, scenarios.RunConfig{})
	}
	one.Conn, one.Note = name, st.Edit
	if st.Op == Drip && len(st.Bytes) <= 200*max(1, st.Size) {
		for b := st.Bytes; len(b) > 0; {
			n := min(max(1, st.Size), len(b))
			w.add(scenarios.Step{SendHex: grouped(b[:n]), Conn: name})
			b = b[n:]
		}
		return true
	}
	for range repeat {
		w.add(one)
	}
	return true
}

// grouped writes bytes as hexadecimal digits in groups.
func grouped(b []byte) string {
	var words []string
	for len(b) > 0 {
		n := min(16, len(b))
		words = append(words, hex.EncodeToString(b[:n]))
		b = b[n:]
	}
	return strings.Join(words, " ")
}

// oracle adds what tells a target with the trouble from one without.
func (w *exchangeWriter) oracle(f *Finding) {
	for c, name := range w.names {
		if name == "" {
			continue
		}
		switch f.Oracle {
		case OracleMalformed:
			w.add(scenarios.Step{ExpectNone: &scenarios.Packet{Malformed: true}, Conn: name, For: 500 * time.Millisecond})
		case OracleClose:
			w.add(scenarios.Step{ExpectClose: &scenarios.Ending{}, Conn: name})
		case OracleDied, OracleHang, OracleDeaf, OracleSpin, OracleMemory, OracleLeak, OracleDelivery, OracleRule:
			w.add(scenarios.Step{Wait: 100 * time.Millisecond})
		}
		w.end(uint8(c), "orderly")
	}
	id, yes := "mqlabprobe", true
	w.add(scenarios.Step{Open: "probe"})
	w.add(scenarios.Step{Send: &scenarios.Packet{Type: "connect", ClientID: &id, CleanStart: &yes}, Conn: "probe"})
	w.add(scenarios.Step{Expect: &scenarios.Packet{Type: "connack"}, Conn: "probe"})
}

// write writes the files of a finding.
func (f *fuzzer) write(x *Finding) error {
	if f.cfg.Out == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return x.WriteFiles(f.cfg.Out)
}
