package fuzz

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
)

// said returns what the scripts send, in words.
func said(all []*Script) []string {
	var out []string
	for _, s := range all {
		words := []string{s.Version.String()}
		for _, st := range s.Steps {
			if words = append(words, st.Op.String()); len(st.Bytes) > 0 {
				words[len(words)-1] = Words(st.Bytes, s.Version)
			}
		}
		out = append(out, strings.Join(words, "; "))
	}
	return out
}

func TestImport(t *testing.T) {
	const (
		hello  = `CONNECT version=3.1.1 client="a" keep-alive=60s clean-session; settle`
		given5 = "CONNECT version=5.0 client=\"imported\" keep-alive=60s clean-start; settle"
	)
	for _, tt := range []struct {
		file, kind string
		want       []string
		fails      string
	}{
		{file: "session.raw", kind: ImportRaw, want: []string{"3.1.1; open; " + hello + `; SUBSCRIBE id=1 "t" qos=1; settle; PUBACK id=7; part of PUBLISH`}},
		{file: "session.replay", kind: ImportMessages, want: []string{"3.1.1; open; " + hello + `; SUBSCRIBE id=1 "t" qos=1, PINGREQ; PINGREQ`}},
		{file: "crash.fume", kind: ImportHex, want: []string{
			`5.0; open; CONNECT version=5.0 client="a" keep-alive=60s clean-start, PINGREQ; settle; DISCONNECT reason=0x00 Normal disconnection`,
			"3.1.1; open; " + hello + `; SUBSCRIBE id=1 "t" qos=1`,
		}},
		{file: "packets.hex", kind: ImportHex, want: []string{"5.0; open; " + given5 + `; SUBSCRIBE id=1 "#" qos=0; SUBSCRIBE id=1 "#" qos=1 props{Subscription Identifier=5}`}},
		{file: "3fe1", kind: ImportGo, want: []string{
			"3.1.1; open; " + hello + `; PINGREQ`,
			"5.0; open; " + given5 + `; PUBLISH topic="a" qos=0 payload=1 byte "b"`,
		}},
		{file: "script.txt", kind: ImportScript, want: []string{"5.0; open; PINGREQ"}},
		{file: "empty", fails: "it is empty"},
		{file: "prose.txt", fails: "it is text of no known kind"},
		{file: "noise", fails: "it is of no known kind, and as raw bytes it does not begin with a whole packet"},
		{file: "cut.corpus", kind: ImportGo, fails: "line 2 is no value of a fuzz target"},
		{file: "numbers.corpus", kind: ImportGo, fails: "none of its values holds a whole packet"},
		{file: "bad-script.txt", kind: ImportScript, fails: `line 2: "sends" is no operation`},
	} {
		t.Run(tt.file, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join("testdata", "import", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			kind, scripts, err := Import(b)
			if tt.fails != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tt.fails) || len(scripts) > 0 {
					t.Errorf("%v, want %q", err, tt.fails)
				}
				return
			}
			if err != nil || kind != tt.kind {
				t.Fatalf("%s, %v, want %s", kind, err, tt.kind)
			}
			if diff := cmp.Diff(tt.want, said(scripts)); diff != "" {
				t.Error(diff)
			}
			for _, s := range scripts { // it can be kept
				again, err := ReadScript(strings.NewReader(s.Text()))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(said([]*Script{s}), said([]*Script{again})); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// A long conversation becomes several scripts, each with the CONNECT that it depends on.
func TestImportLong(t *testing.T) {
	messages := [][]byte{{0x10, 0x0d, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'a'}}
	for range 2*importPackets + 1 {
		messages = append(messages, []byte{0xC0, 0})
	}
	all := FromClient(messages, 0)
	if len(all) != 3 || all[2].Version != codec.V4 || all[0].Packets() != importPackets+1 || all[2].Packets() != 2 {
		t.Errorf("%q", said(all))
	}
	for range importPackets * importScripts {
		messages = append(messages, []byte{0xC0, 0})
	}
	if n := len(FromClient(messages, 0)); n != importScripts {
		t.Errorf("%d scripts, want %d", n, importScripts)
	}
}

// What cannot be used in the folder of a corpus is named and left out, and what was imported is executed.
func TestCorpusFolder(t *testing.T) {
	dir := t.TempDir()
	all := FromClient([][]byte{{0xC0, 0}}, codec.V4)
	if n, err := AddToCorpus(dir, append(all, all...)); err != nil || n != 1 {
		t.Fatalf("%d added, %v", n, err)
	}
	for name, text := range map[string]string{"bad.txt": "mqlab fuzz script\nc9 open\n", "a.pcap": "\xd4\xc3\xb2\xa1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := newCorpus()
	notes, err := c.load(dir)
	if err != nil || len(c.seeds) != 1 || len(notes) != 2 {
		t.Fatalf("%d scripts, %q, %v", len(c.seeds), notes, err)
	}
	if !strings.Contains(notes[0], "bad.txt is left out of the corpus: line 2: ") || !strings.Contains(notes[1], "1 file in ") {
		t.Errorf("%q", notes)
	}
}

func FuzzImport(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "import", "*"))
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, scripts, err := Import(b)
		if (err == nil) != (len(scripts) > 0) {
			t.Fatalf("%d scripts, and %v", len(scripts), err)
		}
		for _, s := range scripts {
			s.leaves()
			if kind == ImportScript {
				continue // a script of ours may hold anything
			}
			if len(s.Steps) < 2 || s.Steps[0].Op != Open || len(s.Steps[1].Bytes) == 0 || s.Steps[1].Bytes[0]>>4 != byte(codec.TypeConnect) {
				t.Fatalf("%s: it does not begin with a CONNECT: %q", kind, said(scripts))
			}
		}
	})
}
