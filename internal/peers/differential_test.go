package peers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/packetgen"
)

var versions = []codec.Version{codec.V31, codec.V4, codec.V5}

// compareDecode has the peer decode a legal frame that says want.
func compareDecode(p Peer, want Meaning, frame []byte, v codec.Version, from codec.Side) error {
	want, refused := expected(p, decoding, want, frame, from)
	got, err := p.Decode(bytes.Clone(frame), v, from)
	switch {
	case refused != nil && err == nil:
		return fmt.Errorf("%s decodes %x, which the exclusion %q says it refuses", p.Name(), frame, refused.name)
	case refused != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%s refuses %x: %w", p.Name(), frame, err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("%s decodes %x otherwise (wanted -, got +):\n%s", p.Name(), frame, diff)
	}
	return nil
}

// compareEncode has the peer encode what m says and a strict Decoder read it.
func compareEncode(p Peer, m Meaning, v codec.Version, from codec.Side) error {
	want, refused := expected(p, encoding, m, nil, from)
	frame, err := p.Encode(m, v)
	if err != nil {
		if refused != nil {
			return nil
		}
		return fmt.Errorf("%s does not encode %+v: %w", p.Name(), m, err)
	}
	d := codec.Decoder{Version: v, From: from}
	packet, err := d.Decode(frame)
	switch {
	case refused != nil && err == nil:
		return fmt.Errorf("%s encodes %x, which the exclusion %q says is not legal", p.Name(), frame, refused.name)
	case refused != nil:
		return nil
	case err != nil:
		return fmt.Errorf("%s encodes %x for %+v: %w", p.Name(), frame, m, err)
	}
	if diff := cmp.Diff(want, MeaningOf(packet, v), cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("%s encodes %x (wanted -, decoded +):\n%s", p.Name(), frame, diff)
	}
	return nil
}

// compareAll holds a legal packet against every peer, both ways.
func compareAll(p codec.Packet, frame []byte, v codec.Version, from codec.Side) error {
	m := MeaningOf(p, v)
	for _, peer := range All() {
		if !peer.Speaks(v) {
			continue
		}
		if err := compareDecode(peer, m, frame, v, from); err != nil {
			return err
		}
		if err := compareEncode(peer, m, v, from); err != nil {
			return err
		}
	}
	return nil
}

// typesOf returns the packet types that the side may send.
func typesOf(v codec.Version, from codec.Side) []codec.Type {
	types := []codec.Type{codec.TypePublish, codec.TypePuback, codec.TypePubrec, codec.TypePubrel, codec.TypePubcomp}
	if from == codec.Client {
		types = append(types, codec.TypeConnect, codec.TypeSubscribe, codec.TypeUnsubscribe, codec.TypePingreq)
	} else {
		types = append(types, codec.TypeConnack, codec.TypeSuback, codec.TypeUnsuback, codec.TypePingresp)
	}
	if from == codec.Client || v == codec.V5 {
		types = append(types, codec.TypeDisconnect)
	}
	if v == codec.V5 {
		types = append(types, codec.TypeAuth)
	}
	return types
}

var sideNames = map[codec.Side]string{codec.Client: "client", codec.Server: "server"}

func TestDifferential(t *testing.T) {
	for _, v := range versions {
		for _, from := range []codec.Side{codec.Client, codec.Server} {
			for _, typ := range typesOf(v, from) {
				t.Run(fmt.Sprintf("%s/%s/%s", v, sideNames[from], typ), rapid.MakeCheck(func(t *rapid.T) {
					p := packetgen.OfType(t, typ, v, from)
					frame, err := p.AppendTo(nil, v)
					if err != nil {
						t.Fatalf("encode %+v: %v", p, err)
					}
					if err := compareAll(p, frame, v, from); err != nil {
						t.Fatal(err)
					}
				}))
			}
		}
	}
}

// vectors loads the wire vectors of package codec.
func vectors(tb testing.TB) []packetgen.Vector {
	tb.Helper()
	files, err := filepath.Glob("../../codec/testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no wire vectors (%v)", err)
	}
	var all []packetgen.Vector
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		v, err := packetgen.ParseVector(strings.TrimSuffix(filepath.Base(name), ".txt"), b)
		if err != nil {
			tb.Fatalf("vector %s: %v", name, err)
		}
		all = append(all, v)
	}
	return all
}

// sidesOf returns the sides that may have sent what a vector says.
func sidesOf(from codec.Side) []codec.Side {
	if from == codec.Either {
		return []codec.Side{codec.Client, codec.Server}
	}
	return []codec.Side{from}
}

func TestVectors(t *testing.T) {
	compared := 0
	for _, vec := range vectors(t) {
		for _, v := range vec.Versions {
			// The text of 3.1 grants liberties, such as DUP in SUBSCRIBE, that peers do not take.
			if v == codec.V31 {
				continue
			}
			for _, from := range sidesOf(vec.From) {
				d := codec.Decoder{Version: v, From: from}
				p, err := d.Decode(vec.Frame)
				if err != nil {
					continue // not legal, or not from this side
				}
				compared++
				if err := compareAll(p, vec.Frame, v, from); err != nil {
					t.Errorf("vector %s in %s from the %s: %v", vec.Name, v, sideNames[from], err)
				}
			}
		}
	}
	if compared == 0 {
		t.Error("no vector is legal")
	}
}

// A Meaning that overlooks a field would make every comparison blind to it: two canonical
// frames that differ in one byte have to differ in meaning.
func TestMeaningSeesEveryByte(t *testing.T) {
	for _, v := range versions {
		t.Run(v.String(), rapid.MakeCheck(func(t *rapid.T) {
			p := packetgen.Packet(t, v, codec.Either)
			frame, err := p.AppendTo(nil, v)
			if err != nil {
				t.Fatal(err)
			}
			altered := bytes.Clone(frame)
			at := rapid.IntRange(0, len(frame)-1).Draw(t, "at")
			altered[at] ^= rapid.ByteRange(1, 255).Draw(t, "flip")
			d := codec.Decoder{Version: v}
			q, err := d.Decode(altered)
			if err != nil {
				return
			}
			if canonical, err := q.AppendTo(nil, v); err != nil || !bytes.Equal(canonical, altered) {
				return
			}
			if cmp.Equal(MeaningOf(p, v), MeaningOf(q, v), cmpopts.EquateEmpty()) {
				t.Fatalf("%x and %x mean the same", frame, altered)
			}
		}))
	}
}
