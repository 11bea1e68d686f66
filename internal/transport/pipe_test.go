package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestPipeTwoWritersDoNotBlock(t *testing.T) {
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	msg := make([]byte, pipeLimit)
	for _, c := range []net.Conn{a, b} {
		if n, err := c.Write(msg); n != len(msg) || err != nil {
			t.Fatal(n, err)
		}
	}
	for _, c := range []net.Conn{a, b} {
		if _, err := io.ReadFull(c, make([]byte, len(msg))); err != nil {
			t.Fatal(err)
		}
	}
}

// The ring must keep order over growth, wrap-around and all buffer sizes.
func TestPipeKeepsBytes(t *testing.T) {
	a, b := Pipe()
	defer b.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, 1<<20)
	for i := range want {
		want[i] = byte(rnd.Uint32())
	}
	go func() {
		for rest := want; len(rest) > 0; {
			n, err := a.Write(rest[:min(len(rest), 1+rnd.IntN(3000))])
			if err != nil {
				break
			}
			rest = rest[n:]
		}
		a.Close()
	}()
	sizes := rand.New(rand.NewPCG(3, 4))
	var got []byte
	for {
		p := make([]byte, 1+sizes.IntN(2500))
		n, err := b.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		must(t, err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes that differ from the %d written", len(got), len(want))
	}
}

// A Write is not interleaved with another, even when it does not fit the buffer.
func TestPipeWritesAreWhole(t *testing.T) {
	a, b := Pipe()
	defer b.Close()
	const size = 3 * pipeLimit
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { a.Write(bytes.Repeat([]byte{byte(i)}, size)) })
	}
	go func() { wg.Wait(); a.Close() }()
	got, err := io.ReadAll(b)
	must(t, err)
	if len(got) != 4*size {
		t.Fatalf("%d bytes arrived", len(got))
	}
	for i := 0; i < len(got); i += size {
		if block := got[i : i+size]; !bytes.Equal(block, bytes.Repeat(block[:1], size)) {
			t.Fatalf("two writes are mixed in block %d", i/size)
		}
	}
}

// A writer that comes while another is inside waits, whether there is room or not.
func TestPipeWriterWaitsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe("x", 1)
		p.ab.writing = true
		done := make(chan error, 1)
		go func() { _, err := p.a.Write([]byte("second")); done <- err }()
		synctest.Wait()
		p.ab.mu.Lock()
		if p.ab.n != 0 {
			t.Error("a second writer got in between")
		}
		p.ab.endWrite()
		p.ab.mu.Unlock()
		must(t, <-done)
		if p.ab.n != len("second") {
			t.Errorf("%d bytes were written", p.ab.n)
		}
	})
}

// An idle pipe holds no buffer: that is what makes very many of them affordable.
func TestPipeFreesDrainedBuffer(t *testing.T) {
	p := newPipe("x", 1)
	for _, size := range []int{1, 5000, pipeLimit} {
		p.a.Write(make([]byte, size))
		if p.ab.buf == nil {
			t.Fatal("no buffer holds what was written")
		}
		if _, err := io.ReadFull(&p.b, make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if p.ab.buf != nil {
			t.Errorf("a drained pipe keeps %d bytes", len(p.ab.buf))
		}
	}
	p.a.Write([]byte("unread"))
	p.b.Close()
	if p.ab.buf != nil {
		t.Error("a closed pipe keeps its buffer")
	}
}

func TestPipeStaleTimer(t *testing.T) {
	p := newPipe("x", 1)
	defer p.a.Close()
	must(t, p.a.SetReadDeadline(time.Now().Add(time.Hour)))
	p.ba.expire(p.ba.readDead)
	if p.ba.readDead.passed() {
		t.Error("a timer of an earlier deadline ends a later one")
	}
	must(t, p.a.SetReadDeadline(time.Time{}))
	p.ba.expire(p.ba.readDead)
	if p.ba.readDead.passed() {
		t.Error("a timer ends a removed deadline")
	}
}

func TestPipeDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		defer b.Close()
		start := time.Now()
		must(t, a.SetReadDeadline(start.Add(time.Hour)))
		_, err := a.Read(make([]byte, 1))
		if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Hour {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
		if err := a.(Readable).WaitReadable(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		// Moved, it works again, and the earlier timer does not end it.
		must(t, a.SetReadDeadline(time.Now().Add(time.Minute)))
		must(t, a.SetReadDeadline(time.Now().Add(time.Hour)))
		time.AfterFunc(30*time.Minute, func() { b.Write([]byte("x")) })
		if _, err := a.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		must(t, a.SetReadDeadline(time.Time{}))

		must(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(make([]byte, pipeLimit+5))
		if n != pipeLimit || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(n, err)
		}
		// A second writer gives up too while the first waits, and the bubble's clock goes on.
		must(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, err := a.Write([]byte("more")); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("write: %v", err)
				}
			})
		}
		wg.Wait()
		must(t, b.SetDeadline(time.Now().Add(-time.Second)))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	})
}

func TestPipeClose(t *testing.T) {
	a, b := Pipe()
	a.Write([]byte("last words"))
	for range 2 {
		must(t, a.Close())
	}
	if got, err := io.ReadAll(b); string(got) != "last words" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Fatal(err)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	must(t, b.Close())
}

func TestPipeCloseWrite(t *testing.T) {
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	must(t, a.(interface{ CloseWrite() error }).CloseWrite())
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	b.Write([]byte("x"))
	if _, err := io.ReadFull(a, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestPipeCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		a.Write(make([]byte, pipeLimit))
		errs := make(chan error, 3)
		go func() { _, err := a.Write([]byte("x")); errs <- err }()
		go func() { _, err := a.Read(make([]byte, 1)); errs <- err }()
		go func() { errs <- a.(Readable).WaitReadable() }()
		synctest.Wait()
		a.Close()
		for range 3 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		b.Close()
	})
}

func TestPipeAllocations(t *testing.T) {
	a, b := Pipe()
	defer a.Close()
	defer b.Close()
	msg, buf := make([]byte, 200), make([]byte, 200)
	if n := testing.AllocsPerRun(200, func() {
		a.Write(msg)
		a.SetReadDeadline(time.Time{})
		b.Read(buf)
	}); n >= 1 && !raceEnabled {
		t.Errorf("%v allocations a message", n)
	}
}

func TestNetwork(t *testing.T) {
	var n, other Network
	l := listen(t, "mem://", ListenConfig{Mem: &n})
	if _, err := Listen(l.URL(), ListenConfig{Mem: &n}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatal(err)
	}
	if _, err := (&Dialer{Mem: &other}).Dial(t.Context(), l.URL()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatal(err)
	}
	if _, err := (&Dialer{}).Dial(t.Context(), l.URL()); !errors.Is(err, ErrNoNetwork) {
		t.Fatal(err)
	}
	c, s := connect(t, &Dialer{Mem: &n}, l)
	if c.LocalAddr().String() != s.RemoteAddr().String() || c.RemoteAddr().String() != l.Addr().String() {
		t.Errorf("%v %v %v %v", c.LocalAddr(), s.RemoteAddr(), c.RemoteAddr(), l.Addr())
	}
	// What nobody accepts is closed with the listener, whose name is free again.
	left, err := (&Dialer{Mem: &n}).Dial(t.Context(), l.URL())
	must(t, err)
	must(t, l.Close())
	if _, err := left.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	must(t, listen(t, l.URL(), ListenConfig{Mem: &n}).Close())
}

func TestNetworkBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("x")
		must(t, err)
		for range memBacklog {
			_, err := n.Dial(t.Context(), "x")
			must(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Dial(ctx, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { _, err := n.Dial(t.Context(), "x"); done <- err }()
		synctest.Wait()
		_, err = l.Accept()
		must(t, err)
		must(t, <-done)
		l.Close()
	})
}

// BenchmarkPipeIdle tells what an idle pair costs: bytes/pair is live heap after a collection, after
// one message went each way.
func BenchmarkPipeIdle(b *testing.B) {
	const pairs = 20_000
	for b.Loop() {
		conns := make([]net.Conn, 0, 2*pairs)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var buf [64]byte
		for range pairs {
			x, y := Pipe()
			x.Write(buf[:])
			y.Read(buf[:])
			y.Write(buf[:])
			x.Read(buf[:])
			conns = append(conns, x, y)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/pairs, "bytes/pair")
		runtime.KeepAlive(conns)
	}
}

func BenchmarkPipePingPong(b *testing.B) {
	x, y := Pipe()
	defer x.Close()
	defer y.Close()
	msg, buf := make([]byte, 256), make([]byte, 256)
	b.ReportAllocs()
	b.SetBytes(256)
	for b.Loop() {
		x.Write(msg)
		y.Read(buf)
	}
}

// A pipe is idle when both ends wait and nothing is on its way, and says so each time.
func TestPipeIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		defer a.Close()
		idler := a.(Idler)
		calls := make(chan bool, 100)
		idler.OnIdle(func() { calls <- idler.Idle() })
		read := make([]byte, 10)
		want := func(idle bool, n int) {
			t.Helper()
			synctest.Wait()
			if got := idler.Idle(); got != idle {
				t.Errorf("idle: %v", got)
			}
			if len(calls) != n {
				t.Errorf("%d calls, want %d", len(calls), n)
			}
			for len(calls) > 0 {
				if !<-calls {
					t.Error("called while the pipe was not idle")
				}
			}
		}
		want(false, 0) // nobody waits
		go func() {    // answers each byte with one
			one := make([]byte, 1)
			for {
				if err := b.(Readable).WaitReadable(); err != nil {
					return
				}
				if _, err := b.Read(one); err != nil {
					b.Close()
					return
				}
				time.Sleep(time.Second)
				b.Write(one)
			}
		}()
		want(false, 0) // one end waits
		done := make(chan error, 1)
		go func() {
			for {
				if _, err := a.Read(read); err != nil {
					done <- err
					return
				}
			}
		}()
		want(true, 1)
		a.Write([]byte("x"))
		want(false, 0) // under way
		time.Sleep(2 * time.Second)
		want(true, 1)
		a.Write([]byte("xyz"))
		time.Sleep(1500 * time.Millisecond)
		want(false, 0) // one answer of three has come
		time.Sleep(2 * time.Second)
		want(true, 1)
		a.(interface{ CloseWrite() error }).CloseWrite()
		if err := <-done; err != io.EOF {
			t.Error(err)
		}
		if idler.Idle() {
			t.Error("a pipe that has ended is idle")
		}
	})
}

// TryWrite takes what there is room for, and never waits.
func TestPipeTryWrite(t *testing.T) {
	a, b := Pipe()
	try := a.(TryWriter)
	for _, want := range []int{40 << 10, 24 << 10, 0} {
		if n, err := try.TryWrite(make([]byte, 40<<10)); n != want || err != nil {
			t.Errorf("%d bytes taken, %v; want %d", n, err, want)
		}
	}
	if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if n, err := try.TryWrite(make([]byte, 5000)); n != 1000 || err != nil {
		t.Errorf("%d bytes taken, %v; want 1000", n, err)
	}
	must(t, b.Close())
	if _, err := try.TryWrite([]byte("x")); err != io.ErrClosedPipe {
		t.Errorf("the other end is closed: %v", err)
	}
	must(t, a.Close())
	if _, err := try.TryWrite([]byte("x")); err != net.ErrClosed {
		t.Errorf("this end is closed: %v", err)
	}
}
