package fuzz

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// A Go program that was built with go build -cover counts in its memory which of its blocks of code have run. The file
// that tells is written when it ends, which a program that is fuzzed does not do in good order, and a restart for each
// look would cost more than it tells. So the counters are read where they are, while it runs: they lie between two symbols.

// coverage is what is known of the code that has run. Its methods may be called from any goroutine.
type coverage struct {
	mu    sync.Mutex // guards the fields below
	pid   int        // of the process that mem belongs to; 0: none
	mem   *os.File
	at    int64
	buf   []byte
	old   []byte // what buf held before, of whatever process
	seen  []bool // by word: it was met above zero in any process
	head  []bool // by word: it is no counter
	count int
	epoch int
}

// The symbols around the counters, by the Go linker.
const (
	coverBegin = "runtime.covctrs"
	coverEnd   = "runtime.ecovctrs"
)

const (
	coverHead    = 3        // words in front of a function's counters: their number, its package, itself
	maxCoverSize = 64 << 20 // of all counters
)

// openCoverage finds the counters of a process that was started here.
func openCoverage(pid int) (*coverage, error) {
	c := &coverage{}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.attach(pid); err != nil {
		return nil, err
	}
	return c, nil
}

// attach finds the counters in the memory of a process.
func (c *coverage) attach(pid int) error {
	c.detach()
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	exe, err := os.Readlink(filepath.Join(proc, "exe"))
	if err != nil {
		return fmt.Errorf("coverage is read from the memory of the target, which this system does not show: %w", err)
	}
	begin, end, base, err := coverSymbols(filepath.Join(proc, "exe"))
	if err != nil {
		return fmt.Errorf("coverage needs a Go program that was built with go build -cover, with its symbols, and started without a script around it, and %s is none: %w", exe, err)
	}
	if base != nil { // the program lies where the system has put it
		first, err := mappedAt(filepath.Join(proc, "maps"), exe)
		if err != nil {
			return err
		}
		begin, end = begin-*base+first, end-*base+first
	}
	if c.mem, err = os.Open(filepath.Join(proc, "mem")); err != nil {
		return fmt.Errorf("read the counters of the target: %w", err)
	}
	if size := int(end - begin); len(c.buf) != size { // always, but for the first process: it is the same program
		c.buf, c.old = make([]byte, size), make([]byte, size)
		c.seen, c.head = make([]bool, size/4), make([]bool, size/4)
	}
	c.pid, c.at = pid, int64(begin)
	return nil
}

func (c *coverage) detach() {
	if c.mem != nil {
		_ = c.mem.Close()
	}
	c.mem, c.pid = nil, 0
}

// coverSymbols returns where the counters lie, and the lowest address of a program that may be moved.
func coverSymbols(file string) (begin, end uint64, base *uint64, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return 0, 0, nil, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return 0, 0, nil, err
	}
	for _, s := range symbols {
		switch s.Name {
		case coverBegin:
			begin = s.Value
		case coverEnd:
			end = s.Value
		}
	}
	if begin == 0 || end <= begin || end-begin > maxCoverSize {
		return 0, 0, nil, errors.New("it holds no counters")
	}
	if f.Type == elf.ET_DYN {
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD {
				low := p.Vaddr &^ (max(p.Align, 1) - 1)
				base = &low
				break
			}
		}
	}
	return begin, end, base, nil
}

// mappedAt returns the lowest address of a program in memory.
func mappedAt(maps, exe string) (uint64, error) {
	f, err := os.Open(maps)
	if err != nil {
		return 0, fmt.Errorf("read where the target lies in memory: %w", err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		if words := strings.Fields(in.Text()); len(words) >= 6 && words[5] == exe {
			low, _, _ := strings.Cut(words[0], "-")
			return strconv.ParseUint(low, 16, 64)
		}
	}
	return 0, errors.New("nobody knows where the target lies in memory")
}

// look reads the counters of the process and returns a number that is another one each time something ran for the first
// time. A process that is gone tells nothing.
func (c *coverage) look(pid int) (epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pid != c.pid && c.attach(pid) != nil {
		return c.epoch
	}
	if n, err := c.mem.ReadAt(c.buf, c.at); err != nil || n < len(c.buf) {
		c.detach()
		return c.epoch
	}
	c.fresh()
	return c.epoch
}

// coverStep is how many bytes are compared at once: most do not change, and few looks find anything.
const coverStep = 512

// fresh marks the words that are above zero for the first time.
func (c *coverage) fresh() {
	found := false
	for at := 0; at < len(c.buf); at += coverStep {
		end := min(at+coverStep, len(c.buf)&^3)
		if bytes.Equal(c.buf[at:end], c.old[at:end]) {
			continue
		}
		for i := at; i < end; i += 4 {
			if !c.seen[i/4] && c.word(i/4) != 0 {
				c.seen[i/4], found = true, true
			}
		}
	}
	if found {
		c.epoch++
		c.tally()
	}
	c.buf, c.old = c.old, c.buf
}

func (c *coverage) word(i int) uint32 { return binary.NativeEndian.Uint32(c.buf[4*i:]) }

// tally counts the counters among the words that were seen. A function that has not run has no head, and is all zero.
func (c *coverage) tally() {
	words := len(c.buf) / 4
	for i := 0; i < words; i++ {
		if n := c.word(i); n != 0 {
			for k := range min(coverHead, words-i) {
				c.head[i+k] = true
			}
			i = int(min(uint64(words), uint64(i)+coverHead+uint64(n))) - 1
		}
	}
	c.count = 0
	for i, seen := range c.seen {
		if seen && !c.head[i] {
			c.count++
		}
	}
}

// last returns what look returned last. It may be called of nil.
func (c *coverage) last() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// covered counts the blocks that have run. It may be called of nil.
func (c *coverage) covered() int {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}

// close ends the reading. It may be called of nil.
func (c *coverage) close() {
	if c != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.detach()
	}
}

// watchCoverage begins to read the counters of the target, where the run wants them.
func (f *fuzzer) watchCoverage() error {
	if !f.cfg.Coverage {
		return nil
	}
	if !f.own {
		return errors.New("coverage is read of a target that is started here: name its command")
	}
	var err error
	if f.cover, err = openCoverage(f.proc.Pid()); err == nil {
		f.cover.look(f.proc.Pid()) // what it takes to start is no news
	}
	return err
}

// coverLearn keeps a script during which code of the target ran for the first time. Which of the scripts that were
// executed at the same time has done it nobody can tell: all of them are kept.
func (f *fuzzer) coverLearn(s *Script, seed bool, before int) {
	if f.cover == nil || f.cover.look(f.proc.Pid()) == before || size(s) > maxKept {
		return
	}
	f.mu.Lock()
	kept := f.corpus.keep(s)
	f.mu.Unlock()
	if kept && !seed && f.cfg.Corpus != "" {
		f.corpus.save(f.cfg.Corpus, s)
	}
}
