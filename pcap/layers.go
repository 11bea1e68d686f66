package pcap

import (
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// maxNesting bounds how many headers are taken off a frame: tunnels may be nested, and frames made
// to hurt are.
const maxNesting = 24

// endpoint is an address with a port. IPv4 addresses are kept in their mapped form.
type endpoint struct {
	addr [16]byte
	port uint16
}

// segment is one TCP segment of a capture.
type segment struct {
	src, dst endpoint
	v6       bool
	seq, ack uint32
	syn, fin bool
	rst, has bool // has: ack is valid
	data     []byte
	missing  int // bytes of the segment that the capture cut off, after data
	frame    int
	nanos    int64
}

// stack takes the headers off frames. The structs are reused: it allocates nothing in steady state.
type stack struct {
	eth   layers.Ethernet
	dot1q layers.Dot1Q
	frags fragments
	seg   segment
}

var feedback = gopacket.NilDecodeFeedback

// segment finds the TCP segment in a frame. It returns nil where there is none.
func (s *stack) segment(f *Frame) *segment {
	s.seg.frame, s.seg.nanos = f.Number, f.Nanos
	b := f.Data
	switch f.Link {
	case LinkEthernet:
		return s.layer(layers.LayerTypeEthernet, b, 0)
	case LinkNull, LinkLoop:
		return s.loopback(f.Link, b)
	case LinkRaw, LinkRawBSD, LinkRawOBSD, LinkIPv4, LinkIPv6:
		return s.ip(b, 0)
	case LinkSLL:
		if len(b) < 16 {
			return nil
		}
		return s.layer(layers.EthernetType(binary.BigEndian.Uint16(b[14:])).LayerType(), b[16:], 1)
	case LinkSLL2:
		if len(b) < 20 {
			return nil
		}
		return s.layer(layers.EthernetType(binary.BigEndian.Uint16(b)).LayerType(), b[20:], 1)
	case LinkPPP:
		return s.layer(layers.LayerTypePPP, b, 0)
	}
	return nil
}

// loopback reads the address family in front, in the order of the capturing host or of the network.
func (s *stack) loopback(link LinkType, b []byte) *segment {
	if len(b) < 5 {
		return nil
	}
	return s.ip(b[4:], 1)
}

// ip reads the version where nothing else says it.
func (s *stack) ip(b []byte, depth int) *segment {
	if len(b) == 0 {
		return nil
	}
	switch b[0] >> 4 {
	case 4:
		return s.ipv4(b, depth)
	case 6:
		return s.ipv6(b, depth)
	}
	return nil
}

func (s *stack) layer(t gopacket.LayerType, b []byte, depth int) *segment {
	for ; depth < maxNesting; depth++ {
		switch t {
		case layers.LayerTypeEthernet:
			if s.eth.DecodeFromBytes(b, feedback) != nil {
				return nil
			}
			t, b = s.eth.NextLayerType(), s.eth.Payload
		case layers.LayerTypeDot1Q:
			if s.dot1q.DecodeFromBytes(b, feedback) != nil {
				return nil
			}
			t, b = s.dot1q.NextLayerType(), s.dot1q.Payload
		case layers.LayerTypeMPLS:
			if len(b) < 4 {
				return nil
			}
			bottom := b[2]&1 != 0
			if b = b[4:]; bottom {
				return s.ip(b, depth+1)
			}
		case layers.LayerTypePPPoE:
			if len(b) < 8 {
				return nil
			}
			t, b = layers.LayerTypePPP, b[6:]
		case layers.LayerTypePPP:
			if len(b) >= 2 && b[0] == 0xFF && b[1] == 0x03 { // address and control, seldom left in
				b = b[2:]
			}
			if len(b) < 3 {
				return nil
			}
			if b[0]&1 != 0 { // a protocol number of one byte
				b = b[1:]
			} else {
				b = b[2:]
			}
			return s.ip(b, depth+1)
		case layers.LayerTypeIPv4:
			return s.ipv4(b, depth+1)
		case layers.LayerTypeIPv6:
			return s.ipv6(b, depth+1)
		default:
			return nil
		}
	}
	return nil
}

func (s *stack) ipv4(b []byte, depth int) *segment {
	if depth >= maxNesting || len(b) < 20 || b[0]>>4 != 4 {
		return nil
	}
	seg := &s.seg
	seg.v6 = false
	seg.src.addr, seg.dst.addr = mapped4(b[12:16]), mapped4(b[16:20])
	// Network cards that segment by themselves leave the length 0: then it is what the frame holds.
	header, length := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if length == 0 {
		length = len(b)
	}
	if header < 20 || header > length || header > len(b) {
		return nil
	}
	payload := b[header:min(length, len(b))]
	missing := length - header - len(payload)
	proto := layers.IPProtocol(b[9])
	if word := binary.BigEndian.Uint16(b[6:]); word&0x3FFF != 0 { // an offset, or more fragments follow
		if missing > 0 {
			return nil
		}
		key := fragKey{seg.src.addr, seg.dst.addr, uint32(binary.BigEndian.Uint16(b[4:])), b[9]}
		payload = s.frags.add(key, int(word&0x1FFF)*8, payload, word&0x2000 == 0, seg.nanos)
		if payload == nil {
			return nil
		}
	}
	return s.transport(proto, payload, missing, depth+1)
}

func mapped4(b []byte) (a [16]byte) {
	a[10], a[11] = 0xFF, 0xFF
	copy(a[12:], b)
	return a
}

func (s *stack) ipv6(b []byte, depth int) *segment {
	if depth >= maxNesting || len(b) < 40 {
		return nil
	}
	seg := &s.seg
	seg.v6 = true
	seg.src.addr, seg.dst.addr = [16]byte(b[8:24]), [16]byte(b[24:40])
	length := int(binary.BigEndian.Uint16(b[4:]))
	next := layers.IPProtocol(b[6])
	b = b[40:]
	if length == 0 { // a jumbogram, or segmented by the card
		length = len(b)
	}
	missing := max(length-len(b), 0)
	b = b[:min(length, len(b))]
	for range maxNesting {
		switch next {
		case layers.IPProtocolIPv6HopByHop, layers.IPProtocolIPv6Routing, layers.IPProtocolIPv6Destination, 135, 139, 140:
			if len(b) < 8 || len(b) < (int(b[1])+1)*8 {
				return nil
			}
			next, b = layers.IPProtocol(b[0]), b[(int(b[1])+1)*8:]
		case layers.IPProtocolAH:
			if len(b) < 8 || len(b) < (int(b[1])+2)*4 {
				return nil
			}
			next, b = layers.IPProtocol(b[0]), b[(int(b[1])+2)*4:]
		case layers.IPProtocolIPv6Fragment:
			if len(b) < 8 {
				return nil
			}
			word := binary.BigEndian.Uint16(b[2:])
			id, proto := binary.BigEndian.Uint32(b[4:]), b[0]
			next, b = layers.IPProtocol(proto), b[8:]
			if word&^6 == 0 { // the only fragment
				continue
			}
			if missing > 0 {
				return nil
			}
			key := fragKey{seg.src.addr, seg.dst.addr, id, proto}
			if b = s.frags.add(key, int(word&^7), b, word&1 == 0, seg.nanos); b == nil {
				return nil
			}
		default:
			return s.transport(next, b, missing, depth+1)
		}
	}
	return nil
}

const vxlanPort = 4789

func (s *stack) transport(proto layers.IPProtocol, b []byte, missing, depth int) *segment {
	switch proto {
	case layers.IPProtocolTCP:
		return s.tcpSegment(b, missing)
	case layers.IPProtocolIPv4, layers.IPProtocolIPv6:
		return s.ip(b, depth)
	case layers.IPProtocolGRE:
		t, b := greBody(b)
		return s.layer(t, b, depth)
	case layers.IPProtocolUDP:
		if len(b) < 16 || binary.BigEndian.Uint16(b[2:]) != vxlanPort || b[8]&0x08 == 0 {
			return nil
		}
		return s.layer(layers.LayerTypeEthernet, b[16:], depth)
	}
	return nil
}

// greBody returns what a GRE tunnel carries. The source routes of RFC 1701, which nobody uses, are not followed.
func greBody(b []byte) (gopacket.LayerType, []byte) {
	const checksum, routing, key, sequence, acknowledged = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
	if len(b) < 4 {
		return 0, nil
	}
	flags, n := binary.BigEndian.Uint16(b), 4
	for _, bit := range []uint16{checksum, key, sequence, acknowledged} {
		if flags&bit != 0 && (bit != acknowledged || flags&7 == 1) { // version 1 is that of PPTP
			n += 4
		}
	}
	if flags&routing != 0 || flags&7 > 1 || n > len(b) {
		return 0, nil
	}
	return layers.EthernetType(binary.BigEndian.Uint16(b[2:])).LayerType(), b[n:]
}

func (s *stack) tcpSegment(b []byte, missing int) *segment {
	if len(b) < 20 {
		return nil
	}
	seg := &s.seg
	offset := int(b[12]>>4) * 4
	if offset < 20 || offset > len(b) {
		return nil
	}
	seg.src.port, seg.dst.port = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	seg.seq, seg.ack = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	flags := b[13]
	seg.fin, seg.syn, seg.rst, seg.has = flags&1 != 0, flags&2 != 0, flags&4 != 0, flags&16 != 0
	seg.data, seg.missing = b[offset:], missing
	return seg
}
