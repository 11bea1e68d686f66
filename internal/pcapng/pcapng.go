// Package pcapng writes capture files in the pcapng format: raw packets by [Writer], and whole
// conversations by [Stream], which lays bytes on a synthetic TCP connection that a dissector
// follows from SYN to FIN. Start from [NewWriter].
//
// Reading captures is the business of package pcap.
package pcapng

import (
	"encoding/binary"
	"io"
	"time"
)

// LinkType is the link layer of an interface.
type LinkType uint16

// The link types that tools of this module write.
const (
	Ethernet LinkType = 1
	RawIP    LinkType = 101 // packets begin with the IPv4 or IPv6 header
)

// Writer writes one section with one interface of nanosecond resolution. It buffers nothing.
// The first error is kept and returned by every later call.
type Writer struct {
	w   io.Writer
	err error
	buf []byte
}

const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 6

	optEnd     = 0
	optComment = 1
	optAppl    = 4 // of a section: the writing program
	optTSResol = 9 // of an interface: the resolution of timestamps
)

// NewWriter begins a capture with packets of the link type. The comment, which may be empty,
// is shown by dissectors as the file's.
func NewWriter(w io.Writer, link LinkType, comment string) (*Writer, error) {
	p := &Writer{w: w}
	p.block(blockSection, func() {
		p.u32(0x1A2B3C4D)
		p.u16(1)
		p.u16(0)
		p.u32(0xFFFFFFFF) // the section's length is not given
		p.u32(0xFFFFFFFF)
		p.option(optComment, comment)
		p.option(optAppl, "mqlab")
		p.option(optEnd, "")
	})
	p.block(blockInterface, func() {
		p.u16(uint16(link))
		p.u16(0)
		p.u32(0) // packets are never cut
		p.option(optTSResol, "\x09")
		p.option(optEnd, "")
	})
	return p, p.err
}

// Packet writes one packet with its time and an optional comment.
func (p *Writer) Packet(at time.Time, data []byte, comment string) error {
	p.block(blockPacket, func() {
		ns := uint64(at.UnixNano())
		p.u32(0)
		p.u32(uint32(ns >> 32))
		p.u32(uint32(ns))
		p.u32(uint32(len(data)))
		p.u32(uint32(len(data)))
		p.buf = append(p.buf, data...)
		p.pad()
		p.option(optComment, comment)
		if comment != "" {
			p.option(optEnd, "")
		}
	})
	return p.err
}

// block writes a block with the body that fill appends.
func (p *Writer) block(typ uint32, fill func()) {
	if p.err != nil {
		return
	}
	p.buf = p.buf[:0]
	p.u32(typ)
	p.u32(0)
	fill()
	size := uint32(len(p.buf) + 4)
	p.u32(size)
	binary.LittleEndian.PutUint32(p.buf[4:], size)
	_, p.err = p.w.Write(p.buf)
}

// option appends an option; an empty one other than the end is left out.
func (p *Writer) option(code uint16, value string) {
	if value == "" && code != optEnd {
		return
	}
	value = value[:min(len(value), 65535)]
	p.u16(code)
	p.u16(uint16(len(value)))
	p.buf = append(p.buf, value...)
	p.pad()
}

// pad fills up to a multiple of four bytes.
func (p *Writer) pad() {
	for len(p.buf)%4 != 0 {
		p.buf = append(p.buf, 0)
	}
}

func (p *Writer) u16(v uint16) { p.buf = binary.LittleEndian.AppendUint16(p.buf, v) }
func (p *Writer) u32(v uint32) { p.buf = binary.LittleEndian.AppendUint32(p.buf, v) }
