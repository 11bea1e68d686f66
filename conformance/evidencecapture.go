package conformance

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mqlab/mqlab/internal/pcapng"
	"github.com/mqlab/mqlab/internal/peer"
)

// firstPort is the client's port of a check's first connection in a capture.
const firstPort = 50001

var captureServer = netip.MustParseAddrPort("127.0.0.1:1883")

// capture writes the transcript as a capture: a TCP connection for each connection of the check,
// with the times of the packets. Remarks are comments of the packet that follows them on their connection.
func (t *T) capture(c *CheckResult) []byte {
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.RawIP, strings.TrimSpace(c.about(t.run.describeTarget())))
	if err != nil {
		return nil // a buffer takes everything
	}
	acts, _ := t.transcript.Acts()
	last := t.transcript.Begin()
	at := func(since time.Duration) time.Time {
		if x := t.transcript.Begin().Add(since); x.After(last) {
			last = x
		}
		return last
	}
	notes := t.notes()
	streams := map[string]*pcapng.Stream{}
	var order []string
	for _, a := range acts {
		if a.Conn == "" {
			continue
		}
		s := streams[a.Conn]
		if s == nil {
			client := netip.AddrPortFrom(captureServer.Addr(), uint16(firstPort+len(order)%10000))
			if s, err = w.Stream(at(a.At), client, captureServer); err != nil {
				return nil
			}
			streams[a.Conn] = s
			order = append(order, a.Conn)
		}
		switch a.Kind {
		case peer.ActSend, peer.ActArrived:
			comment := notes.before(a.Conn, a.At)
			_ = s.Data(at(a.At), a.Kind == peer.ActArrived, t.transcript.Redact(a.Frame), comment)
		case peer.ActOver:
			_ = s.Close(at(a.At), a.Auto)
		}
	}
	for _, name := range order {
		_ = streams[name].Close(last, false)
	}
	return file.Bytes()
}

// remarks are the notes of a transcript that are still to be written.
type remarks []peer.Entry

func (t *T) notes() *remarks {
	var out remarks
	for _, e := range t.transcript.Entries() {
		if e.Dir == peer.Noted {
			out = append(out, e)
		}
	}
	return &out
}

// before takes out the notes of the connection, and those of none, up to a time.
func (r *remarks) before(conn string, at time.Duration) string {
	var lines []string
	var rest remarks
	for _, e := range *r {
		switch {
		case e.At <= at && e.Conn == conn:
			lines = append(lines, e.Text)
		case e.At <= at && e.Conn == "":
			lines = append(lines, fmt.Sprintf("(check) %s", e.Text))
		default:
			rest = append(rest, e)
		}
	}
	*r = rest
	return strings.Join(lines, "\n")
}
