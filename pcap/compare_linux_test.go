package pcap_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mqlab/mqlab/pcap"
)

// tsharkFields are what tshark is asked for: about what a line of the list holds.
var tsharkFields = []string{
	"frame.number", "frame.time_epoch", "tcp.stream", "ip.src", "mqtt.msgtype", "mqtt.qos", "mqtt.msgid", "mqtt.len", "mqtt.topic", "mqtt.clientid",
}

// BenchmarkCompare runs the whole program, and tshark where it is installed, on one capture of 1,000 streams with
// packets of 2 to 1,560 bytes. It says how long each takes, how many bytes of memory it has at most, how much
// faster it is than tshark, and how much longer it takes than reading and reassembly alone. The figures of the manual:
//
//	MQLAB_BENCH_MB=300 go test ./pcap -run - -bench Compare -benchtime 3x -timeout 30m
func BenchmarkCompare(b *testing.B) {
	dir := b.TempDir()
	program := filepath.Join(dir, "mqlab")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/mqlab").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	capture := filepath.Join(dir, "load.pcap")
	writeFile(b, capture, func(w io.Writer) { writeLoad(w, benchMB()<<20, 1000) })
	info, err := os.Stat(capture)
	if err != nil {
		b.Fatal(err)
	}
	mb := float64(info.Size()) / 1e6
	floor, tshark := 0.0, 0.0

	run := func(name string, args ...string) (seconds float64) {
		b.Run(name, func(b *testing.B) {
			most := int64(0)
			once := name == "tshark" // it takes a minute
			seconds = 0
			n := 0
			for b.Loop() {
				if n++; once && n > 1 {
					continue
				}
				cmd := exec.Command(args[0], args[1:]...)
				var text bytes.Buffer
				cmd.Stderr = &text
				begin := time.Now()
				if err := cmd.Start(); err != nil {
					b.Fatal(err)
				}
				peak := make(chan int64)
				done := make(chan struct{})
				go func() { peak <- watchMemory(cmd.Process.Pid, done) }()
				err := cmd.Wait()
				took := time.Since(begin).Seconds()
				close(done)
				most = max(most, <-peak)
				if err != nil {
					b.Fatalf("%v: %s", err, text.Bytes())
				}
				if seconds == 0 || took < seconds {
					seconds = took
				}
			}
			report(b, mb, seconds)
			b.ReportMetric(float64(most)/1e6, "peak-MB")
			if floor > 0 {
				b.ReportMetric(seconds/floor, "x-floor")
			}
			if tshark > 0 {
				b.ReportMetric(tshark/seconds, "x-faster")
			}
		})
		return seconds
	}
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Open(capture)
			if err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			if _, err := pcap.Reassemble(f); err != nil {
				b.Fatal(err)
			}
			if took := time.Since(begin).Seconds(); floor == 0 || took < floor {
				floor = took
			}
			f.Close()
		}
		report(b, mb, floor)
	})
	if path, err := exec.LookPath("tshark"); err == nil {
		args := []string{path, "-n", "-r", capture, "-Y", "mqtt", "-T", "fields"}
		for _, f := range tsharkFields {
			args = append(args, "-e", f)
		}
		tshark = run("tshark", args...)
	}
	run("list", program, "pcap", capture)
	run("json", program, "pcap", "--format", "json", capture)
	run("csv", program, "pcap", "--format", "csv", capture)
	run("stats", program, "pcap", "stats", capture)
	run("lint", program, "pcap", "lint", capture)
}

// watchMemory returns the most bytes that a process has in memory. What the system says at its end is of no use: it
// counts those of the parent, from whom the process has begun.
func watchMemory(pid int, done <-chan struct{}) int64 {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	most := int64(0)
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if _, rest, ok := bytes.Cut(status, []byte("VmHWM:")); ok {
			if words := bytes.Fields(rest); len(words) > 1 {
				kb, _ := strconv.ParseInt(string(words[0]), 10, 64)
				most = max(most, kb<<10)
			}
		}
		select {
		case <-done:
			return most
		case <-tick.C:
		}
	}
}

// report gives the best time in place of the mean, which on a busy machine says more about the machine.
func report(b *testing.B, mb, seconds float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(seconds, "s")
	b.ReportMetric(mb/seconds, "MB/s")
}

func writeFile(tb testing.TB, name string, write func(io.Writer)) {
	tb.Helper()
	f, err := os.Create(name)
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	write(w)
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}
