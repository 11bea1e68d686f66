package transport

import (
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Opcode is the type of a WebSocket frame.
type Opcode byte

// The opcodes of RFC 6455.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

func (o Opcode) control() bool { return o&0x8 != 0 }

// The close codes sent from here.
const (
	CloseNormal      = 1000
	CloseProtocol    = 1002
	CloseUnsupported = 1003
	CloseBadText     = 1007
)

// FrameError is a departure of the peer's from the WebSocket protocol, or from what MQTT allows on it.
// Code is the close code sent to the peer.
type FrameError struct {
	Code int
	Msg  string
}

func (e *FrameError) Error() string {
	return "WebSocket: " + e.Msg + " (close code " + strconv.Itoa(e.Code) + ")"
}

// ErrTextFrame is what Read returns after a text frame: MQTT travels in binary frames only [MQTT-6.0.0-1].
var ErrTextFrame error = &FrameError{CloseUnsupported, "the peer sent a text frame, MQTT needs binary ones"}

var (
	errReservedBits   = &FrameError{CloseProtocol, "a reserved bit is set although no extension was agreed on"}
	errReservedOpcode = &FrameError{CloseProtocol, "the opcode is reserved"}
	errNotMasked      = &FrameError{CloseProtocol, "a frame from the client is not masked"}
	errMasked         = &FrameError{CloseProtocol, "a frame from the server is masked"}
	errControlSize    = &FrameError{CloseProtocol, "a control frame has more than 125 bytes"}
	errControlParts   = &FrameError{CloseProtocol, "a control frame is fragmented"}
	errLength         = &FrameError{CloseProtocol, "the highest bit of a frame length is set"}
	errNoStart        = &FrameError{CloseProtocol, "a continuation frame has no message to continue"}
	errNotFinished    = &FrameError{CloseProtocol, "a message starts inside another"}
	errCloseBody      = &FrameError{CloseProtocol, "a close frame has an impossible code"}
	errCloseText      = &FrameError{CloseBadText, "the reason of a close frame is not UTF-8"}
)

const (
	maxHeader  = 14
	maxControl = 125
)

// frameHeader is a decoded frame header.
type frameHeader struct {
	op     Opcode
	fin    bool
	rsv    byte
	masked bool
	mask   [4]byte
	n      uint64
}

// headerSize tells how long the header is that starts with these two bytes.
func headerSize(b []byte) int {
	n := 2
	switch b[1] & 0x7f {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	if b[1]&0x80 != 0 {
		n += 4
	}
	return n
}

// decodeHeader reads a header from b, which holds exactly that.
func decodeHeader(b []byte) frameHeader {
	h := frameHeader{
		op: Opcode(b[0] & 0x0f), fin: b[0]&0x80 != 0, rsv: b[0] >> 4 & 7,
		masked: b[1]&0x80 != 0, n: uint64(b[1] & 0x7f),
	}
	switch h.n {
	case 126:
		h.n = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		h.n = binary.BigEndian.Uint64(b[2:])
	}
	if h.masked {
		copy(h.mask[:], b[len(b)-4:])
	}
	return h
}

// appendHeader writes the shortest form of h.
func appendHeader(dst []byte, h frameHeader) []byte {
	b0, b1 := byte(h.op)&0x0f|h.rsv<<4&0x70, byte(0)
	if h.fin {
		b0 |= 0x80
	}
	if h.masked {
		b1 = 0x80
	}
	switch {
	case h.n < 126:
		dst = append(dst, b0, b1|byte(h.n))
	case h.n <= 0xffff:
		dst = binary.BigEndian.AppendUint16(append(dst, b0, b1|126), uint16(h.n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, b0, b1|127), h.n)
	}
	if h.masked {
		dst = append(dst, h.mask[:]...)
	}
	return dst
}

// frameParser turns raw bytes into payload, in place and without a buffer of its own: what it keeps
// between calls is a header cut in half or a control frame cut in half. Because payload is never longer
// than the raw bytes that carried it, both fit the caller's slice, a claimed length allocates nothing,
// and a read that ends early at a deadline loses nothing.
type frameParser struct {
	server bool // the peer is a client and has to mask

	hdr     [maxHeader]byte
	hdrLen  int
	head    frameHeader // of the current frame
	left    uint64      // payload bytes of the current frame still to come
	pos     int         // position in the mask, modulo 4
	inFrame bool
	inMsg   bool // between the first and the last frame of a message
	control []byte
}

// boundary reports whether the stream may end here.
func (p *frameParser) boundary() bool { return !p.inFrame && p.hdrLen == 0 && !p.inMsg }

// parse moves the payload bytes of data frames in b to its front and returns how many there are.
// A complete control frame is passed to onControl. After an error the rest of b was not looked at.
func (p *frameParser) parse(b []byte, onControl func(Opcode, []byte) error) (int, error) {
	out, i := 0, 0
	for i < len(b) {
		if !p.inFrame {
			i += p.takeHeader(b[i:])
			if !p.inFrame {
				return out, nil
			}
			if err := p.check(); err != nil {
				return out, err
			}
		}
		n := int(min(uint64(len(b)-i), p.left))
		chunk := b[i : i+n]
		if p.head.masked {
			ws.Cipher(chunk, p.head.mask, p.pos)
			p.pos = (p.pos + n) & 3
		}
		if p.head.op.control() {
			p.control = append(p.control, chunk...)
		} else {
			if out != i {
				copy(b[out:], chunk)
			}
			out += n
		}
		i += n
		p.left -= uint64(n)
		if p.left > 0 {
			continue
		}
		p.inFrame = false
		if p.head.op.control() {
			err := onControl(p.head.op, p.control)
			p.control = p.control[:0]
			if err != nil {
				return out, err
			}
			continue
		}
		p.inMsg = !p.head.fin
	}
	return out, nil
}

// takeHeader collects a header and returns the bytes used; inFrame tells that it is complete.
func (p *frameParser) takeHeader(b []byte) int {
	used := 0
	for {
		need := 2
		if p.hdrLen >= 2 {
			need = headerSize(p.hdr[:2])
		}
		n := copy(p.hdr[p.hdrLen:need], b[used:])
		p.hdrLen += n
		used += n
		if p.hdrLen < need {
			return used
		}
		if need > 2 || headerSize(p.hdr[:2]) == 2 {
			break
		}
	}
	p.head = decodeHeader(p.hdr[:p.hdrLen])
	p.left, p.pos, p.hdrLen, p.inFrame = p.head.n, 0, 0, true
	return used
}

func (p *frameParser) check() error {
	h := &p.head
	switch {
	case h.rsv != 0:
		return errReservedBits
	case h.op > OpPong || h.op > OpBinary && !h.op.control():
		return errReservedOpcode
	case p.server && !h.masked:
		return errNotMasked
	case !p.server && h.masked:
		return errMasked
	case h.n>>63 != 0:
		return errLength
	case h.op.control() && h.n > maxControl:
		return errControlSize
	case h.op.control() && !h.fin:
		return errControlParts
	case h.op == OpText:
		return ErrTextFrame // [MQTT-6.0.0-1]
	case h.op == OpContinuation && !p.inMsg:
		return errNoStart
	case h.op == OpBinary && p.inMsg:
		return errNotFinished
	}
	return nil
}

// closeStatus reads the body of a close frame; code 0 stands for an empty one.
func closeStatus(body []byte) (code int, reason string, err error) {
	if len(body) == 0 {
		return 0, "", nil
	}
	if len(body) == 1 {
		return 0, "", errCloseBody
	}
	code = int(binary.BigEndian.Uint16(body))
	switch {
	case code < 1000, code >= 1004 && code <= 1006, code >= 1015 && code < 3000, code >= 5000:
		return code, "", errCloseBody
	case !utf8.Valid(body[2:]):
		return code, "", errCloseText
	}
	return code, string(body[2:]), nil
}

// closeBody is the answer to err: a close frame's body.
func closeBody(err error) []byte {
	var fe *FrameError
	if !errors.As(err, &fe) {
		return binary.BigEndian.AppendUint16(nil, CloseNormal)
	}
	return binary.BigEndian.AppendUint16(nil, uint16(fe.Code))
}

// endOfStream tells a connection that ended between messages from one that was cut.
func (p *frameParser) endOfStream(err error) error {
	if err == io.EOF && !p.boundary() { //nolint:errorlint // io.Reader returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
