package pcap

import (
	"fmt"
	"io"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/pcapng"
)

// Export writes packets to a new capture in the format pcapng, each stream on a TCP connection of its own
// without loss, encryption or WebSocket. Start from [NewExport].
type Export struct {
	// Anonymize replaces what could tell who spoke of what, the same by the same, as [Anonymizer] does.
	Anonymize *Anonymizer

	w    *pcapng.Writer
	last int64
	// Dropped counts packets that were left out: those with missing bytes, and with Anonymize those whose fields
	// cannot be told apart.
	Dropped int
}

// NewExport returns an Export that writes to w.
func NewExport(w io.Writer) (*Export, error) {
	pw, err := pcapng.NewWriter(w, pcapng.RawIP, "MQTT packets, exported by mqlab")
	if err != nil {
		return nil, err
	}
	return &Export{w: pw}, nil
}

// Packet writes a packet.
func (e *Export) Packet(p *Packet) error {
	if p.Missing > 0 {
		e.Dropped++
		return nil
	}
	raw := p.Raw
	client, server := p.Stream.Client, p.Stream.Server
	if e.Anonymize != nil {
		var ok bool
		if raw, ok = e.Anonymize.Packet(p); !ok {
			e.Dropped++
			return nil
		}
		client, server = e.Anonymize.Address(client), e.Anonymize.Address(server)
	}
	e.last = max(e.last, p.Nanos) // packets behind a gap come late
	at := time.Unix(0, e.last)
	s, ok := p.Stream.Value.(*pcapng.Stream)
	if !ok {
		var err error
		if s, err = e.w.Stream(at, client, server); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
		p.Stream.Value = s
	}
	if err := s.Data(at, p.From == codec.Server, raw, ""); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}

// Gap does nothing: what is missing is not there in the new capture either.
func (e *Export) Gap(*Gap) error { return nil }

// End closes the connection of a stream.
func (e *Export) End(x *StreamEnd) error {
	s, ok := x.Stream.Value.(*pcapng.Stream)
	if !ok {
		return nil
	}
	x.Stream.Value = nil
	if !x.Closed {
		return nil
	}
	e.last = max(e.last, x.Nanos)
	return s.Close(time.Unix(0, e.last), x.By == codec.Server)
}
