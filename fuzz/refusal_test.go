package fuzz

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// A server that does not speak the version of a CONNECT says so in the form of a version that it does speak.
func TestRefusedVersion(t *testing.T) {
	one := func(b ...byte) [][]byte { return [][]byte{b} }
	for name, tt := range map[string]struct {
		version codec.Version
		answers [][]byte
		accused bool
	}{
		"5.0 by a server of 3.1.1":                {codec.V5, one(0x20, 2, 0, 1), false},
		"5.0 by a server of 3.1.1, another code":  {codec.V5, one(0x20, 2, 0, 2), true},
		"5.0, accepted in the form of 3.1.1":      {codec.V5, one(0x20, 2, 0, 0), true},
		"5.0, accepted and then refused":          {codec.V5, [][]byte{{0x20, 3, 0, 0, 0}, {0x20, 2, 0, 1}}, true},
		"5.0, refused in the form of its version": {codec.V5, one(0x20, 3, 0, 0x84, 0), false},
		"3.1.1 by a server of 5.0":                {codec.V4, one(0x20, 3, 0, 0x84, 0), false},
		"3.1 by a server of 5.0":                  {codec.V31, one(0x20, 3, 0, 0x84, 0), false},
		"3.1.1 by a server of 5.0, another code":  {codec.V4, one(0x20, 3, 0, 0x87, 0), true},
		"3.1.1 by a server of 3.1":                {codec.V4, one(0x20, 2, 0, 1), false},
		"3.1.1, accepted in the form of 5.0":      {codec.V4, one(0x20, 3, 0, 0, 0), true},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := (&codec.Connect{Version: tt.version, ClientID: "ab", CleanStart: true}).AppendTo(nil, tt.version)
			if err != nil {
				t.Fatal(err)
			}
			w := &link{x: newExecutor(nil), version: tt.version, judge: judge.New(nil), server: codec.Decoder{Version: tt.version, From: codec.Server}}
			w.judge.Packet(codec.Client, time.Now(), b)
			for _, frame := range tt.answers {
				w.arrived(frame)
			}
			var r result
			w.collect(&r)
			if accused := len(r.troubles) > 0; accused != tt.accused {
				t.Errorf("accused %t, want %t: %+v", accused, tt.accused, r.troubles)
			}
		})
	}
}

// An acknowledgement has the identifier of what it acknowledges, though that may be 0: who sent it began.
func TestZeroEchoed(t *testing.T) {
	b, err := (&codec.Connect{Version: codec.V4, ClientID: "ab", CleanStart: true}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		sent, answer []byte
		accused      bool
	}{
		"PUBCOMP":                {[]byte{0x62, 2, 0, 0}, []byte{0x70, 2, 0, 0}, false},
		"PUBACK":                 {[]byte{0x32, 5, 0, 1, 't', 0, 0}, []byte{0x40, 2, 0, 0}, false},
		"SUBACK":                 {[]byte{0x82, 6, 0, 0, 0, 1, 't', 0}, []byte{0x90, 3, 0, 0, 0}, false},
		"PUBCOMP of another":     {[]byte{0x62, 2, 0, 1}, []byte{0x70, 2, 0, 0}, true},
		"SUBACK with a bad code": {[]byte{0x82, 6, 0, 0, 0, 1, 't', 0}, []byte{0x90, 3, 0, 0, 7}, true},
	} {
		t.Run(name, func(t *testing.T) {
			nc, far := net.Pipe()
			defer nc.Close()
			defer far.Close()
			w := &link{x: newExecutor(nil), nc: nc, version: codec.V4, judge: judge.New(nil), server: codec.Decoder{Version: codec.V4, From: codec.Server}}
			w.client = codec.Decoder{Version: codec.V4, From: codec.Client}
			w.note(b, "", 1)
			w.judge.Packet(codec.Client, time.Now(), b)
			w.arrived([]byte{0x20, 2, 0, 0})
			w.note(tt.sent, "noise", 1)
			w.judge.Packet(codec.Client, time.Now(), tt.sent)
			w.arrived(tt.answer)
			var r result
			w.collect(&r)
			if accused := slices.ContainsFunc(r.troubles, func(t trouble) bool { return !t.warn }); accused != tt.accused {
				t.Errorf("accused %t, want %t: %+v", accused, tt.accused, r.troubles)
			}
		})
	}
}

// Where no version was named, the form of an answer is for the server to choose.
func TestVersionNotNamed(t *testing.T) {
	for name, tt := range map[string]struct {
		sent, answer []byte
		accused      bool
	}{
		"PINGREQ first, refused as in 3.1.1":   {[]byte{0xc0, 0}, []byte{0x20, 2, 0, 2}, false},
		"no such version, refused as in 3.1.1": {[]byte("\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00"), []byte{0x20, 2, 0, 1}, false},
		"a CONNECT without anything":           {[]byte{0x10, 0}, []byte{0x20, 2, 0, 2}, false},
		"5.0, which has another form":          {[]byte("\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"), []byte{0x20, 2, 0, 2}, true},
	} {
		t.Run(name, func(t *testing.T) {
			nc, far := net.Pipe()
			defer nc.Close()
			defer far.Close()
			w := &link{x: newExecutor(nil), nc: nc, version: codec.V5, blind: true, judge: judge.New(nil), server: codec.Decoder{Version: codec.V5, From: codec.Server}}
			w.judge.Assume(codec.V5)
			w.client = codec.Decoder{Version: codec.V5, From: codec.Client}
			w.note(tt.sent, "noise", 1)
			w.judge.Packet(codec.Client, time.Now(), tt.sent)
			w.arrived(tt.answer)
			var r result
			w.collect(&r)
			if accused := slices.ContainsFunc(r.troubles, func(t trouble) bool { return !t.warn }); accused != tt.accused {
				t.Errorf("accused %t, want %t: %+v", accused, tt.accused, r.troubles)
			}
		})
	}
}

// A version that the target speaks badly is one that it speaks.
func TestAdmits(t *testing.T) {
	for name, tt := range map[string]struct {
		version codec.Version
		answer  []byte
		want    bool
	}{
		"5.0":                                  {codec.V5, []byte{0x20, 3, 0, 0, 0}, true},
		"5.0 with a property out of its range": {codec.V5, []byte{0x20, 5, 0, 0, 2, 0x24, 2}, true},
		"5.0 refused":                          {codec.V5, []byte{0x20, 3, 0, 0x84, 0}, false},
		"5.0 refused by a server of 3.1.1":     {codec.V5, []byte{0x20, 2, 0, 1}, false},
		"5.0 taken for 3.1.1":                  {codec.V5, []byte{0x20, 2, 0, 0}, false},
		"3.1.1":                                {codec.V4, []byte{0x20, 2, 0, 0}, true},
		"3.1.1 refused":                        {codec.V4, []byte{0x20, 2, 0, 5}, false},
		"another packet":                       {codec.V4, []byte{0xd0, 0}, false},
		"nothing":                              {codec.V4, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			dial := func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					defer far.Close()
					if _, err := codec.NewReader(far, 512).Next(); err != nil {
						return
					}
					_, _ = far.Write(tt.answer)
					_, _ = io.Copy(io.Discard, far)
				}()
				return near, nil
			}
			wait := 20 * time.Second
			if tt.answer == nil {
				wait = time.Millisecond
			}
			hello := &codec.Connect{Version: tt.version, ClientID: "ab", CleanStart: true}
			if got := admits(t.Context(), dial, hello, wait); got != tt.want {
				t.Errorf("admitted %t, want %t", got, tt.want)
			}
		})
	}
}
