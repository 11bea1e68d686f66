package pcap

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ui"
)

// TimeStyle is how lists write times.
type TimeStyle uint8

// The styles.
const (
	TimeRelative TimeStyle = iota // seconds since the first packet shown
	TimeAbsolute                  // UTC
	TimeDelta                     // seconds since the packet shown before
)

// List writes one line for each packet and each gap. Lines are written in blocks: call Flush when
// nothing more comes.
type List struct {
	Time  TimeStyle
	Width int    // lines are cut to so many cells; 0 leaves them whole
	UI    *ui.UI // nil is plain
	// Prompt writes each line at once, for captures that are still growing.
	Prompt bool

	w       io.Writer
	buf     []byte
	info    []byte
	first   int64
	last    int64
	begun   bool
	held    bool // for a [Parallel], which takes the lines
	client  int  // cells of the column
	reasons []codec.ReasonCode
}

const flushAt = 32 << 10

// NewList returns a List that writes to w.
func NewList(w io.Writer) *List { return &List{w: w, buf: make([]byte, 0, flushAt+8<<10)} }

// Flush writes what is held back.
func (l *List) Flush() error {
	_, err := l.w.Write(l.buf)
	l.buf = l.buf[:0]
	return err
}

const (
	typeCells  = 11
	wideClient = 21 // cells for a client where there is room, and for an IPv4 address with its port
	slimClient = 12 // and where lines are short
	wideLine   = 120
)

// start makes ready for the first line.
func (l *List) start() {
	l.begun, l.client = true, wideClient
	if l.Width > 0 && l.Width < wideLine {
		l.client = slimClient
	}
	if l.UI == nil {
		l.UI = ui.Plain()
	}
}

func (l *List) fork() Lines {
	return &List{Time: l.Time, Width: l.Width, UI: l.UI, held: true}
}

func (l *List) begin(b *batch) {
	l.buf = b.text
	if l.begun = false; b.begun {
		l.start()
	}
	l.first, l.last = b.first, b.last
}

func (l *List) finish(b *batch) { b.text = l.buf }
func (l *List) out() io.Writer  { return l.w }

// header writes the titles of the columns; the first line does so by itself.
func (l *List) header() {
	l.start()
	time := "        TIME"
	if l.Time == TimeAbsolute {
		time = "TIME" + spaces[:22]
	}
	title := time + " STREAM " + ui.Pad("CLIENT", l.client) + "    " + ui.Pad("PACKET", typeCells) + " QOS      ID   SIZE  WHAT"
	l.buf = append(l.buf, l.UI.Dim(l.cut(title))...)
	l.buf = append(l.buf, '\n')
}

func (l *List) cut(s string) string {
	if l.Width <= 0 {
		return s
	}
	return ui.Truncate(s, l.Width)
}

// Packet writes the line of a packet.
func (l *List) Packet(p *Packet) error {
	if !l.begun {
		l.first, l.last = p.Nanos, p.Nanos
		l.header()
	}
	line := len(l.buf)
	b := l.prefix(l.buf, p.Nanos, p.Stream, p.From)
	if l.UI.Color() {
		b = append(b, l.styledType(p)...)
	} else {
		b = appendPadded(b, typeName(p.Type), typeCells)
	}
	b = append(b, ' ')
	if p.Type == codec.TypePublish {
		b = append(b, 'q', '0'+p.Flags>>1&3, ' ', mark(p.Flags&8 != 0, 'd'), mark(p.Flags&1 != 0, 'r'))
	} else {
		b = append(b, "     "...)
	}
	if id, ok := packetID(p); ok {
		b = appendInt(b, int64(id), 6)
	} else {
		b = append(b, "      "...)
	}
	b = appendInt(b, int64(p.Size), 7)
	b = append(b, ' ', ' ')
	if l.Width > 0 || l.UI.Color() {
		l.info = l.what(l.info[:0], p)
		b = l.fit(b, line, l.info)
	} else {
		b = l.what(b, p)
	}
	l.buf = append(trimRight(b, line), '\n')
	return l.written()
}

func (l *List) written() error {
	if !l.held && (l.Prompt || len(l.buf) >= flushAt) {
		return l.Flush()
	}
	return nil
}

// fit appends as much of info as the line has room for.
func (l *List) fit(b []byte, line int, info []byte) []byte {
	if l.Width <= 0 {
		return append(b, info...)
	}
	room := l.Width - ui.Width(string(b[line:]))
	if room <= 0 {
		return b
	}
	return append(b, ui.Truncate(string(info), room)...)
}

func trimRight(b []byte, from int) []byte {
	for len(b) > from && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

func mark(on bool, ch byte) byte {
	if on {
		return ch
	}
	return '-'
}

// prefix appends time, stream, client and direction.
func (l *List) prefix(b []byte, nanos int64, st *Stream, from codec.Side) []byte {
	client := st.ClientID
	switch l.Time {
	case TimeAbsolute:
		b = time.Unix(0, nanos).UTC().AppendFormat(b, "2006-01-02 15:04:05.000000")
	case TimeDelta:
		b = appendSeconds(b, nanos-l.last, 12)
	default:
		b = appendSeconds(b, nanos-l.first, 12)
	}
	l.last = nanos
	b = appendInt(b, int64(st.ID), 7)
	b = append(b, ' ')
	if client == "" { // not known, or not yet: the address tells clients apart as well
		b = appendPadded(b, st.Client.String(), l.client)
	} else {
		b = appendPadded(b, client, l.client)
	}
	switch from {
	case codec.Client:
		return append(b, " -> "...)
	case codec.Server:
		return append(b, " <- "...)
	}
	return append(b, " -- "...)
}

func (l *List) styledType(p *Packet) string {
	name := ui.Pad(typeName(p.Type), typeCells)
	if len(p.Faults) > 0 {
		return l.UI.Strong(name)
	}
	switch p.Type {
	case codec.TypePublish:
		return l.UI.Code(name)
	case codec.TypeConnect, codec.TypeConnack, codec.TypeDisconnect:
		return l.UI.Strong(name)
	case codec.TypePingreq, codec.TypePingresp, codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp:
		return l.UI.Dim(name)
	}
	return name
}

// what appends what the packet says.
func (l *List) what(b []byte, p *Packet) []byte {
	switch m := p.MQTT.(type) {
	case *codec.Publish:
		b = appendTopic(b, p, m)
		b = append(b, ' ')
		b = appendPreview(b, m.Payload)
	case *codec.Connect:
		b = appendConnect(b, p, m)
	case *codec.Connack:
		if m.SessionPresent {
			b = append(b, "session present, "...)
		}
	case *codec.Subscribe:
		for i := range m.Filters {
			f := &m.Filters[i]
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendText(b, f.Filter)
			b = append(b, " q"...)
			b = strconv.AppendUint(b, uint64(f.QoS), 10)
		}
	case *codec.Unsubscribe:
		for i, f := range m.Filters {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = appendText(b, f)
		}
	}
	b = l.appendReasons(b, p)
	if props := propertiesOf(p); props != nil && !props.Empty() {
		if text := props.Text(codec.PropReasonString); text != "" {
			b = append(b, ": "...)
			b = appendText(b, text)
		}
	}
	if p.Missing > 0 {
		b = append(b, " ["...)
		b = strconv.AppendInt(b, int64(p.Missing), 10)
		b = append(b, " bytes missing]"...)
	}
	for _, f := range p.Faults {
		b = append(b, " ! "...)
		b = append(b, f.Msg...)
		if f.Rule != "" {
			b = append(b, " ["...)
			b = append(b, f.Rule...)
			b = append(b, ']')
		}
	}
	return b
}

func appendTopic(b []byte, p *Packet, m *codec.Publish) []byte {
	switch {
	case p.Topic != "":
		return appendText(b, p.Topic)
	case p.Version == codec.V5 && m.Props.Has(codec.PropTopicAlias):
		b = append(b, "(alias "...)
		b = strconv.AppendUint(b, uint64(m.Props.Uint(codec.PropTopicAlias, 0)), 10)
		return append(b, ')')
	}
	return append(b, "(no topic)"...)
}

func appendConnect(b []byte, p *Packet, m *codec.Connect) []byte {
	b = append(b, "MQTT "...)
	b = append(b, m.Version.String()...)
	if m.CleanStart {
		b = append(b, ", clean"...)
	}
	b = append(b, ", keep alive "...)
	b = strconv.AppendUint(b, uint64(m.KeepAlive), 10)
	b = append(b, " s"...)
	if m.HasUsername {
		b = append(b, ", user "...)
		b = appendText(b, m.Username)
	}
	if m.HasWill {
		b = append(b, ", will "...)
		b = appendText(b, m.Will.Topic)
		b = append(b, " q"...)
		b = strconv.AppendUint(b, uint64(m.Will.QoS), 10)
	}
	return b
}

func (l *List) appendReasons(b []byte, p *Packet) []byte {
	l.reasons = reasonsOf(p, l.reasons[:0])
	for i, r := range l.reasons {
		if r == 0 && len(l.reasons) == 1 {
			switch p.Type {
			case codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp:
				continue // success goes without saying
			}
		}
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, r.Name(p.Type, p.Version)...)
		if r.Failed() {
			b = append(b, " (0x"...)
			b = append(b, strings.ToUpper(strconv.FormatUint(uint64(r), 16))...)
			b = append(b, ')')
		}
	}
	return b
}

// Gap writes the line of a gap.
func (l *List) Gap(g *Gap) error {
	if !l.begun {
		l.first, l.last = g.Nanos, g.Nanos
		l.header()
	}
	line := len(l.buf)
	b := l.prefix(l.buf, g.Nanos, g.Stream, g.From)
	b = append(b, l.UI.Verdict(ui.Warn)...)
	b = append(b, ' ')
	b = l.fit(b, line, appendGap(nil, g))
	l.buf = append(b, '\n')
	return l.written()
}

// appendGap says what is missing.
func appendGap(b []byte, g *Gap) []byte {
	switch {
	case g.Lost > 0:
		b = strconv.AppendInt(b, g.Lost, 10)
		b = append(b, " bytes were not captured"...)
	case g.Skipped > 0:
		b = strconv.AppendInt(b, g.Skipped, 10)
		b = append(b, " bytes passed over to the next packet"...)
	default:
		b = append(b, "bytes are missing or unreadable"...)
	}
	b = append(b, ", before frame "...)
	return strconv.AppendInt(b, int64(g.Frame), 10)
}
