package ui

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestColorOnlyWhereWanted(t *testing.T) {
	for _, tt := range []struct {
		name string
		tty  bool
		env  func(string) string
		want bool
	}{
		{"terminal", true, env("TERM", "xterm-256color"), true},
		{"pipe", false, env("TERM", "xterm-256color"), false},
		{"NO_COLOR", true, env("TERM", "xterm", "NO_COLOR", "1"), false},
		{"empty NO_COLOR is no wish", true, env("TERM", "xterm", "NO_COLOR", ""), true},
		{"dumb", true, env("TERM", "dumb"), false},
		{"no TERM", true, env(), false},
		{"no environment", true, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := New(&bytes.Buffer{}, tt.tty, tt.env)
			all := u.Heading("h") + u.Strong("s") + u.Dim("d") + u.Code("c") + u.Bar(4, 1, 2) + u.Verdict(Fail) +
				u.Table(20, []Column{{Title: "T"}}, nil)
			if u.Color() != tt.want || strings.Contains(all, "\x1b") != tt.want {
				t.Errorf("colour %v in %q, want %v", u.Color(), all, tt.want)
			}
		})
	}
}

func TestVerdictsAreWords(t *testing.T) {
	colored := New(&bytes.Buffer{}, true, env("TERM", "xterm"))
	seen := map[string]string{}
	for _, word := range []string{Pass, Fail, Warn, NotApplies, Inconclusive, Died, Error} {
		if got := Plain().Verdict(word); got != word {
			t.Errorf("plain %s reads %q", word, got)
		}
		got := colored.Verdict(word)
		if !strings.Contains(got, word) || got == word || Width(got) != len(word) {
			t.Errorf("coloured %s reads %q", word, got)
		}
		style := strings.ReplaceAll(got, word, "")
		if other, ok := seen[style]; ok {
			t.Errorf("%s and %s look alike", word, other)
		}
		seen[style] = word
	}
	if got := colored.Verdict("MAYBE"); got != "MAYBE" {
		t.Errorf("an unknown word reads %q", got)
	}
}

func TestStylesKeepLines(t *testing.T) {
	colored := New(&bytes.Buffer{}, true, env("TERM", "xterm"))
	lines := strings.Split(colored.Dim("a\n\nlonger"), "\n")
	if len(lines) != 3 || Width(lines[0]) != 1 || lines[1] != "" || Width(lines[2]) != 6 {
		t.Errorf("lines were padded or lost: %q", lines)
	}
}

// golden holds what a page of results looks like at the widths of a narrow, a usual and a wide terminal.
func TestGolden(t *testing.T) {
	columns := []Column{{Title: "RULE"}, {Title: "VERDICT"}, {Title: "TIME", Right: true}, {Title: "CHECK", Flex: true, Min: 12}, {Title: "FOUND", Flex: true}}
	rows := func(u *UI) [][]string {
		return [][]string{
			{"MQTT-3.3.1-4", u.Verdict(Pass), "1.20 ms", "publish/qos3-refused", "the connection was closed"},
			{"MQTT-1.5.3-1", u.Verdict(Fail), "12.0 ms", "strings/surrogates", "PINGRESP after a PUBLISH to 温度/部屋/センサー with both halves of a surrogate pair"},
			{"MQTT-4.7.2-1", u.Verdict(Inconclusive), "5.00 s", "topics/dollar", "a line\nbreak"},
			{"MQTT-6.0.0-1", u.Verdict(NotApplies), "-"},
		}
	}
	for _, width := range []int{60, 80, 120} {
		for _, u := range []*UI{Plain(), New(&bytes.Buffer{}, true, env("TERM", "xterm"))} {
			var b strings.Builder
			fmt.Fprintln(&b, u.Heading("Results"))
			b.WriteString(u.Table(width, columns, rows(u)))
			fmt.Fprintln(&b)
			fmt.Fprintln(&b, u.Progress(width, "conformance", 23, 46, "23 of 46 checks, 1 failed"))
			fmt.Fprintln(&b, u.Progress(width, "load", 0, 0, "12.3k/s sent, p99 1.20 ms"))
			fmt.Fprintln(&b, u.Progress(width, "a label that leaves no room for a bar on a narrow line", 46, 46, "done"))
			fmt.Fprintln(&b, Sparkline(width, ramp(200)))
			fmt.Fprintln(&b, Wrap("Strings on the wire have to be valid UTF-8; 温度 and ä are, a lone surrogate is not. "+strings.Repeat("x", 130), width, 4))
			for line := range strings.Lines(b.String()) {
				if w := Width(strings.TrimSuffix(line, "\n")); w > width {
					t.Errorf("width %d: a line takes %d cells: %q", width, w, line)
				}
			}
			name := fmt.Sprintf("page_%d.golden", width)
			if u.Color() {
				name = fmt.Sprintf("page_%d_color.golden", width)
			}
			golden(t, name, b.String())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: %s", path, diff)
	}
}

func ramp(n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = float64(i)
	}
	return v
}

func TestTable(t *testing.T) {
	u := Plain()
	for _, tt := range []struct {
		name    string
		width   int
		columns []Column
		rows    [][]string
		want    string
	}{
		{"no columns", 80, nil, [][]string{{"a"}}, ""},
		{"no rows", 80, []Column{{Title: "A"}, {Title: "B"}}, nil, "A  B\n"},
		{"no titles, no header", 80, []Column{{}, {}}, [][]string{{"a", "b"}, {"cc", "d"}}, "a   b\ncc  d\n"},
		{"wide characters", 80, []Column{{}, {}}, [][]string{{"温度", "b"}, {"c", "d"}}, "温度  b\nc     d\n"},
		{"no limit", 0, []Column{{Title: "A", Flex: true}}, [][]string{{strings.Repeat("x", 300)}}, "A\n" + strings.Repeat("x", 300) + "\n"},
		{"flex gives way", 12, []Column{{Flex: true, Min: 4}, {}}, [][]string{{"abcdefghijkl", "end"}}, "abcdef…  end\n"},
		{"last flex first", 16, []Column{{Flex: true, Min: 2}, {Flex: true, Min: 2}}, [][]string{{"abcdefgh", "ijklmnop"}}, "abcdefgh  ijklm…\n"},
		{"nothing can give", 5, []Column{{}, {Right: true}}, [][]string{{"abcdef", "1"}}, "abcd…\n"},
		{"short and long rows", 80, []Column{{}, {}}, [][]string{{"a"}, {"b", "c", "d"}}, "a\nb  c\n"},
		{"right", 80, []Column{{Title: "N", Right: true}}, [][]string{{"1"}, {"100"}}, "  N\n  1\n100\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, u.Table(tt.width, tt.columns, tt.rows)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestText(t *testing.T) {
	for _, tt := range []struct{ name, got, want string }{
		{"shorten", Truncate("abcdef", 4), "abc…"},
		{"fits", Truncate("abcd", 4), "abcd"},
		{"no limit", Truncate("abcd", 0), "abcd"},
		{"half a wide character", Truncate("温温温", 4), "温…"},
		{"pad", Pad("温", 4), "温  "},
		{"pad left", PadLeft("7", 3), "  7"},
		{"wrap", Wrap("one two three", 8, 1), " one two\n three"},
		{"wrap keeps breaks", Wrap("a\n\nb", 8, 2), "  a\n\n  b"},
		{"wrap spares ids", Wrap("see MQTT-3.3.1-4 and", 14, 0), "see\nMQTT-3.3.1-4\nand"},
		{"wrap cuts long words", Wrap("a bcdefgh i", 4, 1), " a\n bcd\n efg\n h i"},
		{"wrap keeps inner spaces", Wrap("a  b", 9, 0), "a  b"},
		{"wrap wide characters", Wrap("温温温", 4, 0), "温温\n温"},
		{"wrap where nothing fits", Wrap("温 ab", 1, 3), "   温\n   ab"},
		{"wrap without limit", Wrap("a b c", 0, 0), "a b c"},
		{"printable", Printable("温度/a b"), "温度/a b"},
		{"escape sequence", Printable("\x1b[2Ja"), `\x1b[2Ja`},
		{"line break", Printable("a\r\n\tb"), `a\r\n\tb`},
		{"no UTF-8", Printable("a\xc3("), `a\xc3(`},
		{"genuine replacement character", Printable("a\uFFFDb"), "a\uFFFDb"},
		{"direction", Printable("a\u202eb"), `a\u202eb`},
		{"C1 control", Printable("a\u009bb"), `a\u009bb`},
		{"plane 14 tag", Printable("\U000E0041"), `\U000e0041`},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

func TestSparkline(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		name   string
		width  int
		values []float64
		want   string
	}{
		{"nothing", 10, nil, ""},
		{"all eight", 0, []float64{0, 1, 2, 3, 4, 5, 6, 7}, "▁▂▃▄▅▆▇█"},
		{"flat zero", 0, []float64{0, 0}, "▁▁"},
		{"gap", 0, []float64{1, nan, 1}, "█ █"},
		{"infinite", 0, []float64{inf, 1, -1}, "██▁"},
		{"a peak survives", 2, []float64{0, 9, 0, 0, 0, 0}, "█▁"},
		{"fewer values than cells", 9, []float64{1, 2}, "▅█"},
	} {
		if got := Sparkline(tt.width, tt.values); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestBarIsFullOnlyAtTheEnd(t *testing.T) {
	u := Plain()
	for _, tt := range []struct {
		done, total int64
		want        string
	}{
		{0, 10, "░░░░"},
		{5, 10, "██░░"},
		{999, 1000, "███░"},
		{10, 10, "████"},
		{11, 10, "████"},
		{-1, 10, "░░░░"},
		{1, 0, "░░░░"},
		{math.MaxInt64, math.MaxInt64, "████"},
	} {
		if got := u.Bar(4, tt.done, tt.total); got != tt.want {
			t.Errorf("%d of %d: %q, want %q", tt.done, tt.total, got, tt.want)
		}
	}
	if got := u.Progress(80, "x", 999, 1000, ""); !strings.Contains(got, " 99%") {
		t.Errorf("999 of 1000 reads %q", got)
	}
}

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Bytes(0), "0 B"},
		{Bytes(1023), "1023 B"},
		{Bytes(1024), "1.00 KiB"},
		{Bytes(1536), "1.50 KiB"},
		{Bytes(1024*1024 - 1), "1.00 MiB"},
		{Bytes(268435455), "256 MiB"},
		{Bytes(-2048), "-2.00 KiB"},
		{Bytes(math.MaxInt64), "8.00 EiB"},
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1000), "1,000"},
		{Count(-1234567), "-1,234,567"},
		{Count(math.MinInt64), "-9,223,372,036,854,775,808"},
		{Rate(950), "950/s"},
		{Rate(0.5), "0.50/s"},
		{Rate(999.6), "1.00k/s"},
		{Rate(12345), "12.3k/s"},
		{Rate(1.2e6), "1.20M/s"},
		{Rate(math.NaN()), "-"},
		{Duration(0), "0 ns"},
		{Duration(850), "850 ns"},
		{Duration(1230 * time.Nanosecond), "1.23 µs"},
		{Duration(999600 * time.Nanosecond), "1.00 ms"},
		{Duration(12345 * time.Microsecond), "12.3 ms"},
		{Duration(1500 * time.Millisecond), "1.50 s"},
		{Duration(59960 * time.Millisecond), "1m00s"},
		{Duration(125 * time.Second), "2m05s"},
		{Duration(3599900 * time.Millisecond), "1h00m"},
		{Duration(62 * time.Minute), "1h02m"},
		{Duration(-time.Second), "-1.00 s"},
		{Duration(math.MinInt64), "-2562047h47m"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestLine(t *testing.T) {
	var b bytes.Buffer
	l := NewLine(&b, true)
	l.Set("one")
	l.Set("one")
	l.Set("two\nlines")
	l.Clear()
	l.Clear()
	if want := "\r\x1b[Kone\r\x1b[Ktwo lines\r\x1b[K"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	b.Reset()
	none := NewLine(&b, false)
	none.Set("x")
	none.Clear()
	if b.Len() != 0 {
		t.Errorf("a log got %q", b.String())
	}
}

func TestLineIsSafe(t *testing.T) {
	var b bytes.Buffer
	l := NewLine(&b, true)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 50 {
				l.Set(fmt.Sprint(i, j))
			}
			l.Clear()
		})
	}
	wg.Wait()
	if b.Len() == 0 {
		t.Error("nothing was written")
	}
}
