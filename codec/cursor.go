package codec

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// cursor reads one packet forward. It is sticky: in strict mode the first fault of Must level
// moves it to the end, so that every later read returns zero and every later fault is dropped,
// and the functions that decode need no error ladder.
type cursor struct {
	b       []byte // the packet
	i       int    // the next byte
	v       Version
	t       Type
	from    Side
	lenient bool
	payload bool // judge payloads that are marked as UTF-8
	dry     bool // judge only: keep no lists
	short   bool // the packet ended inside a field

	err  *Error // strict: the first fault of Must level
	soft *Error // strict: the first fault of Should level
	errs Errors // lenient
}

// fault records a fault at the offset.
func (c *cursor) fault(f fault, at int) {
	if c.err == nil {
		c.report(newError(f, c.t, c.v, at))
	}
}

func (c *cursor) report(e *Error) {
	switch {
	case c.lenient:
		c.errs = append(c.errs, e)
	case c.err != nil:
	case e.Level == Must:
		c.err = e
		c.i = len(c.b)
	case c.soft == nil:
		c.soft = e
	}
}

// cut records that the packet ends before or inside the field that begins here.
func (c *cursor) cut(f fault) {
	if !c.short {
		c.fault(f, c.i)
		c.short = true
	}
	c.i = len(c.b)
}

// result is what Decode returns besides the packet.
func (c *cursor) result() error {
	switch {
	case c.err != nil:
		return c.err
	case c.soft != nil:
		return c.soft
	case len(c.errs) > 0:
		return c.errs
	}
	return nil
}

// atEnd reports whether every byte has been read.
func (c *cursor) atEnd() bool { return c.i >= len(c.b) }

func (c *cursor) u8(f fault) byte {
	if i := c.i; i < len(c.b) {
		c.i++
		return c.b[i]
	}
	c.cut(f)
	return 0
}

func (c *cursor) u16(f fault) uint16 {
	if i := c.i; i+2 <= len(c.b) {
		c.i = i + 2
		return binary.BigEndian.Uint16(c.b[i:])
	}
	c.cut(f)
	return 0
}

// id reads a Packet Identifier, which is never 0.
func (c *cursor) id(zero fault) uint16 {
	at := c.i
	id := c.u16(faultTruncated)
	if id == 0 && !c.short {
		c.fault(zero, at)
	}
	return id
}

// bytes reads a field with a two-byte length. The fault is missing when the packet ends before
// the field, and cut when it ends inside it; what there is of the field is returned then.
func (c *cursor) bytes(missing, cut fault) []byte {
	if i := c.i; i+2 <= len(c.b) {
		n := int(binary.BigEndian.Uint16(c.b[i:]))
		if end := i + 2 + n; end <= len(c.b) {
			c.i = end
			return c.b[i+2 : end : end]
		}
	}
	return c.badBytes(missing, cut)
}

func (c *cursor) badBytes(missing, cut fault) []byte {
	i := c.i
	if c.atEnd() {
		cut = missing
	}
	c.cut(cut)
	if c.lenient && i+2 <= len(c.b) {
		return c.b[i+2:]
	}
	return nil
}

// text reads a string without judging its characters. The string views the packet.
func (c *cursor) text(missing, cut fault) string {
	b := c.bytes(missing, cut)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// utf8 judges a string by the rules of 1.5.3 (5.0: 1.5.4). The fault for NUL is the one after f.
func (c *cursor) utf8(s string, at int, f fault) {
	if seen := scanText(s); seen != 0 {
		c.badText(s, seen, at, f)
	}
}

// badText is the slow half of utf8: s has bytes that are not plain ASCII, or NUL.
func (c *cursor) badText(s string, seen, at int, f fault) {
	if seen&seenHigh != 0 && !utf8.ValidString(s) {
		c.fault(f, at)
		return
	}
	if seen&seenNUL != 0 {
		c.fault(f+1, at)
	}
}

// filter judges a Topic Filter. f is the fault for ill-formed UTF-8 in this packet type.
func (c *cursor) filter(s string, at int, f fault) {
	seen := scanName(s)
	if seen == 0 && s != "" && s[0] != '$' {
		return
	}
	if seen&(seenHigh|seenNUL) != 0 {
		c.badText(s, seen, at, f)
	}
	if c.short {
		return
	}
	// The rules on ShareNames are about subscribing. UNSUBSCRIBE with a filter that can belong to
	// no Shared Subscription only finds nothing to remove.
	if bad := filterFault(s, c.v == V5 && c.t == TypeSubscribe); bad != faultNone {
		c.fault(bad, at)
	}
}

// rest returns the bytes up to the end of the packet.
func (c *cursor) rest() []byte {
	b := c.b[c.i:]
	c.i = len(c.b)
	return b
}

// codes returns the rest of the packet as Reason Codes.
func (c *cursor) codes() []ReasonCode {
	b := c.rest()
	return unsafe.Slice((*ReasonCode)(unsafe.SliceData(b)), len(b))
}

// end records bytes after the last field.
func (c *cursor) end(f fault) {
	if !c.atEnd() {
		c.fault(f, c.i)
	}
}

// header reads the fixed header and judges what can be told from it alone.
func (c *cursor) header() (flags uint8) {
	if len(c.b) == 0 {
		c.fault(faultFrameLength, 0)
		return 0
	}
	c.t, flags = Type(c.b[0]>>4), c.b[0]&15
	if c.t == TypeConnect {
		c.peekVersion()
	}
	c.judgeType(flags)
	if len(c.b) >= 2 && int(c.b[1]) == len(c.b)-2 && c.b[1] < 0x80 {
		if c.err == nil {
			c.i = 2
		}
		return flags
	}
	c.longHeader()
	return flags
}

// peekVersion looks ahead to the protocol level of a CONNECT, so that a fault of its fixed
// header names the rule of its version.
func (c *cursor) peekVersion() {
	_, n, err := ParseHeader(c.b)
	if err != nil || n == 0 {
		return
	}
	name, ok := cutText(c.b[n:])
	if at := n + 2 + len(name); ok && at < len(c.b) {
		if v := Version(c.b[at]); v >= V31 && v <= V5 {
			c.v = v
		}
	}
}

// judgeType judges the first byte. PUBLISH flags are judged by its decode function.
func (c *cursor) judgeType(flags uint8) {
	if c.t == TypePublish {
		if c.v == 0 && c.from != Server {
			c.fault(faultFirstPacket, 0)
		}
		return
	}
	switch {
	case c.t == 0:
		c.fault(faultReservedType, 0)
		return
	case c.v == 0 && c.t != TypeConnect && c.from != Server:
		c.fault(faultFirstPacket, 0) // [MQTT-3.1.0-1]
	case c.t == TypeAuth && c.v < V5:
		c.fault(faultAuthBefore5, 0)
	case c.from != Either && sendersOf(c.t, c.v)>>c.from&1 == 0:
		c.fault(faultDirection, 0)
	}
	want := requiredFlags[c.t&15]
	if flags != want {
		// MQTT 3.1 sets DUP in a repeated PUBREL, SUBSCRIBE or UNSUBSCRIBE.
		if c.v == V31 && want == 2 && flags == 10 {
			return
		}
		c.fault(flagFaults[c.t&15], 0)
	}
}

// longHeader reads a Remaining Length of more than one byte, or one that disagrees with the
// frame. In lenient mode the body is what both the length and the frame allow.
func (c *cursor) longHeader() {
	if c.err != nil {
		return
	}
	v, n := Varint(c.b[1:])
	switch {
	case n < 0: // five bytes: the field ends after them
		c.fault(faultVarintLong, 1)
		c.i = min(len(c.b), 6)
		return
	case n == 0:
		c.fault(faultFrameLength, 1)
		c.i = len(c.b)
		c.short = true
		return
	}
	if n != VarintSize(v) && c.v == V5 {
		c.fault(faultVarintPadded, 1) // [MQTT-1.5.5-1]
	}
	c.i = 1 + n
	if total := 1 + n + int(v); total != len(c.b) {
		c.fault(faultFrameLength, 1)
		if total < len(c.b) {
			c.b = c.b[:total]
		}
	}
}
