// Package archtest holds the project to its layout: which folders there are, who may import whom, and that no file
// points to a place outside of the project. It has tests only.
package archtest

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mqlab/mqlab"

// units are the parts of the program with their layers. A unit is its folder and what lies below it, unless that
// is a unit of its own; inside a unit imports are free. Between units they point to a lower layer only.
var units = map[string]int{
	"codec": 0,

	"internal/packetgen": 1,
	"internal/process":   1,
	"internal/session":   1,
	"internal/topic":     1,
	"internal/transport": 1,

	"broker":          2,
	"client":          2,
	"internal/peer":   2,
	"internal/ledger": 2,
	"internal/pcapng": 2,

	"scenarios":         3,
	"conformance/rules": 3,
	"conformance/judge": 3,
	"internal/report":   3,
	"internal/ui":       3,

	"conformance": 4,
	"loadgen":     4,
	"fuzz":        4,
	"pcap":        4,

	"cmd": 5,

	// Programs and tests that nothing imports.
	"internal/gen":      5,
	"internal/archtest": 5,
}

// sideways lists the imports between units of one layer that are wanted all the same.
var sideways = map[[2]string]string{
	{"conformance/judge", "conformance/rules"}: "a verdict names a rule of the registry",
}

// standardOnly are units that import nothing but the standard library.
var standardOnly = []string{"codec", "conformance/rules"}

// noIO are units that are told what happened and say what to do: they reach neither network nor files.
var noIO = []string{"codec", "internal/session", "internal/topic", "conformance/judge"}

var ioPackages = []string{"net", "os", "syscall", "crypto/tls", "golang.org/x/sys"}

// testLibraries serve tests. Outside of test files only packages that are helpers for tests, whose names end in
// "test" as brokertest does, and the packet generator may import them.
var testLibraries = []string{
	"testing", "github.com/google/go-cmp", "github.com/rogpeppe/go-internal", "go.uber.org/goleak", "pgregory.net/rapid",
}

// topLevel is all that may stand in the root, dot files apart.
var topLevel = []string{
	"broker", "client", "cmd", "codec", "conformance", "fuzz", "go.mod", "go.sum", "internal", "loadgen", "pcap", "README.md", "scenarios",
}

// internals is all that may stand in internal/. The units of the program, and what serves its making.
var internals = []string{
	"archtest", "gen", "ledger", "packetgen", "pcapng", "peer", "peers", "process", "report", "session", "tools", "topic", "transport", "ui",
}

// unitOf returns the unit that a package of the module belongs to, or "".
func unitOf(dir string) string {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := units[d]; ok {
			return d
		}
	}
	return ""
}

func under(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// faultOf says what is wrong with the package in dir importing imp, or "".
func faultOf(dir, imp string) string {
	from := unitOf(dir)
	if from == "" {
		return "the folder has no place in the layers"
	}
	own := under(imp, module) && unitOf(strings.TrimPrefix(imp, module+"/")) == from
	standard := !strings.Contains(strings.Split(imp, "/")[0], ".")
	if slices.Contains(standardOnly, from) && !standard && !own {
		return "it may import the standard library alone"
	}
	if slices.Contains(noIO, from) && slices.ContainsFunc(ioPackages, func(p string) bool { return under(imp, p) }) {
		return "it does no I/O"
	}
	if !strings.HasSuffix(dir, "test") && dir != "internal/packetgen" && slices.ContainsFunc(testLibraries, func(p string) bool { return under(imp, p) }) {
		return "only tests need it"
	}
	if under(imp, "github.com/urfave/cli") && from != "cmd" {
		return "only commands read command lines"
	}
	if !under(imp, module) {
		return ""
	}
	to := unitOf(strings.TrimPrefix(strings.TrimPrefix(imp, module), "/"))
	switch {
	case to == "":
		return "the imported folder has no place in the layers"
	case from == to:
		return ""
	case to == "cmd":
		return "nothing imports a command"
	case units[to] < units[from]:
		return ""
	case sideways[[2]string{from, to}] != "":
		return ""
	case units[to] == units[from]:
		return "units of one layer do not import one another"
	default:
		return "imports point down"
	}
}

func TestImports(t *testing.T) {
	root := moduleRoot(t)
	files := 0
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(file, "go.mod"))
			if file != root && (nested == nil || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		files++
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(rel))
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if fault := faultOf(dir, imp); fault != "" {
				t.Errorf("%s imports %s: %s", filepath.ToSlash(rel), imp, fault)
			}
		}
		if len(parsed.Imports) == 0 && unitOf(dir) == "" {
			t.Errorf("%s: the folder has no place in the layers", filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Errorf("only %d files were read", files)
	}
}

// The rules above must be able to fail.
func TestFaultsAreFound(t *testing.T) {
	for _, tt := range []struct {
		dir, imp string
		ok       bool
	}{
		{"codec", "encoding/binary", true},
		{"codec", "io", true},
		{"codec", "net", false},
		{"codec", "net/netip", false},
		{"codec", "golang.org/x/text/unicode/norm", false},
		{"codec", module + "/internal/topic", false},
		{"codec", module + "/codec/internal/table", true},
		{"conformance/rules", "embed", true},
		{"conformance/rules", module + "/codec", false},
		{"conformance/judge", module + "/codec", true},
		{"conformance/judge", module + "/conformance/rules", true},
		{"conformance/judge", module + "/conformance", false},
		{"conformance/judge", "os", false},
		{"internal/session", "net", false},
		{"internal/session", module + "/internal/topic", false},
		{"internal/session", module + "/broker", false},
		{"broker", module + "/internal/session", true},
		{"broker", module + "/internal/ui", false},
		{"broker", module + "/client", false},
		{"broker/brokertest", module + "/broker", true},
		{"broker/brokertest", "testing", true},
		{"client/store", "go.etcd.io/bbolt", true},
		{"client", "testing", false},
		{"scenarios", module + "/internal/peer", true},
		{"scenarios", module + "/internal/ui", false},
		{"conformance", module + "/conformance/rules", true},
		{"conformance", module + "/conformance/mutant", true},
		{"conformance/mutant", module + "/broker", true},
		{"conformance", module + "/pcap", false},
		{"pcap", module + "/conformance/judge", true},
		{"pcap", module + "/conformance/rules", true},
		{"pcap", module + "/conformance", false},
		{"pcap", module + "/conformance/mutant", false},
		{"loadgen", module + "/fuzz", false},
		{"fuzz", module + "/internal/report", true},
		{"fuzz", module + "/cmd/mqlab", false},
		{"cmd/mqlab", module + "/loadgen", true},
		{"cmd/mqlab", "github.com/urfave/cli/v2", true},
		{"loadgen", "github.com/urfave/cli/v2", false},
		{"loadgen", "github.com/google/go-cmp/cmp", false},
		{"loadgen", module + "/internal/util", false},
		{"util", "fmt", false},
	} {
		if fault := faultOf(tt.dir, tt.imp); (fault == "") != tt.ok {
			t.Errorf("%s importing %s: %q, want it allowed: %v", tt.dir, tt.imp, fault, tt.ok)
		}
	}
	// A listed exception must be one: otherwise it would hide nothing, or a mistake.
	for pair := range sideways {
		if units[pair[0]] != units[pair[1]] {
			t.Errorf("%v are not of one layer", pair)
		}
	}
	for _, bad := range []string{"see /wo" + "rk/main", "../sha" + "red/captures", "in sha" + "red/spec/x.tsv"} {
		if leak(bad) == "" {
			t.Errorf("%q was not noticed", bad)
		}
	}
	for _, good := range []string{"$share/group/t", "homework/x", "shared/topic", "framework/main"} {
		if found := leak(good); found != "" {
			t.Errorf("%q was taken for %q", good, found)
		}
	}
}

func TestLayout(t *testing.T) {
	root := moduleRoot(t)
	seen := map[string]bool{}
	for _, file := range tracked(t, root) {
		parts := strings.Split(file, "/")
		if !strings.HasPrefix(parts[0], ".") && !slices.Contains(topLevel, parts[0]) && !seen[parts[0]] {
			seen[parts[0]] = true
			t.Errorf("%s does not belong to the top level", parts[0])
		}
		if parts[0] == "internal" && len(parts) > 1 && !slices.Contains(internals, parts[1]) && !seen[parts[1]] {
			seen[parts[1]] = true
			t.Errorf("internal/%s has no place in the layout", parts[1])
		}
	}
}

// The project stands on its own: no file names a place on the machine where it was written. The
// script that runs everything may: it looks for optional material beside the checkout.
func TestNoForeignPlaces(t *testing.T) {
	root := moduleRoot(t)
	for _, file := range tracked(t, root) {
		if file == ".ci/run" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if os.IsNotExist(err) { // removed, and not committed yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 { // captures, images
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if found := leak(line); found != "" {
				t.Errorf("%s:%d names %q", file, i+1, found)
			}
		}
	}
}

// leak returns what in a line points outside of the project, or "". The words are put together here so that
// this file does not contain them.
func leak(line string) string {
	const beside = "sha" + "red/"
	words := []string{"/wo" + "rk/", "../" + beside}
	for _, folder := range []string{"captures", "brokers", "spec", "notes", "issues", "hooks", "DESIGN", "STYLE"} {
		words = append(words, beside+folder)
	}
	for _, w := range words {
		i := strings.Index(line, w)
		if i < 0 {
			continue
		}
		if w[0] == '/' && i > 0 && isWord(line[i-1]) { // a folder of that name inside another path
			continue
		}
		return w
	}
	return ""
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// tracked lists the files under version control, or every file where there is no git or no repository.
func tracked(t *testing.T, root string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "-C", root, "ls-files", "-z").Output()
	if err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var files []string
	err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// moduleRoot is the folder of the go.mod above this package.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil || !bytes.HasPrefix(b, []byte("module "+module+"\n")) {
		t.Fatalf("%s is not the root of the module: %v", dir, err)
	}
	return dir
}
