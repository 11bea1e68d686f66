package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const nasty = "a\x00b\x1b[31m\xff<&>]]>\u202e\ufffe|`*\n# SKIP"

func TestVisible(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		multi    bool
		want     string
	}{
		{"plain", "grün |", false, "grün |"},
		{"controls", "a\x00\x1b\x7f", false, `a\x00\x1b\x7f`},
		{"one line", "a\n\tb\r", false, `a\x0a\x09b\x0d`},
		{"several lines", "a\n\tb\r", true, "a\n\tb" + `\x0d`},
		{"direction", "a\u202eb", false, `a\u202eb`},
		{"no UTF-8", "a\xffb", false, `a\xffb`},
		{"a real replacement character", "a\ufffdb", false, "a\ufffdb"},
		{"not in XML", "a\ufffeb", false, `a\ufffeb`},
		{"outside of the basic plane", "a\U000e0001b", false, `a\U000e0001b`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Visible(tt.in, tt.multi); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestJUnit(t *testing.T) {
	doc := JUnit{
		Name: "run", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 1500 * time.Millisecond,
		Suites: []JUnitSuite{{Name: "s", Cases: []JUnitCase{
			{Class: "c", Name: "passed", Elapsed: time.Millisecond},
			{Class: "c", Name: "failed", Outcome: Failed, Kind: "k", Message: "m", Detail: "d", Output: "o"},
			{Class: "c", Name: "errored", Outcome: Errored, Message: "m"},
			{Class: "c", Name: "skipped", Outcome: Skipped, Message: "why"},
		}}},
	}
	var b bytes.Buffer
	if err := doc.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="run" tests="4" failures="1" errors="1" skipped="1" time="1.500" timestamp="2026-01-02T03:04:05">
  <testsuite name="s" tests="4" failures="1" errors="1" skipped="1" time="0.000" timestamp="2026-01-02T03:04:05">
    <testcase classname="c" name="passed" time="0.001"></testcase>
    <testcase classname="c" name="failed" time="0.000">
      <failure type="k" message="m"><![CDATA[d]]></failure>
      <system-out><![CDATA[o]]></system-out>
    </testcase>
    <testcase classname="c" name="errored" time="0.000">
      <error message="m"></error>
    </testcase>
    <testcase classname="c" name="skipped" time="0.000">
      <skipped message="why"></skipped>
    </testcase>
  </testsuite>
</testsuites>
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// Whatever a broker sends, the document can be parsed, and what it sent can be read.
func TestJUnitHoldsAnyText(t *testing.T) {
	doc := JUnit{Name: nasty, Suites: []JUnitSuite{{Name: nasty, Cases: []JUnitCase{{Class: nasty, Name: nasty, Outcome: Failed, Kind: nasty, Message: nasty, Detail: nasty, Output: nasty}}}}}
	var b bytes.Buffer
	if err := doc.Write(&b); err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	var text strings.Builder
	for {
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, b.String())
		}
		if c, ok := tok.(xml.CharData); ok {
			text.Write(c)
		}
	}
	const want = `a\x00b\x1b[31m\xff<&>]]>\u202e\ufffe|` + "`*\n# SKIP"
	if strings.Count(text.String(), want) != 2 {
		t.Errorf("the text does not come back: %q", text.String())
	}
}

func TestTAP(t *testing.T) {
	doc := TAP{
		Comments: []string{"a\nb"},
		Points: []TAPPoint{
			{OK: true, Name: "plain"},
			{OK: true, Name: "a # SKIP b", Skip: "why # not"},
			{Name: "known", Todo: "later", Diag: []Diag{{Key: "message", Value: "a\n\"b\""}, {Key: "lines", Lines: []string{"x: y", nasty}}}},
		},
		Bail: "stopped",
	}
	var b bytes.Buffer
	if err := doc.Write(&b); err != nil {
		t.Fatal(err)
	}
	want := `TAP version 14
1..3
# a\x0ab
ok 1 - plain
ok 2 - a \# SKIP b # SKIP why \# not
not ok 3 - known # TODO later
  ---
  message: "a\n\"b\""
  lines:
    - "x: y"
    - "a\\x00b\\x1b[31m\\xff<&>]]>\\u202e\\ufffe|` + "`" + `*\n# SKIP"
  ...
Bail out! stopped
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestMarkdown(t *testing.T) {
	for _, tt := range []struct{ name, got, want string }{
		{"text", MarkdownText("a|b <x> `c` *d* it's 3.1.1"), "a&#124;b &#60;x&#62; &#96;c&#96; &#42;d&#42; it's 3.1.1"},
		{"no link", MarkdownText("https://x @me"), "https&#58;//x &#64;me"},
		{"line breaks", MarkdownText("a\nb"), `a&#92;x0ab`},
		{"code", MarkdownCode("a|b`c<d>"), "<code>a&#124;b&#96;c&#60;d&#62;</code>"},
		{"block", MarkdownBlock("a\n```\nb\n"), "````text\na\n```\nb\n````\n"},
		{"table", MarkdownTable([]string{"a", "b"}, []bool{false, true}, [][]string{{"x", "1"}}), "| a | b |\n| --- | --: |\n| x | 1 |\n"},
		{"details", MarkdownDetails("s", "b\n\n"), "<details>\n<summary>s</summary>\n\nb\n\n</details>\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
