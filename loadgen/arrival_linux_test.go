package loadgen

import (
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestStamps holds the instant of an arrival against the wall clock around it.
func TestStamps(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err := dialSocket(l.Addr().(*net.TCPAddr).AddrPort(), "", netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeSocket(fd, false)
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var from arrivals
	b := make([]byte, 16)
	await := func() {
		t.Helper()
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 60_000); n != 1 || err != nil {
			t.Fatalf("poll: %d, %v", n, err)
		}
	}
	n, _, err := from.read(fd, b)
	if n != 0 || err != errAgain {
		t.Errorf("before anything has come: %d, %v", n, err)
	}
	// The system begins to stamp some time after it was asked to.
	for stamped, begin := 0, time.Now(); stamped < 3; {
		before := time.Now().UnixNano()
		if _, err := nc.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		await()
		arrived := time.Now().UnixNano()
		n, stamp, err := from.read(fd, b)
		if n != 3 || err != nil || string(b[:n]) != "abc" {
			t.Fatalf("read %d, %v", n, err)
		}
		switch {
		case stamp == 0 && time.Since(begin) > time.Minute:
			t.Fatal("nothing is stamped")
		case stamp == 0:
			runtime.Gosched()
		case stamp < before || stamp > arrived:
			t.Fatalf("stamped %d, sent after %d, and there by %d", stamp, before, arrived)
		default:
			stamped++
		}
	}
	nc.Close()
	await()
	if n, _, err := from.read(fd, b); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _, _ = from.read(fd, b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, stamp, err := from.read(int(os.Stdin.Fd()), b); err == nil || stamp != 0 {
		t.Errorf("what is no socket is stamped %d, %v", stamp, err)
	}
}

func TestBackTo(t *testing.T) {
	t.Parallel()
	const wall, now = int64(1_700_000_000e9), int64(10e9)
	for _, tt := range []struct {
		name  string
		stamp int64
		want  int64
	}{
		{"no stamp", 0, now},
		{"a little ago", wall + now - 300e3, now - 300e3},
		{"this instant", wall + now, now},
		{"ahead", wall + now + 1, now},
		{"the clock was set back", wall + now - 3600e9, now},
		{"the clock was set ahead", wall + now + 3600e9, now},
	} {
		w := &worker{now: now, wall: wall}
		if w.backTo(tt.stamp); w.now != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, w.now, tt.want)
		}
	}
}
