package scenarios

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What the loader takes can be written and read again, and comes out the same.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"testdata/good", "testdata/bad", "library"} {
		files, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		once, err := s.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%v in\n%s", err, once)
		}
		twice, err := again.Marshal()
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v: written twice it reads\n%s\nafter\n%s", err, twice, once)
		}
		switch x := s.(type) {
		case *Exchange:
			for i := range x.Steps {
				if x.Steps[i].String() == "" {
					t.Errorf("step %d has no words", i)
				}
			}
		case *Workload:
			if err := x.Resolved().Validate(); err != nil {
				t.Errorf("with its defaults it is not valid: %v in\n%s", err, once)
			}
		}
	})
}
