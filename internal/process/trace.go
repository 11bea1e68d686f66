package process

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Trace is a stack trace or the like that a program wrote.
type Trace struct {
	Kind    string   // such as "go panic", "asan" or "node"
	Message string   // without addresses, numbers and identifiers
	Frames  []string // functions of the program itself, innermost first, at most three
	Text    string   // as it was written, cut at a bound
}

// Signature is the same in every run of the same fault, and another one for another fault as far as frames tell.
func (t Trace) Signature() string {
	s := t.Kind
	if t.Message != "" {
		s += ": " + t.Message
	}
	if len(t.Frames) > 0 {
		s += " in " + strings.Join(t.Frames, " < ")
	}
	return s
}

// maxFrames is how many frames a signature names: enough to tell faults apart, few enough to survive another caller.
const maxFrames = 3

// maxMessage bounds a message in bytes.
const maxMessage = 160

// format is one way in which a runtime reports that a program is broken.
type format struct {
	kind   string
	start  *regexp.Regexp // of the first line; its first group, where there is one, is the message
	frame  *regexp.Regexp // of a line with a frame; groups are joined by "@" for the frame's name
	skip   *regexp.Regexp // frames that belong to the runtime
	goesOn *regexp.Regexp // of further lines; nil: every line
	note   *regexp.Regexp // of a line whose first group adds to the message
	needs  bool           // without a frame it is no trace
}

// goStandard are the first elements of the import paths of Go's standard library.
const goStandard = `archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|hash|html|image|index|internal|io|iter|log|maps|math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv|strings|sync|syscall|testing|text|time|unicode|unique|unsafe|weak`

var (
	goFrame = regexp.MustCompile(`^\s{0,2}([^\s(]\S*)\((?:\.\.\.|[^()]*)\)$`)
	goSkip  = regexp.MustCompile(`^(?:panic$|created by |goroutine |(?:vendor/)?(?:` + goStandard + `)(?:/|\.))`)
	goGoes  = regexp.MustCompile(`^(?:\s|$|goroutine |created by |panic: |fatal error: |\[signal |runtime stack:|runtime:|exit status|stack: |[^\s].*\)$|[^\s]+:\s*$|r\w\s|e\w+\s)`)
	cFrame  = regexp.MustCompile(`^\s*#\d+ 0x[0-9a-f]+ in (.+?)(?: \(?[^ ]+\)?(?: \(BuildId: \w+\))?)?$`)
	cSkip   = regexp.MustCompile(`^(?:__|_start|main$|_?operator (?:new|delete)|mem(?:cpy|set|move|cmp)|str\w+$|malloc|calloc|realloc|free$|v?f?printf|v?sn?printf|raise|abort|clone\d?|start_thread|std::)`)
	atFrame = regexp.MustCompile(`^\s+at ([^\s(]+(?: \[as [^\]]+\])?)\((?:.*)\)$`)
)

var formats = []format{
	{
		kind: "go race", start: regexp.MustCompile(`^WARNING: (DATA RACE)`), frame: goFrame, skip: goSkip,
		goesOn: regexp.MustCompile(`^(?:\s|$|Read at|Write at|Previous|Goroutine|=+$)`),
	},
	{kind: "go panic", start: regexp.MustCompile(`^(?:.{0,120}?\W)?panic: (.+)$`), frame: goFrame, skip: goSkip, goesOn: goGoes},
	{kind: "go fatal error", start: regexp.MustCompile(`^(?:fatal error: (.+)|runtime: (goroutine stack exceeds).*|SIG\w+: (.+)|unexpected fault address.*)$`), frame: goFrame, skip: goSkip, goesOn: goGoes},
	{kind: "go stack", start: regexp.MustCompile(`(?:^|\W)goroutine \d+ \[running\]:`), frame: goFrame, skip: goSkip, goesOn: goGoes, needs: true},
	{
		kind: "asan", start: regexp.MustCompile(`ERROR: AddressSanitizer:? ([\w-]+(?: param overlap| of the [\w ]+)?)`), frame: cFrame, skip: cSkip,
	},
	{kind: "lsan", start: regexp.MustCompile(`ERROR: LeakSanitizer: ([\w ]+)`), frame: cFrame, skip: cSkip},
	{kind: "tsan", start: regexp.MustCompile(`WARNING: ThreadSanitizer: ([\w -]+)`), frame: regexp.MustCompile(`^\s*#\d+ (\S+) `), skip: cSkip},
	{kind: "msan", start: regexp.MustCompile(`WARNING: MemorySanitizer: ([\w-]+)`), frame: cFrame, skip: cSkip},
	{kind: "ubsan", start: regexp.MustCompile(`^(?:.*/)?([^/\s]+\.\w+:\d+):\d+: runtime error: .+`), frame: cFrame, skip: cSkip, note: regexp.MustCompile(`runtime error: (.+)`)},
	{
		kind: "valgrind", start: regexp.MustCompile(`^==\d+== (Invalid (?:read|write|free)|Mismatched free|Conditional jump or move depends|Use of uninitialised value|Jump to the invalid address|Source and destination overlap|Syscall param \S+ points to|Process terminating with default action of signal)`),
		frame: regexp.MustCompile(`^==\d+==\s+(?:at|by) 0x[0-9A-F]+: (\S+) \(`), skip: cSkip, goesOn: regexp.MustCompile(`^==\d+==`),
	},
	{
		kind: "java", start: regexp.MustCompile(`(?:^|[\s"])((?:[a-z]\w*\.){1,8}[A-Z]\w*(?:Exception|Error)(?:: .*)?)$`), frame: atFrame,
		skip:   regexp.MustCompile(`^(?:java\.base/)?(?:java|javax|jdk|sun|com\.sun|io\.netty|scala|kotlin)\.`),
		goesOn: regexp.MustCompile(`^(?:\s+at |\s+\.\.\. |Caused by: |\s+Suppressed: )`), needs: true,
	},
	{kind: "jvm", start: regexp.MustCompile(`^# A fatal error has been detected by the Java Runtime Environment`), frame: regexp.MustCompile(`^# [CVJj]\s+(.+?)(?:\+0x\w+)?$`), goesOn: regexp.MustCompile(`^#`)},
	{
		kind: "dotnet", start: regexp.MustCompile(`^Unhandled exception\. (.+)$`), frame: regexp.MustCompile(`^\s+at ([^\s(]+)\(`),
		skip: regexp.MustCompile(`^System\.`), goesOn: regexp.MustCompile(`^\s`),
	},
	{kind: "node out of memory", start: regexp.MustCompile(`^FATAL ERROR: (.+)$`)},
	{
		kind: "node", start: regexp.MustCompile(`^(?:Uncaught |\[?)?((?:[A-Z]\w*)?(?:Error|Exception)(?: \[\w+\])?(?:: .*)?)$`),
		frame: regexp.MustCompile(`^\s+at (?:(?:async |new )?([^\s()]+)(?: \[as \w+\])? \(.*?([^/\\(]+\.\w+):\d+:\d+\)|.*?([^/\\]+\.\w+:\d+):\d+)$`),
		skip:  regexp.MustCompile(`@?(?:events|net|stream_base_commons|timers|task_queues|loader|buffer|readable|writable|transform|destroy|stream|node|run_main_module)(?:\.js)?(?::\d+)?$`), goesOn: regexp.MustCompile(`^(?:\s|$)`), needs: true,
	},
	{
		kind: "rust panic", start: regexp.MustCompile(`thread '[^']*'(?: \(\d+\))? panicked at (?:'(?:.*)', )?(\S+?\.rs:\d+)(?::\d+)?:?$`), note: regexp.MustCompile(`^([^\s].*)$`),
		frame: regexp.MustCompile(`^\s+\d+: (\S+)$`), skip: regexp.MustCompile(`^(?:std|core|alloc|tokio|rust_begin_unwind|__)`), goesOn: regexp.MustCompile(`.`),
	},
	{
		kind: "erlang", start: regexp.MustCompile(`^(?:.*\*\* Reason for termination\s*=+\s*(.*)|\s*exception (?:error|exit): (.*)|.*crasher:.*|Runtime terminating during boot.*)$`),
		frame: regexp.MustCompile(`(?:\{([a-z]\w*,[a-z]\w*),(?:\d+|\[)|(?:in function|in call from)\s+([a-z]\w*:[a-z]\w*/\d+))`),
		skip:  regexp.MustCompile(`^(?:gen_\w+|proc_lib|lists|erlang|supervisor)[,:]`),
	},
	{kind: "python", start: regexp.MustCompile(`^Traceback \(most recent call last\):`), frame: regexp.MustCompile(`^\s+File "(?:.*/)?([^"]+)", line \d+, in (\S+)`), note: regexp.MustCompile(`^([A-Za-z_][\w.]*(?:Error|Exception|Warning)\b.*)$`)},
	{kind: "abort", start: regexp.MustCompile(`^((?:double )?free(?:\(\))?(?:: [\w ]+| or corruption.*)|(?:malloc|realloc|munmap_chunk|corrupted|malloc_consolidate)\b\S*:? ?.*|corrupted size vs.*|\*\*\* [\w ]+ detected \*\*\*.*)$`), goesOn: regexp.MustCompile(`^Aborted`)},
	{kind: "assertion", start: regexp.MustCompile(`^(?:[^:]+: )?([^:\s]+:\d+: .*Assertion .* failed\.?)`), goesOn: regexp.MustCompile(`^Aborted`)},
	{kind: "c++ exception", start: regexp.MustCompile(`^terminate called (.*)$`), note: regexp.MustCompile(`what\(\):\s+(.*)`), goesOn: regexp.MustCompile(`^(?:\s|Aborted)`)},
}

// hints are in every first line of a trace: most lines are done with after looking for them.
var hints = []string{
	"panic", "fatal", "Fatal", "FATAL", "goroutine", "WARNING", "ERROR", "SIG", "==", "runtime", "xception", "Error", "thread '", "# A ",
	"termination", "crasher", "Runtime", "Traceback", "free", "alloc", "munmap", "corrupted", "***", "Assertion", "terminate", "unexpected",
}

func startsTrace(line string) bool { return formatOf(line) != nil }

func formatOf(line string) *format {
	if !slices.ContainsFunc(hints, func(h string) bool { return strings.Contains(line, h) }) {
		return nil
	}
	for i := range formats {
		if formats[i].start.MatchString(line) {
			return &formats[i]
		}
	}
	return nil
}

// continuesTrace reports whether the first line of a trace is part of the one that is open: a runtime announces a trace
// in more than one line.
func continuesTrace(open []string, line string) bool {
	f, g := formatOf(open[0]), formatOf(line)
	if f == nil || g == nil {
		return false
	}
	goTrace := func(f *format) bool { return strings.HasPrefix(f.kind, "go ") && f.kind != "go race" }
	if goTrace(f) && goTrace(g) {
		// A dump of all goroutines goes on; a second panic of a program that survived the first does not.
		return g.kind == "go stack" || len(open) < 4 || !strings.HasPrefix(line, "panic: ")
	}
	return strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") || f.kind == "erlang" && g.kind == "erlang" ||
		f.kind == "asan" || f.kind == "python" || f.kind == "rust panic" && g.kind == "go stack"
}

// endsTrace reports whether a line does not belong to the trace that is open.
func endsTrace(open []string, line string) bool {
	f := formatOf(open[0])
	switch {
	case f == nil || f.goesOn == nil:
		return false
	case f.kind == "rust panic":
		return len(open) > 1 && !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "note: ") && !strings.HasPrefix(line, "stack backtrace")
	}
	return !f.goesOn.MatchString(line)
}

// ReadTrace finds the first stack trace in an output.
func ReadTrace(text string) (Trace, bool) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		f := formatOf(line)
		if f == nil {
			continue
		}
		if tr, ok := f.read(lines[i:]); ok {
			return tr, true
		}
	}
	return Trace{}, false
}

// read makes a trace of lines that begin with a first line.
func (f *format) read(lines []string) (Trace, bool) {
	t := Trace{Kind: f.kind, Text: strings.TrimSpace(strings.Join(lines, "\n"))}
	for _, g := range f.start.FindStringSubmatch(lines[0])[1:] {
		if g != "" {
			t.Message = g
		}
	}
	noted := false
	for i, line := range lines {
		if f.note != nil && !noted && (i > 0 || f.kind == "ubsan") {
			if m := f.note.FindStringSubmatch(line); m != nil {
				t.Message, noted = strings.TrimPrefix(t.Message+": "+m[1], ": "), true
			}
		}
		// One level up from a fatal error that names no function of the program.
		if strings.HasPrefix(f.kind, "go ") && len(t.Frames) > 0 && strings.HasPrefix(line, "goroutine ") {
			break
		}
		if f.frame == nil || len(t.Frames) == maxFrames {
			continue
		}
		m := f.frame.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := strings.Join(slices.DeleteFunc(m[1:], func(s string) bool { return s == "" }), "@")
		if name = tidyFrame(name); name != "" && (f.skip == nil || !f.skip.MatchString(name)) {
			t.Frames = append(t.Frames, name)
		}
	}
	if f.needs && len(t.Frames) == 0 {
		return Trace{}, false
	}
	t.Message = scrub(t.Message)
	return t, true
}

var (
	address = regexp.MustCompile(`0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b`)
	erlPid  = regexp.MustCompile(`<\d+\.\d+\.\d+>`)
	number  = regexp.MustCompile(`\d+`)
	fileRef = regexp.MustCompile(`[\w.-]+\.(?:rs|c|cc|cpp|h|hpp|go|js):\d+`)
)

// scrub takes out of a message what differs from run to run.
func scrub(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), " [recovered")
	s = address.ReplaceAllString(s, "#")
	s = erlPid.ReplaceAllString(s, "<#>")
	var b strings.Builder
	for at := 0; at < len(s); {
		// A place in the source is the same in every run, and tells faults apart.
		loc := fileRef.FindStringIndex(s[at:])
		end := len(s)
		if loc != nil {
			end = at + loc[0]
		}
		b.WriteString(number.ReplaceAllString(s[at:end], "#"))
		if loc == nil {
			break
		}
		b.WriteString(s[end : at+loc[1]])
		at += loc[1]
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r > '~' {
			return '.'
		}
		return r
	}, b.String())
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	return s
}

// tidyFrame takes out of a function's name what differs from build to build: the import path before the package.
func tidyFrame(s string) string {
	s = strings.TrimSuffix(s, "()")
	if i := strings.LastIndexByte(s, '/'); i >= 0 && !strings.HasPrefix(s, "java.base/") && !goSkip.MatchString(s) && !strings.Contains(s, ":") {
		s = s[i+1:]
	}
	return s
}
