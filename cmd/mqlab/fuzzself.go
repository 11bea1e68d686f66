package main

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/process"
	markdown "github.com/mqlab/mqlab/internal/report"
	"github.com/mqlab/mqlab/internal/ui"
)

var fuzzSelfFormats = []string{"text", "json", "markdown"}

func fuzzSelfCommand(e *env) *cli.Command {
	flags := []cli.Flag{
		&cli.DurationFlag{Name: "time", Value: 10 * time.Minute, Usage: "divide `TIME` among the targets"},
		&cli.StringFlag{Name: "dir", Value: ".", Usage: "the checkout of mqlab is at or above `DIR`"},
		&cli.StringSliceFlag{Name: "run", Usage: "only targets whose name, or folder/name, matches `GLOB`, with * and ?; several are separated by commas"},
		&cli.IntFlag{Name: "parallel", DefaultText: "as many as processors", Usage: "give each target `N` processes"},
		&cli.DurationFlag{Name: "minimize-time", Value: time.Second, Usage: "spend at most so long on making an input smaller"},
		&cli.BoolFlag{Name: "list", Usage: "print the targets and end"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing while the targets run"},
		formatFlag(fuzzSelfFormats...), outputFlag(),
	}
	return &cli.Command{
		Name:  "self",
		Usage: "run the fuzz targets of mqlab's own code",
		Description: describe(`Runs every Go fuzz target of a checkout in turn, with the Go tool: decoder, encoder, WebSocket frames, topic
			matching, session state, the embedded broker under scripts, capture and scenario files, and comparisons with other codecs. What
			one run has learnt stays in Go's build cache for the next. An input that fails a target is left in testdata/fuzz beside it, and
			shown with the command that runs it again. Made for a nightly job.`,
			"mqlab fuzz self --time 1h --markdown fuzz.md",
			"mqlab fuzz self --list --run 'codec/*'"),
		Flags:  append(flags, fileFlags(fuzzSelfFormats)...),
		Action: func(c *cli.Context) error { return e.fuzzSelf(c) },
	}
}

func (e *env) fuzzSelf(c *cli.Context) error {
	if c.Duration("time") <= 0 || c.Int("parallel") < 0 || c.Duration("minimize-time") < 0 {
		return usagef("--time, --parallel and --minimize-time must be positive")
	}
	root, err := checkout(c.String("dir"))
	if err != nil {
		return err
	}
	targets, err := fuzzTargets(root, c.StringSlice("run"))
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return usagef("no fuzz target passes --run %s; --list without it shows them all", strings.Join(c.StringSlice("run"), ","))
	}
	if c.Bool("list") {
		return e.writeForms(c, fuzzSelfFormats, map[string]form{
			"text": func(out output) error { return listSelf(out, targets) },
			"json": func(out output) error { return writeJSON(out, targets) },
			"markdown": func(out output) error {
				var rows [][]string
				for _, t := range targets {
					rows = append(rows, []string{markdown.MarkdownCode(t.Folder), markdown.MarkdownCode(t.Name), markdown.MarkdownText(t.About)})
				}
				_, err := fmt.Fprint(out, markdown.MarkdownTable([]string{"folder", "target", "what it holds"}, nil, rows))
				return err
			},
		}, false)
	}
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("run the targets: %w; install Go, or put it in the PATH", err)
	}
	run := &selfRun{
		root: root, each: c.Duration("time") / time.Duration(len(targets)), parallel: cmp.Or(c.Int("parallel"), runtime.GOMAXPROCS(0)),
		minimise: c.Duration("minimize-time"), say: func(string, ...any) {},
	}
	if !c.Bool("quiet") {
		run.say = func(format string, args ...any) { fmt.Fprintf(e.stderr, format, args...) }
	}
	sum := run.all(c.Context, targets)
	if err := e.writeForms(c, fuzzSelfFormats, map[string]form{
		"text":     func(out output) error { return sum.text(out) },
		"json":     func(out output) error { return writeJSON(out, sum) },
		"markdown": func(out output) error { return sum.markdown(out) },
	}, false); err != nil {
		return err
	}
	if sum.Failed > 0 {
		return exitWith(exitNo, nil)
	}
	return nil
}

// selfTarget is a fuzz target of the checkout.
type selfTarget struct {
	Folder string `json:"folder"` // below the root, with slashes
	Name   string `json:"name"`
	About  string `json:"about,omitempty"` // the first sentence of its comment
	module string // folder of its module below the root; "" for the root's
}

// id is how --run and people name a target.
func (t selfTarget) id() string { return t.Folder + "/" + t.Name }

// pattern is the package for the Go tool, seen from the module's folder.
func (t selfTarget) pattern() string {
	if t.module == "" {
		return "./" + t.Folder
	}
	return "./" + strings.TrimPrefix(strings.TrimPrefix(t.Folder, t.module), "/")
}

// checkout returns the folder at or above dir that holds the module.
func checkout(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		b, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.Contains(string(b), "module github.com/mqlab/mqlab\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", usagef("%s is not in a checkout of mqlab; run this in one, or name it with --dir", dir)
		}
	}
}

// fuzzFunc is a fuzz target with the comment above it.
var fuzzFunc = regexp.MustCompile(`(?m)((?:^//.*\n)*)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

// fuzzTargets returns the targets that match, by folder and name.
func fuzzTargets(root string, globs []string) ([]selfTarget, error) {
	var all []selfTarget
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); file != root && (n == "testdata" || strings.HasPrefix(n, ".") || strings.HasPrefix(n, "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for _, m := range fuzzFunc.FindAllStringSubmatch(string(b), -1) {
			folder, err := filepath.Rel(root, filepath.Dir(file))
			if err != nil {
				return err
			}
			t := selfTarget{Folder: filepath.ToSlash(folder), Name: m[2], About: firstSentence(m[1], m[2]), module: nestedModule(root, filepath.Dir(file))}
			match := func(glob string) bool { return rules.Match(glob, t.Name) || rules.Match(glob, t.id()) }
			if len(globs) == 0 || slices.ContainsFunc(globs, match) {
				all = append(all, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for fuzz targets: %w", err)
	}
	slices.SortFunc(all, func(a, b selfTarget) int { return cmp.Or(cmp.Compare(a.Folder, b.Folder), cmp.Compare(a.Name, b.Name)) })
	return all, nil
}

// nestedModule returns the folder below root of the module that dir belongs to.
func nestedModule(root, dir string) string {
	for ; dir != root; dir = filepath.Dir(dir) {
		if isRegular(filepath.Join(dir, "go.mod")) {
			rel, err := filepath.Rel(root, dir)
			if err != nil {
				return ""
			}
			return filepath.ToSlash(rel)
		}
	}
	return ""
}

func isRegular(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// firstSentence of a doc comment, without the name that it begins with.
func firstSentence(comment, name string) string {
	text := strings.Join(strings.Fields(strings.ReplaceAll(comment, "//", " ")), " ")
	text = strings.TrimSpace(strings.TrimPrefix(text, name))
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i]
	}
	return strings.TrimSuffix(text, ".")
}

// selfRun runs targets one after the other.
type selfRun struct {
	root     string
	each     time.Duration
	parallel int
	minimise time.Duration
	say      func(format string, args ...any)
}

// selfResult is what a target came to.
type selfResult struct {
	selfTarget
	Elapsed  time.Duration `json:"elapsed_ns"`
	Execs    int64         `json:"execs"`
	New      int64         `json:"new_inputs"` // that reached code which no other had
	Corpus   int64         `json:"corpus"`
	Failed   bool          `json:"failed"`
	Crashers []string      `json:"crashers,omitempty"` // files below the root
	Again    string        `json:"again,omitempty"`    // the command that shows the failure again
	Output   string        `json:"output,omitempty"`   // of a target that failed
}

// selfSummary is what the run came to.
type selfSummary struct {
	Started     time.Time     `json:"started"`
	Elapsed     time.Duration `json:"elapsed_ns"`
	Each        time.Duration `json:"each_ns"`
	Failed      int           `json:"failed"`
	Interrupted bool          `json:"interrupted,omitempty"`
	Targets     []selfResult  `json:"targets"`
}

func (r *selfRun) all(ctx context.Context, targets []selfTarget) *selfSummary {
	sum := &selfSummary{Started: time.Now().UTC(), Each: r.each}
	for i, t := range targets {
		r.say("%d of %d  %s, %s\n", i+1, len(targets), t.id(), ui.Duration(r.each))
		res := r.one(ctx, t)
		if ctx.Err() != nil {
			sum.Interrupted = true
			break
		}
		if res.Failed {
			sum.Failed++
			r.say("%s: FAIL\n", t.id())
		}
		sum.Targets = append(sum.Targets, res)
	}
	sum.Elapsed = time.Since(sum.Started)
	return sum
}

// buildTime is what a target may take beyond its time, to be built and to make an input smaller.
const buildTime = 5 * time.Minute

// one runs a target.
func (r *selfRun) one(ctx context.Context, t selfTarget) selfResult {
	res := selfResult{selfTarget: t}
	began := time.Now()
	words := []string{
		"go", "test", t.pattern(), "-run", "^$", "-fuzz", "^" + t.Name + "$", "-fuzztime", r.each.String(),
		"-fuzzminimizetime", r.minimise.String(), "-parallel", strconv.Itoa(r.parallel),
	}
	p, err := process.Start(words, process.Options{Dir: filepath.Join(r.root, filepath.FromSlash(t.module))})
	if err != nil {
		res.Failed, res.Output = true, err.Error()
		return res
	}
	late := time.NewTimer(r.each + buildTime)
	defer late.Stop()
	select {
	case <-p.Done():
	case <-ctx.Done():
		p.Stop()
	case <-late.C:
		p.Kill()
		res.Failed, res.Output = true, fmt.Sprintf("it did not end %v after its time\n", buildTime)
	}
	res.Elapsed = time.Since(began)
	res.read(p.Output().Tail(16 << 10))
	if e, _ := p.Ending(); e.Code != 0 && (len(res.Crashers) > 0 || !fuzzLate.MatchString(res.Output)) {
		res.Failed = true
	}
	if !res.Failed {
		res.Output = ""
		return res
	}
	again := []string{"go", "test"}
	if t.module != "" {
		again = append(again, "-C", t.module)
	}
	name := t.Name
	if len(res.Crashers) > 0 {
		name += "/" + filepath.Base(res.Crashers[0])
	}
	res.Again = strings.Join(append(again, t.pattern(), "-run", "'^"+name+"$'"), " ")
	return res
}

var (
	fuzzProgress = regexp.MustCompile(`(?m)^fuzz: elapsed: .*, execs: (\d+) .*new interesting: (\d+) \(total: (\d+)\)`)
	fuzzFailing  = regexp.MustCompile(`Failing input written to (\S+)`)
	// The Go tool may call a target failed whose last input was under way when its time was up.
	fuzzLate = regexp.MustCompile(`^(?s:.*)--- FAIL: \w+ \([0-9.]+s\)\n\s+context deadline exceeded\nFAIL\n`)
	fuzzSeed = regexp.MustCompile(`failure while testing seed corpus entry: (Fuzz\w+/\S+)`)
)

// read takes what the Go tool says about a target.
func (r *selfResult) read(text string) {
	if all := fuzzProgress.FindAllStringSubmatch(text, -1); len(all) > 0 {
		last := all[len(all)-1]
		for i, to := range []*int64{&r.Execs, &r.New, &r.Corpus} {
			*to, _ = strconv.ParseInt(last[i+1], 10, 64) // digits
		}
	}
	for _, m := range fuzzFailing.FindAllStringSubmatch(text, -1) {
		r.Crashers = append(r.Crashers, r.Folder+"/"+filepath.ToSlash(m[1]))
	}
	for _, m := range fuzzSeed.FindAllStringSubmatch(text, -1) {
		r.Crashers = append(r.Crashers, r.Folder+"/testdata/fuzz/"+m[1])
	}
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "fuzz: elapsed: ") {
			kept = append(kept, line)
		}
	}
	r.Output += strings.Join(kept, "")
}

func (r *selfResult) verdict() string {
	if r.Failed {
		return ui.Fail
	}
	return ui.Pass
}

func (r *selfResult) rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Execs) / r.Elapsed.Seconds()
}

func listSelf(out output, targets []selfTarget) error {
	var rows [][]string
	for _, t := range targets {
		rows = append(rows, []string{t.Folder, t.Name, t.About})
	}
	_, err := fmt.Fprint(out, out.ui.Table(out.width, []ui.Column{{Title: "folder"}, {Title: "target"}, {Title: "what it holds", Flex: true}}, rows))
	return err
}

func (s *selfSummary) headline() string {
	text := fmt.Sprintf("%d of %d targets failed in %s", s.Failed, len(s.Targets), ui.Duration(s.Elapsed))
	if s.Interrupted {
		text += ", interrupted"
	}
	return text
}

func (s *selfSummary) text(out output) error {
	var rows [][]string
	for i := range s.Targets {
		t := &s.Targets[i]
		rows = append(rows, []string{out.ui.Verdict(t.verdict()), t.Folder, t.Name, ui.Count(t.Execs), ui.Rate(t.rate()), ui.Count(t.New), ui.Count(t.Corpus)})
	}
	fmt.Fprint(out, out.ui.Table(out.width, []ui.Column{
		{Title: ""},
		{Title: "folder"},
		{Title: "target"},
		{Title: "inputs", Right: true},
		{Title: "rate", Right: true},
		{Title: "new", Right: true},
		{Title: "corpus", Right: true},
	}, rows))
	for i := range s.Targets {
		if t := &s.Targets[i]; t.Failed {
			fmt.Fprintf(out, "\n%s %s\n", t.verdict(), t.id())
			for _, file := range t.Crashers {
				fmt.Fprintf(out, "  input  %s\n", file)
			}
			fmt.Fprintf(out, "  again  %s\n\n%s", t.Again, indent(strings.TrimSpace(t.Output), "  "))
		}
	}
	_, err := fmt.Fprintf(out, "\n%s\n", s.headline())
	return err
}

// indent puts the prefix before each line of a foreign text.
func indent(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(prefix + ui.Printable(strings.TrimRight(strings.ReplaceAll(line, "\t", "    "), "\n")) + "\n")
	}
	return b.String()
}

func (s *selfSummary) markdown(out output) error {
	var rows [][]string
	for i := range s.Targets {
		t := &s.Targets[i]
		rows = append(rows, []string{t.verdict(), markdown.MarkdownCode(t.id()), ui.Count(t.Execs), ui.Rate(t.rate()), ui.Count(t.New), ui.Count(t.Corpus)})
	}
	fmt.Fprintf(out, "## mqlab fuzz self: %s\n\n%s", markdown.MarkdownText(s.headline()),
		markdown.MarkdownTable([]string{"", "target", "inputs", "rate", "new", "corpus"}, []bool{2: true, 3: true, 4: true, 5: true}, rows))
	for i := range s.Targets {
		if t := &s.Targets[i]; t.Failed {
			fmt.Fprintf(out, "\n%s: %s\n\n%s", markdown.MarkdownCode(t.id()), markdown.MarkdownCode(t.Again), markdown.MarkdownBlock(t.Output))
		}
	}
	return nil
}
