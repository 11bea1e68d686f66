package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/pcap"
)

// The captures are of OpenSSL talking to itself, with what crypto/tls does not have: AES-CCM, encrypt-then-MAC,
// early data. Each carries a short conversation of MQTT 3.1.1.
func readSealed(t *testing.T, name string, keys []byte, drop int) (packets, unread []string, sum pcap.Summary) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "tls", name+".pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcap.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	cfg := pcap.Config{Keys: new(pcap.KeyLog), Packet: func(p *pcap.Packet) error {
		packets = append(packets, fmt.Sprintf("%s %s", map[bool]string{true: "<", false: ">"}[p.From == 2], p.Type))
		return nil
	}, Unread: func(u *pcap.Unread) error {
		unread = append(unread, u.String())
		return nil
	}}
	cfg.Keys.Add(keys)
	d := pcap.NewDissector(cfg)
	for {
		fr, err := r.Next()
		if err != nil {
			break
		}
		if fr.Number == drop {
			continue
		}
		if err := d.Frame(fr); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return packets, unread, d.Summary()
}

func sealedKeys(t *testing.T) []byte {
	t.Helper()
	keys, err := os.ReadFile(filepath.Join("testdata", "tls", "keys.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSealedCaptures(t *testing.T) {
	keys := sealedKeys(t)
	talk := []string{"> CONNECT", "< CONNACK", "< PINGRESP", "> PUBLISH", "> PINGREQ"}
	swapped := []string{"< CONNACK", "> CONNECT", "< PINGRESP", "> PUBLISH", "> PINGREQ"} // two processes, one clock
	for _, tt := range []struct {
		name   string
		want   []string
		unread []string
	}{
		{name: "tls12-etm128", want: append(swapped[:5:5], "> DISCONNECT")},
		{name: "tls12-etm384", want: swapped},
		{name: "tls12-ccm", want: talk},
		{name: "tls12-ccm8", want: talk},
		{name: "tls13-ccm", want: talk},
		{name: "tls13-ccm8", want: swapped},
		{name: "tls13-early", want: []string{"> CONNECT", "> PUBLISH", "> PINGREQ"}},
		// What the server refuses the client sends again: it is there once.
		{name: "tls13-early-refused", want: []string{"> CONNECT", "> PUBLISH", "< CONNACK"}},
		{name: "tls12-aria", unread: []string{
			"stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS 1.2 with TLS_ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384, could not be read: this cipher suite is not read",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, unread, sum := readSealed(t, tt.name, keys, 0)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.unread, unread); diff != "" {
				t.Error(diff)
			}
			if sum.TLS-sum.Decrypted != len(tt.unread) {
				t.Errorf("%d streams of TLS, %d decrypted", sum.TLS, sum.Decrypted)
			}
		})
	}
}

// A frame that is missing costs what is in it: in front of it and behind it all is read, or a sentence says why not.
func TestSealedCapturesWithHoles(t *testing.T) {
	keys := sealedKeys(t)
	for _, name := range []string{"tls12-etm128", "tls12-ccm", "tls13-ccm", "tls13-early"} {
		whole, _, sum := readSealed(t, name, keys, 0)
		for drop := 1; drop <= int(sum.Frames); drop++ {
			got, unread, _ := readSealed(t, name, keys, drop)
			if len(got) == 0 && len(unread) == 0 {
				t.Errorf("%s without frame %d: nothing is read and nothing said", name, drop)
			}
			// What one side said stays in order; what is behind a hole of the other may come later.
			rest := map[byte][]string{}
			for _, p := range whole {
				rest[p[0]] = append(rest[p[0]], p)
			}
			for _, p := range got {
				i := slices.Index(rest[p[0]], p)
				if i < 0 {
					t.Errorf("%s without frame %d: %q is not a part of %q", name, drop, got, whole)
					break
				}
				rest[p[0]] = rest[p[0]][i+1:]
			}
		}
	}
}

// Why a stream is not read is said for each.
func TestUnread(t *testing.T) {
	keys := sealedKeys(t)
	line := func(label string) []byte {
		var out []byte
		for l := range bytes.Lines(keys) {
			if bytes.HasPrefix(l, []byte(label)) {
				out = append(out, l...)
			}
		}
		return out
	}
	for _, tt := range []struct {
		name, why string
		keys      []byte
		drop      int
	}{
		{"tls12-etm128", "stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS 1.2 with TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, could not be read: there are no secrets", nil, 0},
		{"tls13-ccm", "stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS 1.3 with TLS_AES_128_CCM_SHA256, could not be read: there are no secrets", nil, 0},
		{"tls12-ccm", "stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS 1.2 with TLS_ECDHE_ECDSA_WITH_AES_128_CCM, could not be read: the secrets are those of other connections", line("CLIENT_EARLY"), 0},
		{"tls13-ccm", "stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS 1.3 with TLS_AES_128_CCM_SHA256, could not be read: the key log lacks one of its secrets", line("CLIENT_TRAFFIC"), 0},
	} {
		got, unread, _ := readSealed(t, tt.name, tt.keys, tt.drop)
		if diff := cmp.Diff([]string{tt.why}, unread); diff != "" || len(got) > 0 {
			t.Errorf("%s: %q\n%s", tt.name, got, diff)
		}
	}
	// A conversation whose beginning the capture does not show.
	k := &talk{tape: newTape(), seq: [2]uint32{5, 6}}
	k.sport = 8883
	k.say(0, append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...))
	var said []string
	d := pcap.NewDissector(pcap.Config{Unread: func(u *pcap.Unread) error {
		said = append(said, u.String())
		return nil
	}})
	if err := errors.Join(d.Read(bytes.NewReader(k.buf.Bytes())), d.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"stream 0 from 10.0.0.1:40000 to 10.0.0.2:8883, TLS, could not be read: its handshake was not captured"}, said); diff != "" {
		t.Error(diff)
	}
}
