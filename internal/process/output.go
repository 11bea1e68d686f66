package process

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

// Bounds on what is kept of an output.
const (
	tailBytes  = 16 << 10 // its end
	lineBytes  = 4 << 10  // one line; the rest of a longer one is dropped
	traceBytes = 32 << 10 // one trace
	traceLines = 120
	maxTraces  = 32 // further ones are counted alone
)

// Output keeps the end of what a program writes, and every stack trace from its first line on: a crash dump can be
// far longer than any tail. It is an io.Writer. The zero value is ready.
type Output struct {
	// OnTrace is called for each trace once it is whole. Set it before the first Write.
	OnTrace func(Trace)

	mu     sync.Mutex // guards the fields below
	tail   []byte
	line   []byte
	open   []string // the lines of a trace that goes on
	size   int
	wrote  time.Time
	traces []Trace
}

// Write takes what the program wrote. It never fails.
func (o *Output) Write(b []byte) (int, error) {
	n := len(b)
	var done []Trace
	o.mu.Lock()
	o.wrote = time.Now()
	o.tail = append(o.tail, b...)
	if over := len(o.tail) - tailBytes; over > tailBytes {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
	for len(b) > 0 {
		part, rest, whole := bytes.Cut(b, []byte{'\n'})
		if room := lineBytes - len(o.line); room > 0 {
			o.line = append(o.line, part[:min(room, len(part))]...)
		}
		b = rest
		if whole {
			done = o.endLine(done)
		}
	}
	o.mu.Unlock()
	o.tell(done)
	return n, nil
}

// endLine looks at a whole line. The caller holds the lock.
func (o *Output) endLine(done []Trace) []Trace {
	line := strings.TrimRight(string(o.line), "\r")
	o.line = o.line[:0]
	starts := startsTrace(line)
	if len(o.open) > 0 && (starts && !continuesTrace(o.open, line) || endsTrace(o.open, line)) {
		done = o.closeTrace(done)
	}
	// A trace past its bounds stays open: what follows is the rest of a long dump, not a trace of its own.
	if len(o.open) > 0 && len(o.open) < traceLines && o.size < traceBytes || len(o.open) == 0 && starts {
		o.open = append(o.open, line)
		o.size += len(line)
	}
	return done
}

func (o *Output) closeTrace(done []Trace) []Trace {
	tr, ok := ReadTrace(strings.Join(o.open, "\n"))
	o.open, o.size = nil, 0
	if !ok {
		return done
	}
	if len(o.traces) < maxTraces {
		o.traces = append(o.traces, tr)
	}
	return append(done, tr)
}

func (o *Output) tell(done []Trace) {
	if o.OnTrace == nil {
		return
	}
	for _, tr := range done {
		o.OnTrace(tr)
	}
}

// FlushIdle does as Flush where nothing was written for d: a trace that was the last thing said ends by silence alone.
func (o *Output) FlushIdle(d time.Duration) {
	o.mu.Lock()
	idle := time.Since(o.wrote) >= d
	o.mu.Unlock()
	if idle {
		o.Flush()
	}
}

// Flush ends a line and a trace that are still open: the program is gone.
func (o *Output) Flush() {
	var done []Trace
	o.mu.Lock()
	if len(o.line) > 0 {
		done = o.endLine(done)
	}
	if len(o.open) > 0 {
		done = o.closeTrace(done)
	}
	o.mu.Unlock()
	o.tell(done)
}

// Traces returns the stack traces that were written, the first 32 of them.
func (o *Output) Traces() []Trace {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]Trace(nil), o.traces...)
}

// Tail returns the end of what was written, at most n bytes of it.
func (o *Output) Tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.tail[max(0, len(o.tail)-n):])
}

// Lines returns the last n lines that are not empty.
func (o *Output) Lines(n int) []string {
	var out []string
	for line := range strings.Lines(o.Tail(tailBytes)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out[max(0, len(out)-n):]
}
