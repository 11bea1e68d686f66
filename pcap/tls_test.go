package pcap

import (
	"bytes"
	"crypto/aes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/pcapng"
)

// The vector is that of RFC 8439, section 2.8.2.
func TestChaChaVector(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	key := unhex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
	nonce := unhex("070000004041424344454647")
	ad := unhex("50515253c0c1c2c3c4c5c6c7")
	plain := []byte("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
	want := unhex("d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691")
	c := newChaCha(key)
	if got := c.Seal(nil, nonce, plain, ad); !bytes.Equal(got, want) {
		t.Fatalf("sealed\n%x, want\n%x", got, want)
	}
	got, err := c.Open(nil, nonce, want, ad)
	if err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("opened %q, %v", got, err)
	}
	want[3] ^= 1
	if _, err := c.Open(nil, nonce, want, ad); err == nil {
		t.Error("a changed byte was not noticed")
	}
}

// The values are those that another implementation, that of OpenSSL, makes of the same.
func TestCCMVectors(t *testing.T) {
	count := func(from, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(from + i)
		}
		return b
	}
	nonce := count(100, 12)
	for _, tt := range []struct {
		tag       int
		key       []byte
		plain, ad []byte
		want      string
	}{
		{16, count(0, 16), nil, []byte{0x17, 3, 3, 0, 0x10}, "21f56c04ed9e67f469185b0141da6585"},
		{16, count(0, 16), bytes.Repeat([]byte("x"), 33), count(0, 13), "d831ef59c563839fa880c291c5b9dc320641ec8bfd258a8e5431c50c631d158f6cf057b838a274b8c04165d4fde8868f08"},
		{8, count(0, 16), nil, []byte{0x17, 3, 3, 0, 0x10}, "38855af973d39fb7"},
		{8, count(0, 16), bytes.Repeat([]byte("x"), 33), count(0, 13), "d831ef59c563839fa880c291c5b9dc320641ec8bfd258a8e5431c50c631d158f6c6e7a63c0e4575acc"},
		{16, count(0, 32), bytes.Repeat([]byte("y"), 16), nil, "4899d1020fd4a18a6bc8e749e818f45ca6b1ce5405d4bfa67dd56822f0d2d964"},
	} {
		block, err := aes.NewCipher(tt.key)
		if err != nil {
			t.Fatal(err)
		}
		c := &ccm{block, tt.tag}
		sealed := c.Seal(nil, nonce, tt.plain, tt.ad)
		if got := hex.EncodeToString(sealed); got != tt.want {
			t.Errorf("sealed %s, want %s", got, tt.want)
		}
		if got, err := c.Open([]byte("in front"), nonce, sealed, tt.ad); err != nil || string(got) != "in front"+string(tt.plain) {
			t.Errorf("opened %q, %v", got, err)
		}
		sealed[len(sealed)-1] ^= 1
		if _, err := c.Open(nil, nonce, sealed, tt.ad); err == nil {
			t.Error("a changed byte was not noticed")
		}
	}
}

// tapped is a connection that hands every write to a tap.
type tapped struct {
	net.Conn
	tap func([]byte)
}

func (c tapped) Write(b []byte) (int, error) {
	c.tap(b)
	return c.Conn.Write(b)
}

// tlsCapture records a TLS connection on which the client sends the packets and the server answers each by pong.
func tlsCapture(t *testing.T, version, suite uint16, sends [][]byte, pong []byte) (capture, keys []byte) {
	t.Helper()
	var file, log bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.RawIP, "")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Unix(1700000000, 0)
	st, err := w.Stream(start, netip.MustParseAddrPort("10.0.0.1:40000"), netip.MustParseAddrPort("10.0.0.2:8883"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	tap := func(fromServer bool) func([]byte) {
		return func(data []byte) {
			// One side writes while the other waits: the pipe has no buffer.
			if err := st.Data(start, fromServer, data, ""); err != nil {
				t.Error(err)
			}
		}
	}
	cert := testCertificate(t)
	server := tls.Server(tapped{b, tap(true)}, &tls.Config{
		Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version, CipherSuites: []uint16{suite},
		SessionTicketsDisabled: true,
	})
	client := tls.Client(tapped{a, tap(false)}, &tls.Config{
		InsecureSkipVerify: true, KeyLogWriter: &log, MinVersion: version, MaxVersion: version, CipherSuites: []uint16{suite},
	})
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, 64<<10)
		for _, s := range sends {
			if _, err := io.ReadFull(server, buf[:len(s)]); err != nil {
				done <- err
				return
			}
			if _, err := server.Write(pong); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	buf := make([]byte, len(pong))
	for _, s := range sends {
		if _, err := client.Write(s); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(client, buf); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), log.Bytes()
}

func TestDecryptsTLS(t *testing.T) {
	connect, err := (&codec.Connect{ClientID: "sealed", CleanStart: true}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	publish, err := (&codec.Publish{Topic: "a/b", Payload: bytes.Repeat([]byte("x"), 40000)}).AppendTo(nil, codec.V4)
	if err != nil {
		t.Fatal(err)
	}
	pong := []byte{0xD0, 0}
	for _, tt := range []struct {
		name           string
		version, suite uint16
	}{
		{"1.3", tls.VersionTLS13, 0},
		{"1.2 AES-128-GCM", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		{"1.2 AES-256-GCM", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		{"1.2 AES-128-CBC", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		{"1.2 AES-256-CBC", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA},
		{"1.2 AES-128-CBC-SHA256", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256},
		{"1.1 AES-128-CBC", tls.VersionTLS11, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA},
		{"1.0 AES-256-CBC", tls.VersionTLS10, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA},
		{"1.2 ChaCha20", tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			capture, keys := tlsCapture(t, tt.version, tt.suite, [][]byte{connect, publish}, pong)
			var got [][]byte
			cfg := Config{Keys: new(KeyLog), Packet: func(p *Packet) error {
				got = append(got, bytes.Clone(p.Raw))
				if p.Stream.Transport != "tls" {
					t.Errorf("transport %q", p.Stream.Transport)
				}
				return nil
			}}
			cfg.Keys.Add(keys)
			d := NewDissector(cfg)
			if err := d.Read(bytes.NewReader(capture)); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			want := [][]byte{connect, pong, publish, pong}
			if len(got) != len(want) {
				t.Fatalf("%d packets, want %d", len(got), len(want))
			}
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Errorf("packet %d differs: %d bytes, want %d", i, len(got[i]), len(want[i]))
				}
			}
			if s := d.Summary(); s.TLS != 1 || s.Decrypted != 1 {
				t.Errorf("%d TLS streams, %d decrypted", s.TLS, s.Decrypted)
			}
		})
	}
}
