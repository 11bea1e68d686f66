package codec_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

// stream is every sample of a version in one run of bytes.
func stream(t *testing.T, v codec.Version) (all []byte, frames [][]byte) {
	t.Helper()
	for _, p := range samples(v) {
		b, err := p.AppendTo(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
		all = append(all, b...)
	}
	return all, frames
}

func TestReaderCutsAnyChunking(t *testing.T) {
	all, want := stream(t, codec.V5)
	for _, tc := range []struct {
		name string
		wrap func(io.Reader) io.Reader
		size int
	}{
		{"all at once", func(r io.Reader) io.Reader { return r }, 4096},
		{"one byte at a time", iotest.OneByteReader, 4096},
		{"halves", iotest.HalfReader, 64},
		{"buffer smaller than a packet", func(r io.Reader) io.Reader { return r }, 2},
		{"error together with data", iotest.DataErrReader, 16},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := codec.NewReader(tc.wrap(bytes.NewReader(all)), tc.size)
			r.Poison = true
			var got [][]byte
			for {
				f, err := r.Next()
				if err != nil {
					if err != io.EOF {
						t.Fatal(err)
					}
					break
				}
				got = append(got, bytes.Clone(f))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

func TestReaderPoisonsTheOldFrame(t *testing.T) {
	r := codec.NewReader(bytes.NewReader([]byte{0xC0, 0, 0xD0, 0}), 0)
	r.Poison = true
	first, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if first[0] == 0xC0 {
		t.Error("the old frame is still readable")
	}
}

func TestReaderErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		in    []byte
		max   int
		check func(err error) bool
	}{
		{"end between packets", []byte{}, 0, func(err error) bool { return err == io.EOF }},
		{"end inside the header", []byte{0x30}, 0, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"end inside the body", []byte{0x30, 5, 0, 1}, 0, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"five-byte length [P-1.5.5-five-byte-integer]", []byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1}, 0, func(err error) bool {
			var e *codec.Error
			return errors.As(err, &e) && e.Reason == codec.MalformedPacket && e.Rule == "P-1.5.5-five-byte-integer" && e.Offset == 1
		}},
		{"packet over the maximum", []byte{0x30, 11}, 12, func(err error) bool {
			var e *codec.Error
			return errors.As(err, &e) && errors.Is(err, codec.ErrPacketTooLarge) && e.Reason == codec.PacketTooLarge
		}},
		{"packet at the maximum", []byte{0x30, 10}, 12, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"length longer than needed is cut", []byte{0xC0, 0x80, 0}, 0, func(err error) bool { return err == nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := codec.NewReader(bytes.NewReader(tc.in), 64)
			r.MaxSize, r.Version = tc.max, codec.V5
			_, err := r.Next()
			if !tc.check(err) {
				t.Errorf("Next: %v", err)
			}
			if _, _, cerr := codec.Cut(tc.in, tc.max); (cerr != nil) != (err != nil && err != io.EOF && err != io.ErrUnexpectedEOF) {
				t.Errorf("Cut and Next disagree: %v, %v", cerr, err)
			}
		})
	}
	boom := errors.New("boom")
	r := codec.NewReader(iotest.ErrReader(boom), 0)
	if _, err := r.Next(); !errors.Is(err, boom) {
		t.Errorf("a failing source: %v", err)
	}
	r = codec.NewReader(idle{}, 0)
	if _, err := r.Next(); err != io.ErrNoProgress {
		t.Errorf("a source without progress: %v", err)
	}
}

// idle is a reader that returns nothing.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestReaderMemoryFollowsArrival holds that a claimed length costs no memory before its bytes
// arrive, and that a large packet's buffer is let go.
func TestReaderMemoryFollowsArrival(t *testing.T) {
	src := &counted{data: append([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, make([]byte, 1000)...)}
	r := codec.NewReader(src, 512)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if src.asked > 4096 {
		t.Errorf("after 1,005 bytes of a claimed 256 MiB the buffer offers %d bytes", src.asked)
	}

	large, err := (&codec.Publish{Topic: "a", Payload: make([]byte, 1<<20)}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	src = &counted{data: large}
	r = codec.NewReader(src, 512)
	if f, err := r.Next(); err != nil || !bytes.Equal(f, large) {
		t.Fatalf("a packet of 1 MiB: %d bytes, %v", len(f), err)
	}
	src.data, src.asked = []byte{0xC0, 0}, 0
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	if src.asked > 512 {
		t.Errorf("after a large packet the buffer still offers %d bytes", src.asked)
	}
}

// counted notes the largest buffer it was given to fill.
type counted struct {
	data  []byte
	asked int
}

func (c *counted) Read(b []byte) (int, error) {
	c.asked = max(c.asked, len(b))
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestReaderMore(t *testing.T) {
	r := codec.NewReader(bytes.NewReader([]byte{0xC0, 0, 0xC0, 0, 0x30, 9, 0}), 0)
	if r.More() {
		t.Error("More before anything is read")
	}
	for i, want := range []bool{true, false} {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if r.More() != want {
			t.Errorf("More after packet %d is %v", i, !want)
		}
	}
	if diff := cmp.Diff([]byte{0x30, 9, 0}, r.Buffered()); diff != "" {
		t.Errorf("buffered (-want +got):\n%s", diff)
	}
}

func TestCut(t *testing.T) {
	all, want := stream(t, codec.V4)
	var got [][]byte
	rest := all
	for {
		f, r, err := codec.Cut(rest, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f == nil {
			break
		}
		got = append(got, f)
		rest = r
	}
	if len(rest) != 0 {
		t.Errorf("%d bytes are left", len(rest))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("frames (-want +got):\n%s", diff)
	}
	for n := range len(want[1]) {
		if f, rest, err := codec.Cut(want[1][:n], 0); f != nil || err != nil || len(rest) != n {
			t.Errorf("%d of %d bytes: frame %x, rest %x, %v", n, len(want[1]), f, rest, err)
		}
	}
}
