package loadgen

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// raiseDescriptors raises the soft limit of descriptors to the hard one and returns it.
func raiseDescriptors() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	if l.Cur < l.Max {
		raised := l
		raised.Cur = l.Max
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			l = raised
		}
	}
	return int(min(l.Cur, 1<<30))
}

// localPorts is how many ports the system gives out for one source address, 0 where it is not known.
func localPorts() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) != 2 {
		return 0
	}
	low, err1 := strconv.Atoi(string(f[0]))
	high, err2 := strconv.Atoi(string(f[1]))
	if err1 != nil || err2 != nil || high < low {
		return 0
	}
	return high - low + 1
}

// ownUse is the processor time and the greatest resident memory of this process.
func ownUse() (cpu float64, rss int64) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9, int64(u.Maxrss) << 10
}

// processUse is the processor time and the resident memory of another process.
func processUse(pid int) (cpu float64, rss int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The name in brackets may hold anything: fields are counted from the last bracket.
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: it has another form", pid)
	}
	f := bytes.Fields(b[i+1:])
	if len(f) < 22 {
		return 0, 0, fmt.Errorf("read /proc/%d/stat: it has another form", pid)
	}
	user, _ := strconv.ParseInt(string(f[11]), 10, 64)
	sys, _ := strconv.ParseInt(string(f[12]), 10, 64)
	pages, _ := strconv.ParseInt(string(f[21]), 10, 64)
	const ticks = 100 // USER_HZ, on every system that Go runs on
	return float64(user+sys) / ticks, pages * int64(os.Getpagesize()), nil
}
