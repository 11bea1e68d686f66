package pcap

import (
	"bytes"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
	"github.com/mqlab/mqlab/conformance/rules"
)

const (
	maxWSBreaches = 8 // of one kind and side on a stream that are reported; the others are alike
	subprotocol   = "mqtt"

	// ruleMask is a rule of WebSocket, not of MQTT, and so no more than a warning here.
	ruleMask = "RFC6455-5.1"
)

// wsFacts is what the WebSocket below a stream shows by itself. Nothing is noted behind missing bytes.
type wsFacts struct {
	heads       [2]bool // request and response were seen
	offered     []string
	selected    string
	answered    wsPlace
	asked       wsPlace
	textConnect bool // CONNECT began in a text frame
	breaches    []wsBreach
	seen        [2]int // how many there were, by kind
}

// wsJudged is what a Lint has done about them.
type wsJudged struct {
	heads bool
	text  bool // CONNECT in a text frame was answered
	told  int  // breaches reported
}

// wsPlace is where something stands.
type wsPlace struct {
	file, frame int
	nanos       int64
}

type wsBreach struct {
	wsPlace
	rule             string
	by               codec.Side
	expected, actual string
}

const (
	wsText = iota
	wsMask
)

// same reports whether nothing was noted since a copy was made.
func (f *wsFacts) same(g *wsFacts) bool {
	if f == nil || g == nil {
		return f == g
	}
	return f.heads == g.heads && f.textConnect == g.textConnect && f.seen == g.seen
}

// head notes what the head of the request or of the response says.
func (f *wsFacts) head(request bool, text []byte, at wsPlace) {
	var names []string
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !bytes.EqualFold(bytes.TrimSpace(name), []byte("Sec-WebSocket-Protocol")) {
			continue
		}
		for word := range strings.SplitSeq(string(value), ",") {
			names = append(names, strings.TrimSpace(word))
		}
	}
	if request {
		f.heads[0], f.offered, f.asked = true, names, at
	} else {
		f.heads[1], f.selected, f.answered = true, strings.Join(names, ", "), at
	}
}

// frame notes how a frame departs from the rules. The opcode is that of its head.
func (f *wsFacts) frame(from codec.Side, opcode byte, masked bool, at wsPlace) {
	note := func(kind int, b wsBreach) {
		if f.seen[kind]++; f.seen[kind] <= maxWSBreaches {
			b.wsPlace, b.by = at, from
			f.breaches = append(f.breaches, b)
		}
	}
	if opcode == 1 {
		note(wsText, wsBreach{rule: "MQTT-6.0.0-1", expected: "binary frames alone carry MQTT", actual: "a text frame"})
	}
	switch {
	case from == codec.Client && !masked:
		note(wsMask, wsBreach{rule: ruleMask, expected: "a client masks every WebSocket frame", actual: "a frame without a mask"})
	case from == codec.Server && masked:
		note(wsMask, wsBreach{rule: ruleMask, expected: "a server masks no WebSocket frame", actual: "a frame with a mask"})
	}
}

// offers reports whether the client offers the subprotocol of MQTT. Other capitals are let pass.
func (f *wsFacts) offers() bool {
	return slices.ContainsFunc(f.offered, func(s string) bool { return strings.EqualFold(s, subprotocol) })
}

// websocket judges what the WebSocket of a stream shows. That the stream carries MQTT of a version which
// has rules on it is known from CONNECT on.
func (l *Lint) websocket(st *Stream, s *lintStream, p *Packet) error {
	f := st.ws
	if f == nil || st.Inferred {
		return nil
	}
	var v rules.Versions
	switch st.Version {
	case codec.V4:
		v = rules.MQTT311
	case codec.V5:
		v = rules.MQTT5
	default:
		return nil
	}
	judged := func(rule string, by codec.Side) {
		if l.judged == nil {
			l.judged, l.limits = make(map[judge.Key]int), make(map[string]int)
		}
		l.judged[judge.Key{Version: v, Rule: rule, By: by}]++
	}
	tell := func(b *wsBreach) error {
		grade := judge.Fail
		if b.rule == ruleMask {
			grade = judge.Warn
		}
		return l.report(st, &Finding{
			Rule: b.rule, Version: v.String(), By: sideName(b.by), Grade: grade.String(),
			Frame: b.frame, File: b.file, TimeNS: b.nanos, Expected: b.expected, Actual: b.actual,
		})
	}
	for ; s.ws.told < len(f.breaches); s.ws.told++ {
		if err := tell(&f.breaches[s.ws.told]); err != nil {
			return err
		}
	}
	if !s.ws.heads {
		s.ws.heads = true
		judged("MQTT-6.0.0-1", codec.Client)
		judged("MQTT-6.0.0-1", codec.Server)
		if f.heads[0] {
			judged("MQTT-6.0.0-3", codec.Client)
			if !f.offers() {
				if err := tell(&wsBreach{
					f.asked, "MQTT-6.0.0-3", codec.Client,
					"mqtt among the subprotocols that the client offers", "it offers " + listed(f.offered),
				}); err != nil {
					return err
				}
			}
		}
		// Which of several names a server takes is its choice, as some are those of older versions.
		if f.heads[0] && f.heads[1] && f.offers() && (len(f.offered) == 1 || f.selected == "") {
			judged("MQTT-6.0.0-4", codec.Server)
			if !strings.EqualFold(f.selected, subprotocol) {
				actual := "it selects none"
				if f.selected != "" {
					actual = "it selects " + f.selected
				}
				if err := tell(&wsBreach{
					f.answered, "MQTT-6.0.0-4", codec.Server, "the server selects the subprotocol mqtt", actual,
				}); err != nil {
					return err
				}
			}
		}
	}
	if p == nil || !f.textConnect || s.ws.text {
		return nil
	}
	if m, ok := p.MQTT.(*codec.Connack); ok && m.Reason == 0 {
		s.ws.text = true
		return tell(&wsBreach{
			wsPlace{p.File, p.Frame, p.Nanos},
			"MQTT-6.0.0-1", codec.Server,
			"a receiver of a text frame closes the connection", "it accepts a CONNECT that came in one",
		})
	}
	return nil
}

// listed is a list of names in words.
func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
