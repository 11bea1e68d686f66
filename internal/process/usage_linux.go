package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of processor time in /proc: 1/100 s on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// maxProcesses bounds how many descendants are counted.
const maxProcesses = 256

// Sample measures a process and its descendants.
func Sample(pid int) (Usage, error) {
	u, err := sampleOne(pid)
	if err != nil {
		return Usage{}, err
	}
	todo := children(nil, pid)
	for n := 0; len(todo) > 0 && n < maxProcesses; n++ {
		child := todo[0]
		todo = children(todo[1:], child)
		if c, err := sampleOne(child); err == nil { // else it has just ended
			u.add(c)
		}
	}
	return u, nil
}

func sampleOne(pid int) (Usage, error) {
	st, err := readStat(pid)
	if err != nil {
		return Usage{}, err
	}
	if st.state == 'Z' || st.state == 'X' {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, os.ErrProcessDone)
	}
	u := Usage{
		RSS: st.rss * int64(os.Getpagesize()), VmSize: st.vsize, Threads: int(st.threads),
		CPU: time.Duration(st.utime+st.stime) * tick, Processes: 1,
	}
	dir, err := os.Open("/proc/" + strconv.Itoa(pid) + "/fd")
	if err != nil {
		return u, nil // another user's: all but the descriptors is known
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	u.FDs = len(names)
	return u, nil
}

// children appends the children of all threads of a process.
func children(dst []int, pid int) []int {
	root := "/proc/" + strconv.Itoa(pid) + "/task/"
	tasks, err := os.ReadDir(root)
	if err != nil {
		return dst
	}
	for _, t := range tasks {
		b, err := os.ReadFile(root + t.Name() + "/children")
		if err != nil {
			continue
		}
		for f := range bytes.FieldsSeq(b) {
			if n, err := strconv.Atoi(string(f)); err == nil {
				dst = append(dst, n)
			}
		}
	}
	return dst
}

type stat struct {
	state               byte
	utime, stime, start uint64
	threads, vsize, rss int64
}

// readStat reads /proc/PID/stat, whose second field is a name in parentheses that may hold anything.
func readStat(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	i := bytes.LastIndexByte(b, ')')
	f := bytes.Fields(b[i+1:])
	if i < 0 || len(f) < 22 {
		return stat{}, errors.New("/proc/" + strconv.Itoa(pid) + "/stat is not in the form that Linux gives it")
	}
	// Field 3 of the manual is f[0].
	unsigned := func(n int) uint64 { v, _ := strconv.ParseUint(string(f[n-3]), 10, 64); return v }
	signed := func(n int) int64 { v, _ := strconv.ParseInt(string(f[n-3]), 10, 64); return v }
	return stat{
		state: f[0][0], utime: unsigned(14), stime: unsigned(15), threads: signed(20), start: unsigned(22),
		vsize: int64(unsigned(23)), rss: signed(24),
	}, nil
}

// birth returns the time at which a process started, which tells it from a later one with its id.
func birth(pid int) (uint64, error) {
	st, err := readStat(pid)
	if err != nil {
		return 0, err
	}
	if st.state == 'Z' || st.state == 'X' {
		return 0, os.ErrProcessDone
	}
	return st.start, nil
}
