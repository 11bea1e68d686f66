package pcapng

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Stream is a synthetic TCP connection over IPv4 in a capture of link type RawIP. Times must not
// go backwards. Its bytes are acknowledged at once and nothing is lost.
type Stream struct {
	w    *Writer
	ends [2]end // client, server
	open bool
}

type end struct {
	addr netip.AddrPort
	seq  uint32 // of the next byte this end sends
}

// Flags of a TCP header.
const (
	fin = 1
	syn = 2
	psh = 8
	ack = 16
)

// maxSegment is the payload of one packet: a common MTU less the headers.
const maxSegment = 1460

// Stream opens a connection between two IPv4 addresses with a complete handshake.
func (p *Writer) Stream(at time.Time, client, server netip.AddrPort) (*Stream, error) {
	s := &Stream{w: p, open: true, ends: [2]end{{client, 1000}, {server, 5000}}}
	s.segment(at, 0, syn, nil, "")
	s.ends[0].seq++
	s.segment(at, 1, syn|ack, nil, "")
	s.ends[1].seq++
	s.segment(at, 0, ack, nil, "")
	return s, p.err
}

// Data sends bytes from the client or the server, in as many segments as it takes. The comment
// goes with the first.
func (s *Stream) Data(at time.Time, fromServer bool, b []byte, comment string) error {
	from := 0
	if fromServer {
		from = 1
	}
	for len(b) > 0 {
		n := min(len(b), maxSegment)
		s.segment(at, from, psh|ack, b[:n], comment)
		s.ends[from].seq += uint32(n)
		s.segment(at, 1-from, ack, nil, "")
		b, comment = b[n:], ""
	}
	return s.w.err
}

// Close ends the connection in order, the given side first. A closed Stream stays closed.
func (s *Stream) Close(at time.Time, byServer bool) error {
	if !s.open {
		return s.w.err
	}
	s.open = false
	from := 0
	if byServer {
		from = 1
	}
	for _, side := range []int{from, 1 - from} {
		s.segment(at, side, fin|ack, nil, "")
		s.ends[side].seq++
		s.segment(at, 1-side, ack, nil, "")
	}
	return s.w.err
}

// segment writes one TCP segment in an IPv4 packet.
func (s *Stream) segment(at time.Time, from int, flags byte, payload []byte, comment string) {
	src, dst := s.ends[from], s.ends[1-from]
	b := make([]byte, 40, 40+len(payload))
	b[0] = 0x45
	binary.BigEndian.PutUint16(b[2:], uint16(40+len(payload)))
	binary.BigEndian.PutUint16(b[6:], 0x4000) // do not fragment
	b[8], b[9] = 64, 6
	copy(b[12:], src.addr.Addr().AsSlice())
	copy(b[16:], dst.addr.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:20], 0))

	tcp := b[20:]
	binary.BigEndian.PutUint16(tcp, src.addr.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.addr.Port())
	binary.BigEndian.PutUint32(tcp[4:], src.seq)
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(tcp[8:], dst.seq)
	}
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	b = append(b, payload...)
	pseudo := append(append([]byte{}, b[12:20]...), 0, 6, 0, 0)
	binary.BigEndian.PutUint16(pseudo[10:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(b[36:], ^sum(b[20:], uint32(sum(pseudo, 0))))
	_ = s.w.Packet(at, b, comment) // kept in s.w.err
}

// sum is the one's complement sum of RFC 1071, begun with a partial one.
func sum(b []byte, begin uint32) uint16 {
	v := begin
	for ; len(b) > 1; b = b[2:] {
		v += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		v += uint32(b[0]) << 8
	}
	for v > 0xFFFF {
		v = v>>16 + v&0xFFFF
	}
	return uint16(v)
}
