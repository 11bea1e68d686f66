package pcap

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow is how far back zstd may refer, which is memory that has to be held: --ultra -22 and
	// --long ask for more.
	maxWindow = 64 << 20

	// What unpacks to more than bombSize and to more than bombRatio times its size is no capture: even
	// frames that are all alike have times of their own.
	bombSize  = 1 << 30
	bombRatio = 4000
)

var errBomb = errors.New("too much comes out")

// packed reads what is compressed. It tells faults of what is compressed from those of reading it.
type packed struct {
	kind  string // gzip or zstd
	from  *bufio.Reader
	unzip io.Reader
	in    int64 // bytes taken in, as they are
	out   int64 // and unpacked
	err   error // of reading what is compressed; nil for its end
}

// unpacker returns what unpacks br, or nil where it is not compressed in a way that is known.
func unpacker(br *bufio.Reader, magic []byte) (*packed, error) {
	p := &packed{from: br}
	var err error
	switch {
	case magic[0] == 0x1F && magic[1] == 0x8B:
		p.kind = "gzip"
		p.unzip, err = gzip.NewReader(&intake{p})
	case isZstd(magic):
		p.kind = "zstd"
		// One at a time: then there is no goroutine to end.
		p.unzip, err = zstd.NewReader(&intake{p}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<63))
	default:
		return nil, nil
	}
	if err != nil {
		return nil, p.fault(err)
	}
	return p, nil
}

// isZstd reports whether a frame of zstd begins with magic, or one that is to be skipped, as the first frame of
// files with a table of contents is.
func isZstd(magic []byte) bool {
	if len(magic) < 4 {
		return false
	}
	return magic[0] == 0x28 && magic[1] == 0xB5 && magic[2] == 0x2F && magic[3] == 0xFD ||
		magic[0]&0xF0 == 0x50 && magic[1] == 0x2A && magic[2] == 0x4D && magic[3] == 0x18
}

// intake is the compressed side of a packed. That it is an io.ByteReader keeps gzip from a buffer of its own.
type intake struct{ p *packed }

func (i *intake) Read(b []byte) (int, error) {
	n, err := i.p.from.Read(b)
	return n, i.p.took(n, err)
}

func (i *intake) ReadByte() (byte, error) {
	b, err := i.p.from.ReadByte()
	if err != nil {
		return b, i.p.took(0, err)
	}
	return b, i.p.took(1, nil)
}

func (p *packed) took(n int, err error) error {
	p.in += int64(n)
	if err != nil && err != io.EOF {
		p.err = err
	}
	return err
}

// Read returns unpacked bytes.
func (p *packed) Read(b []byte) (int, error) {
	n, err := p.unzip.Read(b)
	p.out += int64(n)
	if err != nil && err != io.EOF {
		return n, p.fault(err)
	}
	if p.out > bombSize && p.out > bombRatio*p.in {
		return n, p.fault(errBomb)
	}
	return n, err
}

// fault makes damage of what is wrong with the compressed bytes, and leaves an error of reading them alone.
func (p *packed) fault(err error) error {
	switch {
	case p.err != nil:
		return p.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return &packedError{fmt.Sprintf("its %s data refer back by more than %d MiB; unpack them first, as in zstd -dc --long=31 FILE | mqlab pcap -",
			p.kind, maxWindow>>20)}
	case errors.Is(err, zstd.ErrUnknownDictionary):
		return &packedError{"its zstd data need a dictionary; unpack them first, as in zstd -dc -D DICTIONARY FILE | mqlab pcap -"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &packedError{"its " + p.kind + " data are cut"}
	case errors.Is(err, errBomb):
		return &packedError{"its " + p.kind + " data unpack to thousands of times their size, which no capture does"}
	}
	return &packedError{fmt.Sprintf("its %s data are broken: %v", p.kind, err)}
}

// packedError says what is wrong with compressed bytes.
type packedError struct{ msg string }

func (e *packedError) Error() string { return e.msg }
