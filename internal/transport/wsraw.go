package transport

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/gobwas/ws"
)

// DefaultMaxFrame is the longest payload that ReadFrame takes unless SetMaxFrame allows another.
const DefaultMaxFrame = 16 << 20

// Frame is one WebSocket frame. Its payload is not masked.
type Frame struct {
	Opcode  Opcode
	Fin     bool
	RSV     byte // the three reserved bits
	Masked  bool // on the wire
	Payload []byte
}

var errFrameCut = errors.New("WebSocket: a frame is unfinished; end it before using frames")

type partialFrame struct {
	head    frameHeader
	payload []byte
}

// SetMaxFrame sets the longest payload that ReadFrame takes. It is called before the first ReadFrame.
func (c *WSConn) SetMaxFrame(n int) { c.maxFrame = n }

// ReadFrame returns the next frame as it came, whatever is wrong with it, and answers nothing: no pong, no
// close. The payload is the caller's. After a deadline the next call goes on where this one stopped.
// Memory grows with what arrives, not with what the header claims.
func (c *WSConn) ReadFrame() (Frame, error) {
	c.rmu.Lock()
	defer c.rmu.Unlock()
	if c.frame == nil {
		if c.parser.inFrame {
			return Frame{}, errFrameCut
		}
		if err := c.readHeader(); err != nil {
			return Frame{}, err
		}
	}
	f := c.frame
	for uint64(len(f.payload)) < f.head.n {
		have := len(f.payload)
		want := int(min(f.head.n-uint64(have), uint64(max(have, 4<<10))))
		if cap(f.payload)-have < want {
			f.payload = append(make([]byte, 0, have+want), f.payload...)
		}
		n, err := c.readRaw(f.payload[have : have+want])
		f.payload = f.payload[:have+n]
		if err != nil && uint64(len(f.payload)) < f.head.n {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
	}
	c.frame = nil
	if f.head.masked {
		ws.Cipher(f.payload, f.head.mask, 0)
	}
	return Frame{Opcode: f.head.op, Fin: f.head.fin, RSV: f.head.rsv, Masked: f.head.masked, Payload: f.payload}, nil
}

func (c *WSConn) readHeader() error {
	p := &c.parser
	for {
		need := 2
		if p.hdrLen >= 2 {
			need = headerSize(p.hdr[:2])
		}
		if p.hdrLen == need {
			break
		}
		n, err := c.readRaw(p.hdr[p.hdrLen:need])
		p.hdrLen += n
		if err != nil && p.hdrLen < need {
			return p.endOfStream(err)
		}
	}
	h := decodeHeader(p.hdr[:p.hdrLen])
	if h.n > uint64(max(c.maxFrame, 0)) || h.n > math.MaxInt32 {
		return fmt.Errorf("WebSocket: a frame claims %d bytes, more than the limit of %d", h.n, c.maxFrame)
	}
	p.hdrLen = 0
	c.frame = &partialFrame{head: h}
	return nil
}

// WriteFrame sends f as given, legal or not; a masked frame gets a random mask. The length is written in
// its shortest form; for anything else, write to NetConn. The frame is not sent while an earlier Write is
// unfinished.
func (c *WSConn) WriteFrame(f Frame) error {
	c.wlock <- struct{}{}
	defer func() { <-c.wlock }()
	if c.wleft > 0 {
		return errFrameCut
	}
	if err := c.flushOut(); err != nil {
		return err
	}
	h := frameHeader{op: f.Opcode, fin: f.Fin, rsv: f.RSV, masked: f.Masked, n: uint64(len(f.Payload))}
	if h.masked {
		h.mask = newMask()
	}
	b := append(appendHeader(make([]byte, 0, maxHeader+len(f.Payload)), h), f.Payload...)
	if h.masked {
		ws.Cipher(b[len(b)-len(f.Payload):], h.mask, 0)
	}
	n, err := c.conn.Write(b)
	if err != nil && n > 0 {
		c.out = append(c.out, b[n:]...)
	}
	return err
}
