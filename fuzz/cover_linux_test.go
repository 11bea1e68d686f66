package fuzz

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// buildCovered builds the broker whose code is watched.
func buildCovered(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "covered")
	out, err := exec.Command("go", "build", "-cover", "-coverpkg=./testdata/covered", "-o", program, "./testdata/covered").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestCoverage(t *testing.T) {
	program := buildCovered(t)
	t.Run("read", func(t *testing.T) { testCoverageRead(t, program) })
	t.Run("feeds", func(t *testing.T) { testCoverageFeeds(t, program) })
}

// testCoverageRead holds that code which runs for the first time is seen while the program runs, once, also after a restart.
func testCoverageRead(t *testing.T, program string) {
	p, err := Start(t.Context(), Target{Cmd: "'" + program + "' {port}"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop() })
	c, err := openCoverage(p.Pid())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	first := c.look(p.Pid())
	if first == 0 || c.covered() < 3 || c.look(p.Pid()) != first || c.last() != first {
		t.Fatalf("%d blocks, epoch %d", c.covered(), first)
	}
	send := func(b byte) {
		t.Helper()
		nc, err := new(transport.Dialer).Dial(t.Context(), p.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		if _, err := nc.Write([]byte{b, 0}); err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Read(make([]byte, 1)) // it is closed, as this is no CONNECT
	}
	before := c.covered()
	send(0xF0)
	second := c.look(p.Pid())
	if second == first || c.covered() != before+1 {
		t.Errorf("after new code has run: %d blocks, %d before", c.covered(), before)
	}
	send(0xF0)
	if c.look(p.Pid()) != second {
		t.Error("code that has run before is news")
	}
	if err := p.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	send(0xF0)
	if c.look(p.Pid()) != second {
		t.Error("code that has run in another process is news")
	}
	send(0xA2)
	if c.look(p.Pid()) == second || c.covered() != before+2 {
		t.Errorf("in another process: %d blocks, %d at first", c.covered(), before)
	}
}

// testCoverageFeeds holds that scripts which make new code run are kept, although their answers are nothing new.
func testCoverageFeeds(t *testing.T, program string) {
	f, err := newFuzzer(t.Context(), Config{Target: Target{Cmd: "'" + program + "' {port}"}, Workers: 1, Coverage: true, Corpus: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.stop)
	run := func(s *Script) int {
		before := f.cover.last()
		if r := f.replay.run(t.Context(), s); r.dialErr != nil {
			t.Fatal(r.dialErr)
		}
		f.coverLearn(s, false, before)
		return len(f.corpus.entries)
	}
	auth := func() *Script {
		return &Script{Version: codec.V5, Steps: []Step{{Op: Open}, {Op: Send, Bytes: []byte{0xF0, 0}}, {Op: Settle, Gap: time.Second}, {Op: Close}}}
	}
	if n := run(auth()); n != 1 {
		t.Errorf("%d scripts are kept, want the one that made new code run", n)
	}
	if n := run(auth()); n != 1 {
		t.Errorf("%d scripts are kept, of two that are the same", n)
	}
	if files, _ := filepath.Glob(filepath.Join(f.cfg.Corpus, "*.txt")); len(files) != 1 {
		t.Errorf("files of the corpus: %q", files)
	}
	if st := f.stats(); st.Covered < 4 {
		t.Errorf("%d blocks", st.Covered)
	}
}

// TestNoCoverage holds that who asks for coverage of what has none is told so.
func TestNoCoverage(t *testing.T) {
	if _, err := openCoverage(1 << 30); err == nil {
		t.Error("a process that is not there has counters")
	}
	dial, _ := embedded(t)
	if _, err := newFuzzer(t.Context(), Config{Dial: dial, Name: "embedded", Coverage: true}); err == nil || !strings.Contains(err.Error(), "name its command") {
		t.Errorf("a live target: %v", err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := openCoverage(cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), "go build -cover") {
		t.Errorf("a program without counters: %v", err)
	}
}

// TestMapped holds that the place of a program in memory is read where the system tells it.
func TestMapped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "maps")
	text := "5566aa000000-5566aa001000 r--p 00000000 08:01 77 /bin/x\n5566aa001000-5566aa002000 r-xp 00001000 08:01 77 /bin/x\n7f0000000000-7f0000001000 r--p 00000000 08:01 78 /lib/y\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if at, err := mappedAt(file, "/bin/x"); err != nil || at != 0x5566aa000000 {
		t.Errorf("%#x, %v", at, err)
	}
	if _, err := mappedAt(file, "/bin/z"); err == nil {
		t.Error("a program that is not there has a place")
	}
}

func BenchmarkCoverage(b *testing.B) {
	c := &coverage{buf: make([]byte, 4*30_000), old: make([]byte, 4*30_000), seen: make([]bool, 30_000), head: make([]bool, 30_000)}
	b.ReportAllocs()
	for b.Loop() {
		c.fresh()
	}
}
