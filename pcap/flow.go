package pcap

import (
	"fmt"
	"html"
	"io"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ui"
)

// Flow draws a sequence diagram: what goes from the client to the server is an arrow to the right, and
// what comes back is one to the left.
type Flow struct {
	UI    *ui.UI // nil is plain
	Width int    // of a line in cells; 0 stands for 100

	w      io.Writer
	list   List
	first  int64
	stream int
	begun  bool
	info   []byte
}

// NewFlow returns a Flow that writes text to w.
func NewFlow(w io.Writer) *Flow { return &Flow{w: w} }

// label is what an arrow says.
func (f *Flow) label(p *Packet) string {
	b := append(f.info[:0], typeName(p.Type)...)
	if p.Type == codec.TypePublish {
		b = append(b, " q"...)
		b = append(b, '0'+p.Flags>>1&3)
		if p.Flags&8 != 0 {
			b = append(b, " dup"...)
		}
		if p.Flags&1 != 0 {
			b = append(b, " retain"...)
		}
	}
	if id, ok := packetID(p); ok {
		b = fmt.Appendf(b, " #%d", id)
	}
	b = append(b, ' ')
	b = f.list.what(b, p)
	f.info = b
	return strings.TrimSpace(string(b))
}

const flowMargin = 14 // cells for the time

// Packet draws the arrow of a packet.
func (f *Flow) Packet(p *Packet) error {
	if f.UI == nil {
		f.UI = ui.Plain()
	}
	width := max(f.Width, 60)
	if f.Width <= 0 {
		width = 100
	}
	room := width - flowMargin - 2
	var b strings.Builder
	if !f.begun || f.stream != p.Stream.ID {
		if f.begun {
			b.WriteByte('\n')
		} else {
			f.first = p.Nanos
		}
		f.begun, f.stream = true, p.Stream.ID
		name := ui.Printable(p.Stream.ClientID)
		if name == "" {
			name = p.Stream.Client.String()
		}
		server := p.Stream.Server.String()
		title := ui.Truncate(name, room-ui.Width(server)-2)
		fmt.Fprintf(&b, "%s%s%s%s\n", ui.Pad(fmt.Sprintf("stream %d", p.Stream.ID), flowMargin), f.UI.Strong(title),
			strings.Repeat(" ", max(room+2-ui.Width(title)-ui.Width(server), 1)), f.UI.Strong(server))
	}
	text := ui.Truncate(f.label(p), room-6)
	line := strings.Repeat("-", max(room-ui.Width(text)-5, 1))
	arrow := "-- " + text + " " + line + ">"
	if p.From == codec.Server {
		arrow = "<" + line + " " + text + " --"
	}
	fmt.Fprintf(&b, "%s  |%s|\n", appendSeconds(nil, p.Nanos-f.first, flowMargin-2), arrow)
	_, err := io.WriteString(f.w, b.String())
	return err
}

// Gap draws a break.
func (f *Flow) Gap(g *Gap) error {
	if !f.begun || f.stream != g.Stream.ID {
		return nil
	}
	_, err := fmt.Fprintf(f.w, "%s  :  from the %s: %s\n", appendSeconds(nil, g.Nanos-f.first, flowMargin-2), sideName(g.From), appendGap(nil, g))
	return err
}

// Flush does nothing: what is written is written.
func (f *Flow) Flush() error { return nil }

// maxArrows bounds a drawing; a taller one is of no use.
const maxArrows = 2000

// FlowSVG draws the same as an image. It is written by Flush, since its height is not known before.
type FlowSVG struct {
	w      io.Writer
	text   Flow
	first  int64
	client string
	server string
	rows   []arrow
	more   int
}

type arrow struct {
	nanos int64
	left  bool
	gap   bool
	label string
	full  string
}

// NewFlowSVG returns a FlowSVG that writes to w.
func NewFlowSVG(w io.Writer) *FlowSVG { return &FlowSVG{w: w} }

// Packet adds the arrow of a packet.
func (f *FlowSVG) Packet(p *Packet) error {
	if len(f.rows) == 0 {
		f.first = p.Nanos
	}
	if f.client == "" && p.Stream.ClientID != "" {
		f.client = strings.Clone(p.Stream.ClientID)
	}
	f.server = p.Stream.Server.String()
	if len(f.rows) >= maxArrows {
		f.more++
		return nil
	}
	full := f.text.label(p)
	f.rows = append(f.rows, arrow{nanos: p.Nanos, left: p.From == codec.Server, label: ui.Truncate(full, 78), full: full})
	return nil
}

// Gap adds a break.
func (f *FlowSVG) Gap(g *Gap) error {
	if len(f.rows) > 0 && len(f.rows) < maxArrows {
		text := string(appendGap(nil, g))
		f.rows = append(f.rows, arrow{nanos: g.Nanos, gap: true, label: text, full: text})
	}
	return nil
}

// Flush writes the image.
func (f *FlowSVG) Flush() error {
	const width, step, top, left, right = 900, 26, 56, 110, 880
	height := top + step*(len(f.rows)+1) + 20
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="ui-monospace, monospace" font-size="12">`+"\n", width, height, width, height)
	b.WriteString(`<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#246"/></marker></defs>` + "\n")
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="24" font-weight="bold">%s</text><text x="%d" y="24" text-anchor="end" font-weight="bold">%s</text>`+"\n",
		left, html.EscapeString(ui.Printable(f.client)), right, html.EscapeString(f.server))
	for _, x := range []int{left, right} {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="34" y2="%d" stroke="#999"/>`+"\n", x, x, height-10)
	}
	y := top
	for _, r := range f.rows {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end" fill="#666">%s</text>`, left-10, y+4, strings.TrimSpace(string(appendSeconds(nil, r.nanos-f.first, 0))))
		switch {
		case r.gap:
			fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#b00" stroke-dasharray="2 4"/>`, left, right, y, y)
		case r.left:
			fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#246" marker-end="url(#a)"/>`, right, left+1, y, y)
		default:
			fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="#246" marker-end="url(#a)"/>`, left, right-1, y, y)
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%s<title>%s</title></text>`+"\n", (left+right)/2, y-5, html.EscapeString(r.label), html.EscapeString(r.full))
		y += step
	}
	if f.more > 0 {
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%d more packets are not drawn</text>`+"\n", (left+right)/2, y, f.more)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(f.w, b.String())
	return err
}
