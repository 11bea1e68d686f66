package transport

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// FuzzWSFrames feeds raw bytes to the frame reader, cut and read in various sizes. The payload must be
// the same for every way of cutting, must be what the other implementation's frame reader finds, and
// nothing may be kept but a header or a control frame.
func FuzzWSFrames(f *testing.F) {
	f.Add([]byte{}, uint8(1), true)
	f.Add(frame(OpBinary, true, true, "hello"), uint8(3), true)
	f.Add(append(frame(OpBinary, false, false, "he"), frame(OpContinuation, true, false, "llo")...), uint8(1), false)
	f.Add(append(frame(OpPing, true, true, "p"), frame(OpBinary, true, true, string(make([]byte, 300)))...), uint8(7), true)
	f.Add(append(frame(OpBinary, true, true, "x"), frame(OpClose, true, true, "\x03\xe8")...), uint8(2), true)
	f.Add([]byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4, 5}, uint8(5), true)
	f.Add(frame(OpText, true, true, "text"), uint8(9), true)
	f.Fuzz(func(t *testing.T, raw []byte, step uint8, server bool) {
		whole, werr := parseAll(t, raw, len(raw)+1, server)
		cut, cerr := parseAll(t, raw, int(step)+1, server)
		if !bytes.Equal(whole, cut) || !errors.Is(cerr, werr) {
			t.Fatalf("whole: %d bytes, %v; cut by %d: %d bytes, %v", len(whole), werr, int(step)+1, len(cut), cerr)
		}
		if want := reference(raw); !bytes.HasPrefix(want, whole) || werr == nil && len(want) != len(whole) {
			t.Fatalf("payload %x, the other reader finds %x", whole, want)
		}
	})
}

func parseAll(t *testing.T, raw []byte, step int, server bool) (payload []byte, err error) {
	p := frameParser{server: server}
	onControl := func(op Opcode, body []byte) error {
		if len(body) > maxControl {
			t.Fatalf("a control frame of %d bytes", len(body))
		}
		if op != OpClose {
			return nil
		}
		if _, _, err := closeStatus(body); err != nil {
			return err
		}
		return io.EOF
	}
	for rest := bytes.Clone(raw); len(rest) > 0 && err == nil; {
		b := rest[:min(step, len(rest))]
		rest = rest[len(b):]
		var n int
		n, err = p.parse(b, onControl)
		if n > len(b) {
			t.Fatalf("%d bytes of payload from %d", n, len(b))
		}
		payload = append(payload, b[:n]...)
	}
	if cap(p.control) > 4*maxControl || p.hdrLen > maxHeader {
		t.Fatalf("kept %d and %d bytes", cap(p.control), p.hdrLen)
	}
	return payload, err
}

// reference joins the payload of all data frames, the last one as far as it came.
func reference(raw []byte) (payload []byte) {
	for r := bytes.NewReader(raw); ; {
		h, err := ws.ReadHeader(r)
		if err != nil {
			return payload
		}
		body := make([]byte, min(h.Length, int64(r.Len())))
		io.ReadFull(r, body)
		if h.Masked {
			ws.Cipher(body, h.Mask, 0)
		}
		if !h.OpCode.IsControl() {
			payload = append(payload, body...)
		}
	}
}
