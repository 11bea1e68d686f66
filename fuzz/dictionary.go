package fuzz

import "strings"

// The dictionaries: values at the edges of what the standard allows, and a little beyond.

// The pools are small so that connections meet on identifiers and topics. What follows the prefix of the generator.
var (
	clientPool = []string{"a", "b", "c", "d"}
	topicPool  = []string{"t", "t/a", "t/b", "t/a/b", "/t", "t/", "u"}
	filterPool = []string{"t", "t/a", "t/+", "t/#", "+/a", "+/+", "#", "t/a/b", "/t", "/+", "t/", "u"}
	sharePool  = []string{"g", "h"}
	idPool     = []uint16{1, 2, 3, 4, 10, 65535}
)

// oddFilters are legal filters that are unusual.
var oddFilters = []string{
	"#", "+", "/", "//", "+/+/+/+", "/#", "+/#", "$SYS/#", "$SYS/broker/#", "$share/g/#", "$share/g/+", "$share/g//", "$share/g/$SYS/#",
	"$share", "$SHARE/g/t", "$", "$/#", "a b/#", "\u00e9/\u65e5\u672c", strings.Repeat("+/", 60) + "#", strings.Repeat("/", 200),
}

// badFilters are filters and shares that the standard forbids.
var badFilters = []string{
	"", "#/", "#/a", "a#", "a/#/b", "+a", "a+", "a/+b/c", "##", "++", "#+", "$share/", "$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/#/t",
	"$share/g/a#", "t\x00", "\x00",
}

// oddTopics are legal topic names that are unusual.
var oddTopics = []string{
	"/", "//", " ", "$SYS/x", "$SYS", "$share/g/t", "$", "\u00e9\u65e5", "\U0001F600", "\ufeff", "a\tb", strings.Repeat("a/", 100), strings.Repeat("x", 1000),
}

// badTexts are bytes of strings that the standard forbids.
var badTexts = []string{
	"\x00", "a\x00b", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xe2\x82", "#", "+", "a/#", "t/+/a", "", "#/#",
}

// oddTexts are legal strings.
var oddTexts = []string{
	"", "a", "\ufffe", "\ufeff", "\u0001", "\u007f\u0085", "%s%n%x", "../../etc", "'\"\\", "{}", "null", "\U0010ffff", strings.Repeat("n", 300),
}

// odd are the edges of integers.
var (
	odd8   = []uint32{0, 1, 2, 3, 0x7F, 0x80, 0x81, 0x9F, 0xA2, 0xFE, 0xFF}
	odd16  = []uint32{0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF}
	odd32  = []uint32{0, 1, 2, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF}
	oddVar = []uint32{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455}
)

// oddSizes are lengths around the sizes of buffers. bigSizes are rare, for they cost time.
var (
	oddSizes = []int{0, 1, 2, 10, 100, 127, 128, 500, 1000, 1024, 4096, 8192}
	bigSizes = []int{16383, 16384, 65535, 65536, 65537, 65600, 262144 + 10, 1<<20 + 10}
)

// badVarints are Variable Byte Integers that no encoder writes.
var badVarints = [][]byte{
	{0x80, 0}, {0x81, 0}, {0x80, 0x80, 0}, {0x80, 0x80, 0x80, 0}, {0xFF, 0xFF, 0xFF, 0xFF}, {0x80, 0x80, 0x80, 0x80, 1}, {0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, {0x80}, {0xFF, 0xFF, 0xFF, 0x7F},
}
