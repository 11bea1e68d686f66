package pcapng

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Stream is a synthetic TCP connection over IPv4 or IPv6 in a capture of link type RawIP. Times must not
// go backwards. Its bytes are acknowledged at once and nothing is lost.
type Stream struct {
	w    *Writer
	ends [2]end // client, server
	open bool
	v6   bool
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

// Stream opens a connection with a complete handshake: over IPv4 where both addresses are of it, else over IPv6.
func (p *Writer) Stream(at time.Time, client, server netip.AddrPort) (*Stream, error) {
	if !client.IsValid() || !server.IsValid() {
		return nil, fmt.Errorf("write a capture: a connection needs two addresses, not %v and %v", client, server)
	}
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	server = netip.AddrPortFrom(server.Addr().Unmap(), server.Port())
	s := &Stream{w: p, open: true, ends: [2]end{{client, 1000}, {server, 5000}}}
	s.v6 = !client.Addr().Is4() || !server.Addr().Is4()
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

// segment writes one TCP segment in an IP packet.
func (s *Stream) segment(at time.Time, from int, flags byte, payload []byte, comment string) {
	src, dst := s.ends[from], s.ends[1-from]
	size := 20 + len(payload) // of the segment
	var b []byte
	var partial uint32 // the part of the checksum that stands for the addresses
	if s.v6 {
		b = make([]byte, 60, 40+size)
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(size))
		b[6], b[7] = 6, 64
		from, to := src.addr.Addr().As16(), dst.addr.Addr().As16()
		copy(b[8:], from[:])
		copy(b[24:], to[:])
		partial = uint32(sum(b[8:40], uint32(6+size)))
	} else {
		b = make([]byte, 40, 20+size)
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(20+size))
		binary.BigEndian.PutUint16(b[6:], 0x4000) // do not fragment
		b[8], b[9] = 64, 6
		from, to := src.addr.Addr().As4(), dst.addr.Addr().As4()
		copy(b[12:], from[:])
		copy(b[16:], to[:])
		binary.BigEndian.PutUint16(b[10:], ^sum(b[:20], 0))
		partial = uint32(sum(b[12:20], uint32(6+size)))
	}
	head := len(b) - 20
	tcp := b[head:]
	binary.BigEndian.PutUint16(tcp, src.addr.Port())
	binary.BigEndian.PutUint16(tcp[2:], dst.addr.Port())
	binary.BigEndian.PutUint32(tcp[4:], src.seq)
	if flags&ack != 0 {
		binary.BigEndian.PutUint32(tcp[8:], dst.seq)
	}
	tcp[12], tcp[13] = 5<<4, flags
	binary.BigEndian.PutUint16(tcp[14:], 65535)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[head+16:], ^sum(b[head:], partial))
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
