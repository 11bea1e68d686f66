package pcap

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// LinkType is the link layer of a frame, in the numbers of the capture formats.
type LinkType uint32

// The link types that are understood.
const (
	LinkNull     LinkType = 0   // BSD loopback
	LinkEthernet LinkType = 1   // Ethernet, with or without VLAN tags
	LinkPPP      LinkType = 9   // PPP
	LinkRawBSD   LinkType = 12  // raw IP on most systems
	LinkRawOBSD  LinkType = 14  // raw IP on OpenBSD
	LinkRaw      LinkType = 101 // raw IP
	LinkLoop     LinkType = 108 // OpenBSD loopback
	LinkSLL      LinkType = 113 // Linux cooked capture
	LinkIPv4     LinkType = 228 // raw IPv4
	LinkIPv6     LinkType = 229 // raw IPv6
	LinkSLL2     LinkType = 276 // Linux cooked capture, version 2
)

// Frame is one frame of a capture.
type Frame struct {
	Number int   // in its file, from 1
	Nanos  int64 // capture time since 1970 in nanoseconds
	Link   LinkType
	Data   []byte // valid until the next frame is read
	Length int    // bytes on the wire; more than len(Data) where the capture cut the frame
}

// Time returns the capture time in UTC.
func (f *Frame) Time() time.Time { return time.Unix(0, f.Nanos).UTC() }

// ErrDamaged reports a capture file that ends in the middle of a record or holds nonsense where a
// record should be. What came before has been delivered.
var ErrDamaged = errors.New("the capture is damaged")

// ErrFormat reports input that is not a capture in a known format.
var ErrFormat = errors.New("not a capture in a known format")

const (
	readBuffer = 1 << 20
	maxRecord  = 64 << 20 // a longer record is damage
	maxSecrets = 16 << 20
	maxBlank   = 16 // records of zeros in a row: more are what a crash leaves at the end of a file
)

// Reader reads the frames of a capture file or stream in the formats pcap and pcapng, as they are
// or compressed by gzip or zstd. Start from [NewReader]. It holds a buffer of 1 MiB whatever the size of
// the capture, two where it is compressed, and a larger one only while a frame is larger; zstd takes up to
// 64 MiB more where the capture was compressed so. A Reader is for one goroutine.
type Reader struct {
	// Secrets is called with the TLS key log that a pcapng file carries, where it is set.
	Secrets func(keylog []byte)

	br    *bufio.Reader
	next  func(*Frame) error
	frame Frame
	big   []byte
	at    int64 // bytes consumed of the uncompressed capture
	err   error

	order binary.ByteOrder

	// pcap
	link     LinkType
	fraction int64 // nanoseconds per unit of the second word
	header   int   // bytes of a record header: 16, or 24 in the modified format
	blank    int   // records in a row that are all zeros

	// pcapng
	interfaces []iface
}

type iface struct {
	link   LinkType
	snap   int
	unit   func(uint64) int64
	offset int64 // nanoseconds
}

// NewReader finds out the format of r by its first bytes. An error that is [ErrFormat] says what
// the bytes are instead, where that is known.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{br: bufio.NewReaderSize(r, readBuffer)}
	for range 2 {
		head, err := c.br.Peek(4)
		if len(head) >= 2 {
			p, perr := unpacker(c.br, head)
			if perr != nil {
				return nil, c.broken(perr, "the header")
			}
			if p != nil {
				c.br = bufio.NewReaderSize(p, readBuffer)
				continue
			}
		}
		if len(head) == 0 {
			if err == io.EOF {
				return nil, fmt.Errorf("%w: it is empty", ErrFormat)
			}
			return nil, c.broken(err, "the header")
		}
		if len(head) < 4 {
			if err != io.EOF {
				return nil, c.broken(err, "the header")
			}
			return nil, fmt.Errorf("%w: it holds only %d bytes", ErrFormat, len(head))
		}
		return c, c.open([4]byte(head))
	}
	return nil, fmt.Errorf("%w: it is compressed twice", ErrFormat)
}

func (c *Reader) open(magic [4]byte) error {
	switch magic {
	case [4]byte{0x0A, 0x0D, 0x0D, 0x0A}:
		c.next = c.nextBlock
		c.order = binary.LittleEndian
		return nil
	case [4]byte{0xA1, 0xB2, 0xC3, 0xD4}:
		return c.openPcap(binary.BigEndian, time.Microsecond, 16)
	case [4]byte{0xD4, 0xC3, 0xB2, 0xA1}:
		return c.openPcap(binary.LittleEndian, time.Microsecond, 16)
	case [4]byte{0xA1, 0xB2, 0x3C, 0x4D}:
		return c.openPcap(binary.BigEndian, time.Nanosecond, 16)
	case [4]byte{0x4D, 0x3C, 0xB2, 0xA1}:
		return c.openPcap(binary.LittleEndian, time.Nanosecond, 16)
	case [4]byte{0xA1, 0xB2, 0xCD, 0x34}:
		return c.openPcap(binary.BigEndian, time.Microsecond, 24)
	case [4]byte{0x34, 0xCD, 0xB2, 0xA1}:
		return c.openPcap(binary.LittleEndian, time.Microsecond, 24)
	case [4]byte{0xFD, '7', 'z', 'X'}:
		return fmt.Errorf("%w: it is compressed by xz; unpack it first, as in xz -dc FILE | mqlab pcap -", ErrFormat)
	case [4]byte{'s', 'n', 'o', 'o'}:
		return fmt.Errorf("%w: it is a snoop file; editcap converts it to pcapng", ErrFormat)
	}
	return fmt.Errorf("%w: it begins with the bytes % x, not with those of pcap, pcapng, gzip or zstd", ErrFormat, magic)
}

// Next returns the next frame, which is valid until the call after. The error is io.EOF after the
// last frame, and is [ErrDamaged] where the capture ends inside a record or makes no sense.
func (c *Reader) Next() (*Frame, error) {
	if c.err != nil {
		return nil, c.err
	}
	if err := c.next(&c.frame); err != nil {
		c.err = err
		return nil, err
	}
	return &c.frame, nil
}

// damaged says where the capture stops making sense.
func (c *Reader) damaged(format string, args ...any) error {
	return fmt.Errorf("%w after frame %d, at byte %d: %s", ErrDamaged, c.frame.Number, c.at, fmt.Sprintf(format, args...))
}

// broken turns the end of the input inside a record into damage, and leaves other errors alone.
func (c *Reader) broken(err error, what string) error {
	var packed *packedError
	switch {
	case errors.As(err, &packed):
		return c.damaged("%v", packed)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return c.damaged("it ends inside %s", what)
	}
	return fmt.Errorf("read the capture after frame %d: %w", c.frame.Number, err)
}

// take returns the next n bytes. They are valid until the next call.
func (c *Reader) take(n int) ([]byte, error) {
	if n <= readBuffer {
		b, err := c.br.Peek(n)
		if err != nil {
			return b, err
		}
		_, _ = c.br.Discard(n)
		c.at += int64(n)
		return b, nil
	}
	// Grown as bytes arrive: a length in a file costs no memory before its bytes do.
	c.big = c.big[:0]
	for len(c.big) < n {
		k := min(n-len(c.big), readBuffer)
		b, err := c.br.Peek(k)
		if err != nil {
			return nil, err
		}
		c.big = append(c.big, b...)
		_, _ = c.br.Discard(k)
	}
	c.at += int64(n)
	return c.big, nil
}

func (c *Reader) skip(n int64) error {
	for n > 0 {
		k, err := c.br.Discard(int(min(n, 1<<30)))
		c.at += int64(k)
		n -= int64(k)
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Reader) openPcap(order binary.ByteOrder, unit time.Duration, header int) error {
	head, err := c.take(24)
	if err != nil {
		return c.broken(err, "the file header")
	}
	c.order, c.fraction, c.header = order, int64(unit), header
	// The upper bits say how long the checksum at the end of a frame is.
	c.link = LinkType(order.Uint32(head[20:]) & 0x0FFFFFFF)
	c.next = c.nextRecord
	if header == 16 && unit == time.Microsecond {
		c.detectModified()
	}
	return nil
}

// detectModified finds out files whose records have the longer header of a once patched libpcap in
// spite of the plain magic number: only then does a second record follow the first one.
func (c *Reader) detectModified() {
	b, _ := c.br.Peek(readBuffer / 2)
	if len(b) < 24 {
		return
	}
	size := int(c.order.Uint32(b[8:]))
	if size < 0 || size > len(b) {
		return
	}
	plain := func(at int) bool {
		if at == len(b) {
			return true
		}
		if at+16 > len(b) {
			return false
		}
		caplen, wire := c.order.Uint32(b[at+8:]), c.order.Uint32(b[at+12:])
		return c.order.Uint32(b[at+4:]) < 1e6 && caplen <= wire && caplen < 1<<20
	}
	if !plain(16+size) && plain(24+size) {
		c.header = 24
	}
}

func (c *Reader) nextRecord(f *Frame) error {
	h, err := c.take(c.header)
	if err != nil {
		if err == io.EOF && len(h) == 0 {
			return io.EOF
		}
		return c.broken(err, "the header of a record")
	}
	sec, frac := c.order.Uint32(h), c.order.Uint32(h[4:])
	caplen, wire := c.order.Uint32(h[8:]), c.order.Uint32(h[12:])
	if caplen > maxRecord {
		return c.damaged("a record claims %d bytes", caplen)
	}
	if sec|frac|caplen|wire != 0 {
		c.blank = 0
	} else if c.blank++; c.blank > maxBlank {
		return c.damaged("nothing but zeros follows")
	}
	data, err := c.take(int(caplen))
	if err != nil {
		return c.broken(err, "a record")
	}
	f.Number++
	f.Nanos = int64(sec)*int64(time.Second) + int64(frac)*c.fraction
	f.Link, f.Data, f.Length = c.link, data, max(int(wire), len(data))
	return nil
}
