package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/google/go-cmp/cmp"
)

// wsPair returns our connection and the raw other end, without a handshake. server tells which we are.
func wsPair(t testing.TB, server bool) (*WSConn, net.Conn) {
	a, b := Pipe()
	c := newWSConn(a, !server, nil)
	t.Cleanup(func() { b.Close(); c.Close() })
	return c, b
}

// frame builds a frame with the other implementation, masked if from a client.
func frame(op Opcode, fin, masked bool, payload string) []byte {
	f := ws.NewFrame(ws.OpCode(op), fin, []byte(payload))
	if masked {
		f = ws.MaskFrame(f)
	}
	var b bytes.Buffer
	ws.MustWriteFrame(&b, f)
	return b.Bytes()
}

// readClose skips frames until a close frame and returns its code.
func readClose(t *testing.T, r io.Reader) int {
	t.Helper()
	for {
		f, err := peerFrame(r)
		must(t, err)
		if f.Header.Masked {
			f = ws.UnmaskFrame(f)
		}
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return int(code)
		}
	}
}

// [MQTT-6.0.0-2]: frames and packets have nothing to do with each other.
func TestWSStream(t *testing.T) {
	const text = "one MQTT packet and another"
	shapes := map[string]func(masked bool) []byte{
		"one frame": func(m bool) []byte { return frame(OpBinary, true, m, text) },
		"one byte per frame": func(m bool) (b []byte) {
			for _, c := range text {
				b = append(b, frame(OpBinary, true, m, string(c))...)
			}
			return b
		},
		"fragments, pings and empty frames": func(m bool) (b []byte) {
			b = append(b, frame(OpBinary, true, m, "")...)
			b = append(b, frame(OpBinary, false, m, text[:4])...)
			b = append(b, frame(OpPing, true, m, strings.Repeat("p", 125))...)
			b = append(b, frame(OpContinuation, false, m, "")...)
			b = append(b, frame(OpContinuation, false, m, text[4:9])...)
			b = append(b, frame(OpPong, true, m, "unasked")...)
			return append(b, frame(OpContinuation, true, m, text[9:])...)
		},
	}
	for name, shape := range shapes {
		for _, server := range []bool{true, false} {
			for _, size := range []int{1, 2, 3, 7, 4096} {
				for _, chunk := range []int{1, 5, 1 << 20} {
					t.Run(fmt.Sprintf("%s/server=%v/read=%d/arrive=%d", name, server, size, chunk), func(t *testing.T) {
						c, raw := wsPair(t, server)
						go func() {
							b := shape(server)
							b = append(b, frame(OpClose, true, server, "\x03\xe9bye")...)
							for len(b) > 0 {
								n, err := raw.Write(b[:min(chunk, len(b))])
								if err != nil {
									return
								}
								b = b[n:]
							}
						}()
						var got []byte
						p := make([]byte, size)
						for {
							n, err := c.Read(p)
							got = append(got, p[:n]...)
							if err != nil {
								if err != io.EOF {
									t.Fatal(err)
								}
								break
							}
						}
						if string(got) != text {
							t.Errorf("read %q", got)
						}
						if code, reason := c.CloseStatus(); code != 1001 || reason != "bye" {
							t.Errorf("close status %d %q", code, reason)
						}
						if code := readClose(t, raw); code != 1001 {
							t.Errorf("the close is answered with %d", code)
						}
						if _, err := c.Write([]byte("x")); err == nil {
							t.Error("data may follow the close frame")
						}
					})
				}
			}
		}
	}
}

func TestWSBreaches(t *testing.T) {
	header := func(b ...byte) []byte { return append(b, make([]byte, 20)...) }
	tests := map[string]struct {
		fromServer bool
		bytes      []byte
		code       int
		cause      error
	}{
		"MQTT-6.0.0-1 text frame":       {bytes: frame(OpText, true, true, "x"), code: 1003, cause: ErrTextFrame},
		"MQTT-6.0.0-1 text from server": {fromServer: true, bytes: frame(OpText, true, false, "x"), code: 1003, cause: ErrTextFrame},
		"unmasked from client":          {bytes: frame(OpBinary, true, false, "x"), code: 1002, cause: errNotMasked},
		"masked from server":            {fromServer: true, bytes: frame(OpBinary, true, true, "x"), code: 1002, cause: errMasked},
		"reserved bit":                  {bytes: header(0xc2, 0x81), code: 1002, cause: errReservedBits},
		"reserved data opcode":          {bytes: header(0x83, 0x81), code: 1002, cause: errReservedOpcode},
		"reserved control opcode":       {bytes: header(0x8b, 0x81), code: 1002, cause: errReservedOpcode},
		"control frame of 126 bytes":    {bytes: header(0x89, 0xfe, 0, 126), code: 1002, cause: errControlSize},
		"fragmented ping":               {bytes: header(0x09, 0x81), code: 1002, cause: errControlParts},
		"length with highest bit":       {bytes: header(0x82, 0xff, 0x80), code: 1002, cause: errLength},
		"continuation of nothing":       {bytes: frame(OpContinuation, true, true, "x"), code: 1002, cause: errNoStart},
		"message in a message": {
			bytes: append(frame(OpBinary, false, true, ""), frame(OpBinary, true, true, "x")...),
			code:  1002, cause: errNotFinished,
		},
		"close body of one byte":       {bytes: frame(OpClose, true, true, "x"), code: 1002, cause: errCloseBody},
		"close code 1005":              {bytes: frame(OpClose, true, true, "\x03\xed"), code: 1002, cause: errCloseBody},
		"close reason is not UTF-8":    {bytes: frame(OpClose, true, true, "\x03\xe8\xff"), code: 1007, cause: errCloseText},
		"claimed length of 2^63-1":     {bytes: append([]byte{0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255}, 1, 2, 3, 4), cause: io.ErrUnexpectedEOF},
		"cut header":                   {bytes: []byte{0x82, 0xff, 0}, cause: io.ErrUnexpectedEOF},
		"end without a close frame":    {cause: io.EOF},
		"end in the middle of message": {bytes: frame(OpBinary, false, true, ""), cause: io.ErrUnexpectedEOF},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, raw := wsPair(t, !tt.fromServer)
			// What came before the breach is still delivered.
			raw.Write(append(frame(OpBinary, true, !tt.fromServer, "fine"), tt.bytes...))
			raw.(*pipeEnd).CloseWrite()
			got, err := io.ReadAll(c)
			if err == nil {
				err = io.EOF
			}
			if string(got) != "fine" || !errors.Is(err, tt.cause) {
				t.Fatalf("%q, %v; want cause %v", got, err, tt.cause)
			}
			if _, again := c.Read(make([]byte, 1)); !errors.Is(again, tt.cause) {
				t.Errorf("the next Read: %v", again)
			}
			c.Close()
			want := tt.code
			if want == 0 {
				want = CloseNormal
			}
			if code := readClose(t, raw); code != want {
				t.Errorf("close code %d, want %d", code, want)
			}
		})
	}
}

func TestWSPong(t *testing.T) {
	for _, server := range []bool{true, false} {
		c, raw := wsPair(t, server)
		raw.Write(frame(OpPing, true, server, "are you there"))
		go c.Read(make([]byte, 10))
		f, err := peerFrame(raw)
		must(t, err)
		if f.Header.Masked != !server {
			t.Errorf("server=%v: masked=%v", server, f.Header.Masked)
		}
		if f.Header.Masked {
			f = ws.UnmaskFrame(f)
		}
		if f.Header.OpCode != ws.OpPong || string(f.Payload) != "are you there" {
			t.Errorf("%+v", f)
		}
	}
}

// A peer that pings and never reads stops neither our reading nor, for long, our Close.
func TestWSPingsOfDeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, raw := Pipe()
		c := newWSConn(a, false, nil)
		blocked := make(chan error)
		go func() { _, err := c.Write(make([]byte, 2*pipeLimit)); blocked <- err }()
		synctest.Wait()
		go func() {
			for range 10_000 {
				raw.Write(frame(OpPing, true, true, "ping"))
			}
			raw.Write(frame(OpBinary, true, true, "data"))
		}()
		p := make([]byte, 4)
		if _, err := io.ReadFull(c, p); err != nil || string(p) != "data" {
			t.Fatal(string(p), err)
		}
		start := time.Now()
		go c.Close() // a second Close waits for the first without stopping the clock
		c.Close()
		if d := time.Since(start); d != closeGrace {
			t.Errorf("Close took %v", d)
		}
		if err := <-blocked; err == nil {
			t.Error("the blocked Write is reported as done")
		}
		raw.Close()
	})
}

// A Write cut by its deadline, in the header or the payload, can be continued; a pong waits its turn.
func TestWSWriteContinues(t *testing.T) {
	for _, server := range []bool{true, false} {
		for _, room := range []int{0, 1, 3, 5, 6, 9, 100, 20_000} {
			synctest.Test(t, func(t *testing.T) {
				a, raw := Pipe()
				c := newWSConn(a, !server, nil)
				filler := pipeLimit - room
				a.Write(make([]byte, filler))
				msg := make([]byte, 50_000)
				for i := range msg {
					msg[i] = byte(i % 251)
				}
				must(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
				n, err := c.Write(msg)
				if !errors.Is(err, os.ErrDeadlineExceeded) || n > room {
					t.Fatal(n, err)
				}
				must(t, c.SetWriteDeadline(time.Time{}))
				raw.Write(frame(OpPing, true, server, "p"))
				raw.Write(frame(OpBinary, true, server, "d"))
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the pong had its chance to get into the frame
				rest := make(chan error)
				go func() {
					_, err := c.Write(append(msg[n:len(msg):len(msg)], "next"...))
					rest <- err
				}()
				io.CopyN(io.Discard, raw, int64(filler))
				peer := newWSConn(raw, server, nil)
				var got []byte
				var ops []Opcode
				for len(got) < len(msg)+4 {
					f, err := peer.ReadFrame()
					must(t, err)
					if ops = append(ops, f.Opcode); f.Opcode == OpBinary {
						got = append(got, f.Payload...)
					}
				}
				must(t, <-rest)
				if string(got) != string(msg)+"next" {
					t.Errorf("server=%v room=%d: the stream differs", server, room)
				}
				if diff := cmp.Diff([]Opcode{OpBinary, OpPong, OpBinary}, ops); diff != "" && room > 0 {
					t.Errorf("server=%v room=%d: %s", server, room, diff)
				}
				raw.Close()
				c.Close()
			})
		}
	}
}

// [MQTT-6.0.0-1]: what we send is one binary frame a Write, masked by the client alone.
func TestWSWriteIsOneFrame(t *testing.T) {
	for _, server := range []bool{true, false} {
		for _, size := range []int{1, 125, 126, 65535, 65536, 300_000} {
			c, raw := wsPair(t, server)
			msg := bytes.Repeat([]byte("abc"), size/3+1)[:size]
			go c.Write(msg)
			f, err := peerFrame(raw)
			must(t, err)
			if f.Header.Masked == server || f.Header.OpCode != ws.OpBinary || !f.Header.Fin {
				t.Errorf("server=%v: %+v", server, f.Header)
			}
			if f.Header.Masked {
				f = ws.UnmaskFrame(f)
			}
			if !bytes.Equal(f.Payload, msg) {
				t.Errorf("server=%v: the payload of %d bytes differs", server, size)
			}
		}
	}
}

// The caller's bytes are not touched by masking.
func TestWSWriteLeavesInput(t *testing.T) {
	c, raw := wsPair(t, false)
	go io.Copy(io.Discard, raw)
	msg := make([]byte, 40_000)
	c.Write(msg)
	if !bytes.Equal(msg, make([]byte, 40_000)) {
		t.Error("Write changed its argument")
	}
}

func TestWSFrames(t *testing.T) {
	l := listen(t, "ws://127.0.0.1:0/a?b=1", ListenConfig{KeepHeader: true})
	got := make(chan net.Conn, 1)
	go func() { c, _ := l.Accept(); got <- c }()
	c, err := (&Dialer{Header: http.Header{"X-Test": {"yes"}}}).DialWS(t.Context(), l.URL())
	must(t, err)
	defer c.Close()
	s := (<-got).(*WSConn)
	defer s.Close()
	if c.Subprotocol() != "mqtt" || s.Subprotocol() != "mqtt" || c.Header().Get("Upgrade") != "websocket" || s.Header().Get("X-Test") != "yes" {
		t.Errorf("%q %q %v %v", c.Subprotocol(), s.Subprotocol(), c.Header(), s.Header())
	}
	frames := []Frame{
		{Opcode: OpText, Fin: true, Masked: true, Payload: []byte("text")},
		{Opcode: OpBinary, RSV: 5, Payload: []byte("not masked, reserved bits")},
		{Opcode: 7, Fin: true, Masked: true, Payload: bytes.Repeat([]byte{9}, 70_000)},
		{Opcode: OpPing, Masked: true, Payload: bytes.Repeat([]byte{1}, 200)},
		{Opcode: OpContinuation, Fin: true, Masked: true},
	}
	go func() {
		for _, f := range frames {
			c.WriteFrame(f)
		}
	}()
	for _, want := range frames {
		f, err := s.ReadFrame()
		must(t, err)
		if len(want.Payload) == 0 {
			want.Payload = nil
		}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Error(diff)
		}
	}
	// A deadline in the middle of a frame loses nothing.
	b := frame(OpBinary, true, true, "slowly")
	for i := range b {
		must(t, s.SetReadDeadline(time.Now().Add(-1)))
		if _, err := s.ReadFrame(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		c.NetConn().Write(b[i : i+1])
	}
	must(t, s.SetReadDeadline(time.Now().Add(time.Minute)))
	if f, err := s.ReadFrame(); err != nil || string(f.Payload) != "slowly" {
		t.Error(f, err)
	}
	s.SetMaxFrame(5)
	c.NetConn().Write(frame(OpBinary, true, true, "too long"))
	if _, err := s.ReadFrame(); err == nil || !strings.Contains(err.Error(), "limit of 5") {
		t.Error(err)
	}
}

// A claimed length costs no memory until its bytes arrive.
func TestWSReadFrameAllocatesWhatArrives(t *testing.T) {
	c, raw := wsPair(t, true)
	c.SetMaxFrame(1 << 30)
	raw.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 0x20, 0, 0, 0, 1, 2, 3, 4, 5})
	raw.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.ReadFrame(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes were allocated for 1 that arrived", n)
	}
}

func TestWSAllocations(t *testing.T) {
	a, b := Pipe()
	c, s := newWSConn(a, true, nil), newWSConn(b, false, nil)
	defer s.Close()
	defer c.Close()
	msg, buf := make([]byte, 500), make([]byte, 4096)
	if n := testing.AllocsPerRun(200, func() {
		c.Write(msg)
		s.Read(buf)
		s.Write(msg)
		c.Read(buf)
	}); n >= 1 && !raceEnabled {
		t.Errorf("%v allocations a round trip", n)
	}
}

// BenchmarkWSIdle tells what framing adds to an idle connection pair after traffic went each way.
func BenchmarkWSIdle(b *testing.B) {
	const pairs = 5_000
	for b.Loop() {
		conns := make([]net.Conn, 0, 2*pairs)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var buf [64]byte
		for range pairs {
			x, y := Pipe()
			c, s := newWSConn(x, true, nil), newWSConn(y, false, nil)
			// Read to the end of each frame: a rest of it would keep the pipe's buffer.
			for _, way := range [][2]net.Conn{{c, s}, {s, c}} {
				way[0].Write(buf[:])
				if _, err := io.ReadFull(way[1], buf[:]); err != nil {
					b.Fatal(err)
				}
			}
			conns = append(conns, c, s)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pairs, "bytes/pair")
		runtime.KeepAlive(conns)
	}
}

type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWSWrite(b *testing.B) {
	for _, client := range []bool{true, false} {
		for _, size := range []int{128, 64 << 10} {
			b.Run(fmt.Sprintf("client=%v/size=%d", client, size), func(b *testing.B) {
				c := newWSConn(discard{}, client, nil)
				msg := make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					c.Write(msg)
				}
			})
		}
	}
}

// endless repeats the same frames for ever.
type endless struct {
	net.Conn
	frames []byte
	at     int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frames[e.at:])
	e.at = (e.at + n) % len(e.frames)
	return n, nil
}

func BenchmarkWSRead(b *testing.B) {
	for _, size := range []int{20, 128, 16 << 10} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			e := &endless{}
			for range 1 + (32<<10)/size {
				e.frames = append(e.frames, frame(OpBinary, true, true, strings.Repeat("x", size))...)
			}
			c := newWSConn(e, false, nil)
			p := make([]byte, 32<<10)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				k, _ := c.Read(p)
				n += k
			}
			b.SetBytes(int64(n / b.N))
		})
	}
}

// peerFrame reads one frame with the other implementation. Tests send frames of a bounded size.
func peerFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	if h.Length > 16<<20 {
		return ws.Frame{}, fmt.Errorf("a frame of %d bytes", h.Length)
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}
