package codec

import (
	"encoding/binary"
	"unsafe"
)

// AppendVarint appends v as a Variable Byte Integer (1.5.5). Values above 268,435,455 do not
// fit its four bytes and are cut to their lower 28 bits.
func AppendVarint(dst []byte, v uint32) []byte {
	v &= MaxRemainingLength
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// Varint reads a Variable Byte Integer of at most four bytes at the start of b and returns its
// value and length. The length is 0 when b ends too early and -1 when the fourth byte says
// that a fifth follows. Encodings longer than necessary are read; see [VarintSize].
func Varint(b []byte) (v uint32, n int) {
	for i := 0; i < 4; i++ {
		if i == len(b) {
			return 0, 0
		}
		v |= uint32(b[i]&0x7F) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, -1
}

// VarintSize returns the number of bytes of the shortest encoding of v, 1 to 4.
func VarintSize(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// cutText returns the bytes of a length-prefixed field at the start of b.
func cutText(b []byte) ([]byte, bool) {
	if len(b) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, false
	}
	return b[2 : 2+n : 2+n], true
}

func appendText(dst []byte, s string) []byte {
	if len(s) > 65535 {
		s = s[:65535]
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// viewString returns a string over the bytes of b without a copy. It is valid as long as they are.
func viewString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
