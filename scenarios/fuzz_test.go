package scenarios

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What the loader takes can be written and read again, and comes out the same.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, _ := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
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
		x := s.(*Exchange)
		for i := range x.Steps {
			if x.Steps[i].String() == "" {
				t.Errorf("step %d has no words", i)
			}
		}
		once, err := x.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%v in\n%s", err, once)
		}
		twice, err := again.(*Exchange).Marshal()
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%v: written twice it reads\n%s\nafter\n%s", err, twice, once)
		}
	})
}
