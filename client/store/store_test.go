package store

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type pair struct{ Key, Value string }

func changes(ps ...pair) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, p := range ps {
			v := []byte(p.Value)
			if p.Value == "delete" {
				v = nil
			}
			k := []byte(p.Key)
			if !yield(k, v) {
				return
			}
		}
	}
}

type both interface {
	Load(yield func(key, value []byte) error) error
	Commit(changes iter.Seq2[[]byte, []byte]) error
}

func load(t *testing.T, s both) []pair {
	t.Helper()
	var got []pair
	if err := s.Load(func(k, v []byte) error {
		got = append(got, pair{string(k), string(v)})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestStores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]both{"memory": Memory(), "file": f} {
		if got := load(t, s); got != nil {
			t.Errorf("%s: a new store holds %v", name, got)
		}
		for _, c := range [][]pair{
			{{"b", "1"}, {"a", ""}, {"c", "3"}},
			{{"b", "2"}, {"c", "delete"}, {"nothing", "delete"}, {"d", "4"}, {"d", "5"}},
		} {
			if err := s.Commit(changes(c...)); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff([]pair{{"a", ""}, {"b", "2"}, {"d", "5"}}, load(t, s)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		stop := fmt.Errorf("stop")
		n := 0
		if err := s.Load(func(_, _ []byte) error { n++; return stop }); err != stop || n != 1 { //nolint:errorlint // passed on as it is
			t.Errorf("%s: Load goes on after an error: %d, %v", name, n, err)
		}
	}
	want := load(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(changes(pair{"x", "y"})); err == nil {
		t.Error("a closed store commits")
	}
	f, err = Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if diff := cmp.Diff(want, load(t, f)); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := filepath.Join(dir, "foreign")
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	held, err := Open(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, tt := range []struct{ path, want string }{
		{write("text", strings.Repeat("dear diary ", 1000)), "it is damaged or no session store"},
		{write("short", "x"), "it is damaged or no session store"},
		{foreign, "it belongs to another program"},
		{held.path, "another process uses it"},
		{dir, "it is no file"},
		{filepath.Join(dir, "none", "x"), "no such file"},
	} {
		before, _ := os.ReadFile(tt.path)
		f, err := open(tt.path, 50*time.Millisecond)
		if err == nil {
			_ = f.Close()
			t.Errorf("%s: opened", tt.path)
			continue
		}
		if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.want)
		}
		if after, _ := os.ReadFile(tt.path); !bytes.Equal(before, after) {
			t.Errorf("%s: the file was changed", tt.path)
		}
	}
	f, err := Open(write("empty", ""))
	if err != nil {
		t.Fatalf("an empty file is no new store: %v", err)
	}
	_ = f.Close()
}

// Whatever happened to a file, opening it ends with a store or an error.
func TestDamagedFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var ps []pair
		for j := range 40 {
			ps = append(ps, pair{fmt.Sprintf("m%04d", i*40+j), strings.Repeat("x", 200)})
		}
		if err := f.Commit(changes(ps...)); err != nil {
			t.Fatal(err)
		}
	}
	whole := load(t, f)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	refused, opened := 0, 0
	for i := range 300 {
		path := fmt.Sprint(path, i)
		b := bytes.Clone(image)
		switch i % 3 {
		case 0:
			b = b[:r.IntN(len(b))]
		case 1: // a page of nothing
			at := i / 3 % (len(b) / 4096) * 4096
			clear(b[at : at+4096])
		default: // in the head of a page, where the damage is worst
			at := r.IntN(len(b)/4096)*4096 + r.IntN(64)
			b[at] ^= byte(1 + r.IntN(255))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			refused++
			continue
		}
		opened++
		got := map[string]bool{}
		_ = f.Load(func(k, _ []byte) error { got[string(k)] = true; return nil })
		_ = f.Commit(changes(pair{"n", "1"}))
		_ = f.Close()
		if i%3 == 0 && len(got) < len(whole) && len(b) > 0 {
			t.Errorf("cut to %d bytes: opened with %d of %d records", len(b), len(got), len(whole))
		}
	}
	if refused == 0 {
		t.Error("no damage was found")
	}
	t.Logf("%d refused, %d opened", refused, opened)
}
