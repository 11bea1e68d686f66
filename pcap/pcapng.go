package pcap

import (
	"encoding/binary"
	"io"
	"math/bits"
	"time"
)

const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 2
	blockSimple    = 3
	blockEnhanced  = 6
	blockSecrets   = 10
	optionEnd      = 0
	optionResol    = 9
	optionOffset   = 14
	secretsTLS     = 0x544C534B
	maxInterfaces  = 1 << 16
)

// nextBlock reads blocks of a pcapng file up to and including the next one that holds a frame.
func (c *Reader) nextBlock(f *Frame) error {
	for {
		h, err := c.br.Peek(12)
		if err != nil {
			if err == io.EOF && len(h) == 0 {
				return io.EOF
			}
			return c.broken(err, "the header of a block")
		}
		kind := c.order.Uint32(h)
		if kind == blockSection { // reads the same in both byte orders, which the next word tells
			switch magic := [4]byte(h[8:]); magic {
			case [4]byte{0x1A, 0x2B, 0x3C, 0x4D}:
				c.order = binary.BigEndian
			case [4]byte{0x4D, 0x3C, 0x2B, 0x1A}:
				c.order = binary.LittleEndian
			default:
				return c.damaged("a section has the byte-order mark % x", magic)
			}
			c.interfaces = c.interfaces[:0]
		}
		size := int64(c.order.Uint32(h[4:]))
		if size < 12 || size%4 != 0 {
			return c.damaged("a block claims %d bytes", size)
		}
		switch kind {
		case blockInterface, blockPacket, blockSimple, blockEnhanced:
			if size > maxRecord {
				return c.damaged("a block claims %d bytes", size)
			}
			b, err := c.take(int(size))
			if err != nil {
				return c.broken(err, "a block")
			}
			body := b[8 : size-4]
			if kind == blockInterface {
				if err := c.addInterface(body); err != nil {
					return err
				}
				continue
			}
			if err := c.blockFrame(f, kind, body); err != nil {
				return err
			}
			return nil
		case blockSecrets:
			if c.Secrets != nil && size <= maxSecrets {
				b, err := c.take(int(size))
				if err != nil {
					return c.broken(err, "a block of secrets")
				}
				c.secrets(b[8 : size-4])
				continue
			}
		}
		if err := c.skip(size); err != nil {
			return c.broken(err, "a block")
		}
	}
}

func (c *Reader) secrets(b []byte) {
	if len(b) < 8 || c.order.Uint32(b) != secretsTLS {
		return
	}
	n := min(int(c.order.Uint32(b[4:])), len(b)-8)
	if n > 0 {
		c.Secrets(b[8 : 8+n])
	}
}

func (c *Reader) addInterface(b []byte) error {
	if len(b) < 8 {
		return c.damaged("an interface description has %d bytes", len(b))
	}
	if len(c.interfaces) >= maxInterfaces {
		return c.damaged("it describes more than %d interfaces", maxInterfaces)
	}
	i := iface{
		link: LinkType(c.order.Uint16(b)),
		snap: int(c.order.Uint32(b[4:])),
		unit: decimalUnit(6),
	}
	for o := b[8:]; len(o) >= 4; {
		code, n := c.order.Uint16(o), int(c.order.Uint16(o[2:]))
		o = o[4:]
		if code == optionEnd || n > len(o) {
			break
		}
		switch {
		case code == optionResol && n >= 1 && o[0]&0x80 == 0:
			i.unit = decimalUnit(int(o[0]))
		case code == optionResol && n >= 1:
			i.unit = binaryUnit(uint(o[0] & 0x7F))
		case code == optionOffset && n >= 8:
			i.offset = int64(c.order.Uint64(o)) * int64(time.Second)
		}
		o = o[min((n+3)&^3, len(o)):]
	}
	c.interfaces = append(c.interfaces, i)
	return nil
}

// decimalUnit converts counts of 10^-digits seconds to nanoseconds.
func decimalUnit(digits int) func(uint64) int64 {
	scale := uint64(1)
	for range min(max(digits-9, 9-digits), 19) {
		scale *= 10
	}
	if digits <= 9 {
		return func(n uint64) int64 { return int64(n * scale) }
	}
	return func(n uint64) int64 { return int64(n / scale) }
}

// binaryUnit converts counts of 2^-power seconds to nanoseconds.
func binaryUnit(power uint) func(uint64) int64 {
	return func(n uint64) int64 {
		if power >= 64 {
			return 0
		}
		whole := n >> power
		hi, lo := bits.Mul64(n&(1<<power-1), uint64(time.Second))
		part := lo >> power
		if power > 0 {
			part |= hi << (64 - power)
		}
		return int64(whole*uint64(time.Second) + part)
	}
}

func (c *Reader) blockFrame(f *Frame, kind uint32, b []byte) error {
	var id, caplen, wire int
	var ticks uint64
	switch {
	case kind == blockEnhanced && len(b) >= 20:
		id = int(c.order.Uint32(b))
		ticks = uint64(c.order.Uint32(b[4:]))<<32 | uint64(c.order.Uint32(b[8:]))
		caplen, wire = int(c.order.Uint32(b[12:])), int(c.order.Uint32(b[16:]))
		b = b[20:]
	case kind == blockPacket && len(b) >= 20:
		id = int(c.order.Uint16(b))
		ticks = uint64(c.order.Uint32(b[4:]))<<32 | uint64(c.order.Uint32(b[8:]))
		caplen, wire = int(c.order.Uint32(b[12:])), int(c.order.Uint32(b[16:]))
		b = b[20:]
	case kind == blockSimple && len(b) >= 4:
		wire = int(c.order.Uint32(b))
		b = b[4:]
		caplen = min(wire, len(b))
		if len(c.interfaces) > 0 && c.interfaces[0].snap > 0 {
			caplen = min(caplen, c.interfaces[0].snap)
		}
	default:
		return c.damaged("a packet block has %d bytes", len(b))
	}
	if id >= len(c.interfaces) {
		return c.damaged("a frame is of interface %d, but only %d are described", id, len(c.interfaces))
	}
	if caplen < 0 || caplen > len(b) {
		return c.damaged("a frame claims %d bytes in a block that holds %d", caplen, len(b))
	}
	i := &c.interfaces[id]
	f.Number++
	if kind != blockSimple { // a simple block has no time: the last one seen stands
		f.Nanos = i.unit(ticks) + i.offset
	}
	f.Link, f.Data, f.Length = i.link, b[:caplen], max(wire, caplen)
	return nil
}
