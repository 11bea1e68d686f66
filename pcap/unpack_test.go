package pcap_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

func gzipped(tb testing.TB, b []byte) []byte {
	tb.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return z.Bytes()
}

func zstded(tb testing.TB, b []byte, options ...zstd.EOption) []byte {
	tb.Helper()
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, options...)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return z.Bytes()
}

// packedCapture is a capture whose frames are hard to compress, so that it can be cut at many places.
func packedCapture(t *testing.T) (file []byte, packets int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	k := newTalk()
	k.reopen(encode(t, codec.V4, &codec.Connect{ClientID: "c", CleanStart: true}), nil)
	packets = 1
	for range 200 {
		payload := make([]byte, 1000)
		for i := range payload {
			payload[i] = byte(rnd.Uint32())
		}
		k.say(0, encode(t, codec.V4, &codec.Publish{Topic: "a", Payload: payload}))
		packets++
	}
	return k.buf.Bytes(), packets
}

// readAll counts the packets of a capture and checks that an error is one sentence.
func readAll(t *testing.T, r io.Reader) (int, error) {
	t.Helper()
	n := 0
	d := pcap.NewDissector(pcap.Config{Packet: func(*pcap.Packet) error { n++; return nil }})
	err := d.Read(r)
	if err != nil && strings.ContainsAny(err.Error(), "\n") {
		t.Errorf("the error has several lines: %q", err)
	}
	return n, err
}

func TestCompressed(t *testing.T) {
	file, packets := packedCapture(t)
	half := len(file) / 2
	for name, b := range map[string][]byte{
		"gzip":                     gzipped(t, file),
		"gzip, two members":        append(gzipped(t, file[:half]), gzipped(t, file[half:])...),
		"zstd":                     zstded(t, file),
		"zstd without a checksum":  zstded(t, file, zstd.WithEncoderCRC(false)),
		"zstd, two frames":         append(zstded(t, file[:half]), zstded(t, file[half:])...),
		"zstd, a frame to skip":    append([]byte{0x5E, 0x2A, 0x4D, 0x18, 3, 0, 0, 0, 1, 2, 3}, zstded(t, file)...),
		"zstd, an empty frame":     append(zstded(t, nil, zstd.WithZeroFrames(true)), zstded(t, file)...),
		"zstd with a large window": zstded(t, file, zstd.WithWindowSize(64<<20)),
	} {
		for how, r := range map[string]io.Reader{"whole": bytes.NewReader(b), "byte by byte": iotest.OneByteReader(bytes.NewReader(b))} {
			if n, err := readAll(t, r); n != packets || err != nil {
				t.Errorf("%s, %s: %d packets, want %d; %v", name, how, n, packets, err)
			}
		}
	}
}

// What is cut or broken is damage, said in one sentence, and all before it is read.
func TestCompressedDamage(t *testing.T) {
	file, packets := packedCapture(t)
	every := 1777
	if testing.Short() {
		every *= 8
	}
	for name, whole := range map[string][]byte{
		// Small blocks, of which those in front can be read when the end is broken.
		"gzip": gzipped(t, file),
		"zstd": append(zstded(t, file[:len(file)/2]), zstded(t, file[len(file)/2:])...),
	} {
		for at := 5; at < len(whole); at += every {
			n, err := readAll(t, bytes.NewReader(whole[:at]))
			cutHere := name == "zstd" && at == len(zstded(t, file[:len(file)/2]))
			if !errors.Is(err, pcap.ErrDamaged) && !cutHere {
				t.Errorf("%s cut at %d: %v", name, at, err)
			}
			if at > len(whole)*9/10 && n < packets/3 {
				t.Errorf("%s cut at %d of %d: only %d packets of %d", name, at, len(whole), n, packets)
			}
			spoilt := bytes.Clone(whole)
			spoilt[at] ^= 0x55
			if n, err := readAll(t, bytes.NewReader(spoilt)); err == nil && n != packets {
				t.Errorf("%s spoilt at %d: %d packets of %d without a word", name, at, n, packets)
			} else if err != nil && !errors.Is(err, pcap.ErrDamaged) && !errors.Is(err, pcap.ErrFormat) {
				t.Errorf("%s spoilt at %d: %v", name, at, err)
			}
		}
	}
	for _, tt := range []struct {
		name, want string
		b          []byte
	}{
		{"a window of 2 GiB", "refer back by more than 64 MiB", []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8, 0x55, 0, 0, 0}},
		{"a single segment of 16 EiB", "refer back by more than 64 MiB", []byte{0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 1, 0, 0}},
		{"a dictionary", "need a dictionary", []byte{0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x58, 0x07, 1, 0, 0}},
		{"a header alone", "zstd data are cut", []byte{0x28, 0xB5, 0x2F, 0xFD}},
		{"rubbish behind the last frame", "zstd data are broken", append(zstded(t, file), "rubbish behind the last frame"...)},
		{"a header of gzip alone", "gzip data are cut", []byte{0x1F, 0x8B, 8}},
		{"a broken header of gzip", "gzip data are broken", []byte{0x1F, 0x8B, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		if _, err := readAll(t, bytes.NewReader(tt.b)); !errors.Is(err, pcap.ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want damage with %q", tt.name, err, tt.want)
		}
	}
	// An error of the disk is none of the file.
	broken := errors.New("the disk is on fire")
	for _, b := range [][]byte{gzipped(t, file), zstded(t, file), file} {
		if _, err := readAll(t, io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(broken))); !errors.Is(err, broken) || errors.Is(err, pcap.ErrDamaged) {
			t.Errorf("an error of reading became %v", err)
		}
	}
}

// endless repeats a block.
type endless struct {
	block []byte
	at    int
}

func (e *endless) Read(b []byte) (int, error) {
	n := copy(b, e.block[e.at:])
	e.at = (e.at + n) % len(e.block)
	return n, nil
}

// A file of a few kilobytes that unpacks to gigabytes costs little memory, and ends with a sentence.
func TestCompressedBomb(t *testing.T) {
	head := pcapFile(binary.LittleEndian, 0xA1B2C3D4, pcap.LinkRaw, 0)
	record := binary.LittleEndian.AppendUint32(nil, 1000)
	record = append(record, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0)
	record = append(record, make([]byte, 1<<16)...)
	for _, tt := range []struct {
		name, want string
		unit       []byte
		size       int64
	}{
		{"zeros", "nothing but zeros follows", make([]byte, 1<<16), 64 << 20},
		{"records all alike", "unpack to thousands of times their size", bytes.Repeat(record, 16), 1200 << 20},
	} {
		var z bytes.Buffer
		w, err := zstd.NewWriter(&z, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(w, io.MultiReader(bytes.NewReader(head), io.LimitReader(&endless{block: tt.unit}, tt.size))); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = readAll(t, &z)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, pcap.ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want damage with %q", tt.name, err, tt.want)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 100<<20 {
			t.Errorf("%s: %d MiB were allocated", tt.name, grown>>20)
		}
	}
}

// The magic number decides, whatever the name of the file says, and only one layer is unpacked.
func TestCompressedTwice(t *testing.T) {
	file, _ := packedCapture(t)
	_, err := readAll(t, bytes.NewReader(gzipped(t, zstded(t, file))))
	if diff := cmp.Diff("not a capture in a known format: it is compressed twice", errorText(err)); diff != "" {
		t.Error(diff)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
