package pcap

import (
	"io"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// csvColumns are the columns of [CSV].
var csvColumns = []string{
	"frame", "time", "stream", "transport", "client", "server", "from", "client_id", "version", "type",
	"qos", "dup", "retain", "packet_id", "topic", "payload_length", "payload", "size", "missing_bytes",
	"reason_codes", "reason", "keep_alive", "clean_start", "session_present", "filters", "properties", "faults",
}

// CSV writes one line for each packet, as RFC 4180 has it, after a line with the names of the columns.
// Gaps are lines of the type GAP. Lines are written in blocks: call Flush when nothing more comes.
type CSV struct {
	// Prompt writes each line at once, for captures that are still growing.
	Prompt bool

	w     io.Writer
	b     []byte
	begun bool
	held  bool // for a [Parallel], which takes the lines
	time  stamp
	cell  []byte
}

// NewCSV returns a CSV that writes to w.
func NewCSV(w io.Writer) *CSV { return &CSV{w: w} }

// Flush writes what is held back.
func (c *CSV) Flush() error {
	_, err := c.w.Write(c.b)
	c.b = c.b[:0]
	return err
}

// add appends a cell. It is quoted where it has to be, and also where a spreadsheet would take it for
// a formula, which gets an apostrophe in front.
func (c *CSV) add(s string) {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		s = "'" + s
	}
	if strings.ContainsAny(s, "\",\r\n") {
		c.b = append(c.b, '"')
		c.b = append(c.b, strings.ReplaceAll(s, `"`, `""`)...)
		c.b = append(c.b, '"')
	} else {
		c.b = append(c.b, s...)
	}
	c.b = append(c.b, ',')
}

func (c *CSV) int(v int) {
	c.b = strconv.AppendInt(c.b, int64(v), 10)
	c.b = append(c.b, ',')
}

func (c *CSV) header() {
	if !c.begun {
		c.begun = true
		c.b = append(c.b, strings.Join(csvColumns, ",")...)
		c.b = append(c.b, '\r', '\n')
	}
}

func (c *CSV) head(st *Stream, from codec.Side, frame int, nanos int64, version, kind string) {
	c.header()
	c.int(frame)
	c.b = c.time.append(c.b, nanos)
	c.b = append(c.b, ',')
	c.int(st.ID)
	c.add(st.Transport)
	c.add(st.Client.String())
	c.add(st.Server.String())
	c.add(sideName(from))
	c.add(clean(st.ClientID))
	c.add(version)
	c.add(kind)
}

// clean makes text of what may not be UTF-8.
func clean(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (c *CSV) end() error {
	c.b = append(c.b[:len(c.b)-1], '\r', '\n')
	if !c.held && (c.Prompt || len(c.b) >= flushAt) {
		return c.Flush()
	}
	return nil
}

func (c *CSV) fork() Lines     { return &CSV{held: true} }
func (c *CSV) begin(b *batch)  { c.b, c.begun = b.text, b.begun }
func (c *CSV) finish(b *batch) { b.text = c.b }
func (c *CSV) out() io.Writer  { return c.w }

// Gap writes the line of a gap.
func (c *CSV) Gap(g *Gap) error {
	c.head(g.Stream, g.From, g.Frame, g.Nanos, g.Stream.Version.String(), "GAP")
	c.b = append(c.b, strings.Repeat(",", 8)...)
	c.int(int(g.Lost))
	c.b = append(c.b, strings.Repeat(",", 8)...)
	return c.end()
}

// Packet writes the line of a packet.
func (c *CSV) Packet(p *Packet) error {
	c.head(p.Stream, p.From, p.Frame, p.Nanos, p.Version.String(), typeName(p.Type))
	m, publish := p.MQTT.(*codec.Publish)
	if publish {
		c.int(int(p.Flags >> 1 & 3))
		c.int(int(p.Flags >> 3))
		c.int(int(p.Flags & 1))
	} else {
		c.b = append(c.b, ",,,"...)
	}
	if id, ok := packetID(p); ok {
		c.int(int(id))
	} else {
		c.add("")
	}
	if publish {
		c.add(clean(p.Topic))
		c.int(payloadLength(p, m))
		c.cell = appendPreview(c.cell[:0], m.Payload)
		c.add(string(c.cell))
	} else {
		c.b = append(c.b, ",,,"...)
	}
	c.int(p.Size)
	c.int(p.Missing)
	var codes, names []string
	for _, r := range reasonsOf(p, nil) {
		codes = append(codes, strconv.Itoa(int(r)))
		names = append(names, r.Name(p.Type, p.Version))
	}
	c.add(strings.Join(codes, ";"))
	c.add(strings.Join(names, ";"))
	keepAlive, cleanStart, present, filters := "", "", "", []string(nil)
	switch m := p.MQTT.(type) {
	case *codec.Connect:
		keepAlive, cleanStart = strconv.Itoa(int(m.KeepAlive)), strconv.FormatBool(m.CleanStart)
	case *codec.Connack:
		present = strconv.FormatBool(m.SessionPresent)
	case *codec.Subscribe:
		for _, f := range m.Filters {
			filters = append(filters, clean(f.Filter)+":"+strconv.Itoa(int(f.QoS)))
		}
	case *codec.Unsubscribe:
		for _, f := range m.Filters {
			filters = append(filters, clean(f))
		}
	}
	c.add(keepAlive)
	c.add(cleanStart)
	c.add(present)
	c.add(strings.Join(filters, ";"))
	var list []string
	if props := propertiesOf(p); props != nil {
		for pr := range props.All() {
			list = append(list, propertyText(pr))
		}
	}
	c.add(strings.Join(list, ";"))
	list = nil
	for _, f := range p.Faults {
		list = append(list, f.Error())
	}
	c.add(strings.Join(list, ";"))
	return c.end()
}

// propertyText is a property in the form name=value.
func propertyText(pr codec.Property) string {
	info := pr.ID.Info()
	switch info.Kind {
	case codec.KindNone:
		return "property " + strconv.Itoa(int(pr.ID))
	case codec.KindString:
		return info.Name + "=" + clean(string(pr.Value))
	case codec.KindBinary:
		return info.Name + "=" + string(appendPreview(nil, pr.Value))
	case codec.KindPair:
		return info.Name + "=" + clean(pr.Key) + ":" + clean(string(pr.Value))
	}
	return info.Name + "=" + strconv.FormatUint(uint64(pr.Int), 10)
}
