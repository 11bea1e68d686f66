package scenarios

import (
	"encoding/json"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testVars are variables of the message 7 of the third of ten clients.
func testVars() *Vars {
	return &Vars{
		Run: "r1", Group: "g", Index: 2, Client: 12, Count: 10, Seq: 7, Topic: 3,
		Time: time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC), Proof: []byte{0xca, 0xfe},
		Counts: map[string]int{"g": 10, "two": 2}, Rand: rand.New(rand.NewPCG(1, 2)),
	}
}

func TestTemplateText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"{run}-{group}-{index}", "r1-g-2"},
		{"{index:05}/{client:3}/{count}/{seq}/{topic}", "00002/012/10/7/3"},
		{"{client:%5:02}|{client:/5}|{index:+1:*10:%7}", "02|2|2"},
		{"{peer:two} {peer:two:+1:03} {each:two} {peer:nobody}", "0 001 1 0"},
		{"{timestamp} {unix} {unix_ms} {unix_ns}", "2026-01-02T03:04:05.678Z 1767323045 1767323045678 1767323045678000000"},
		{"{proof}", "cafe"},
		{`{"a": {"i": {index}}, "b": [{}, {"count": 1}]}`, `{"a": {"i": 2}, "b": [{}, {"count": 1}]}`},
		{`{"a":{"b":{"c":{seq}}}}`, `{"a":{"b":{"c":7}}}`},
		{"{{index}} {{int:1:2}} {{{index}}}", "{index} {int:1:2} {{index}}"},
		{"{{nothing}} {{ }} }{", "{{nothing}} {{ }} }{"},
		{"{{index} is doubled on one side", "{2 is doubled on one side"},
		{"{Index} {unknown} {index", "{Index} {unknown} {index"},
		{"{int:5:5}{choice:x}{float:1:1:0}", "5x1"},
	} {
		t.Run(c.in, func(t *testing.T) {
			tmpl, err := ParseTemplate(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if got := tmpl.Expand(testVars()); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if text, constant := tmpl.Constant(); constant != (tmpl.Varies() == 0) || constant && text != c.want {
				t.Errorf("Constant is %q, %v for a template that varies by %s", text, constant, tmpl.Varies())
			}
			if tmpl.String() != c.in {
				t.Errorf("String is %q", tmpl)
			}
		})
	}
}

func TestTemplateRandom(t *testing.T) {
	for _, c := range []struct{ in, form string }{
		{"{random:12}", `^[0-9A-Za-z]{12}$`},
		{"{int:-3:12}", `^(-[123]|[0-9]|1[012])$`},
		{"{int:-9223372036854775808:9223372036854775807}", `^-?[0-9]{1,19}$`},
		{"{float:18:24:1}", `^(1[89]|2[0-4])\.[0-9]$`},
		{"{float:0:1}", `^[01]\.[0-9]{2}$`},
		{"{gauss:1000:1:3}", `^(99[0-9]|100[0-9])\.[0-9]{3}$`},
		{"{walk:20:25:2}", `^2[0-5]\.[0-9]{2}$`},
		{"{choice:on|off|}", `^(on|off|)$`},
		{"{uuid}", `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`},
	} {
		t.Run(c.in, func(t *testing.T) {
			tmpl, err := ParseTemplate(c.in)
			if err != nil {
				t.Fatal(err)
			}
			form := regexp.MustCompile(c.form)
			one, other := testVars(), testVars()
			seen := map[string]bool{}
			for range 200 {
				text := tmpl.Expand(one)
				if !form.MatchString(text) {
					t.Fatalf("%q does not look like %s", text, form)
				}
				if again := tmpl.Expand(other); again != text {
					t.Fatalf("the same seed gives %q and %q", text, again)
				}
				seen[text] = true
				one.Seq++
				other.Seq++
			}
			if len(seen) < 2 {
				t.Errorf("200 messages have the same text, %v", seen)
			}
			loose := testVars()
			loose.Rand = nil
			if text := tmpl.Expand(loose); !form.MatchString(text) {
				t.Errorf("without a seed: %q does not look like %s", text, form)
			}
		})
	}
}

// A drifting value moves in small steps, and clients go different ways.
func TestTemplateWalkDrifts(t *testing.T) {
	for seq := range uint64(1000) {
		if a, b := drift(5, seq), drift(5, seq+1); a < 0 || a > 1 || max(a-b, b-a) > 0.06 {
			t.Fatalf("it jumps from %v to %v at message %d", a, b, seq)
		}
	}
	if drift(5, 100) == drift(6, 100) {
		t.Error("two clients have the same value")
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a/{int:5}", "column 3: {int:5}: \"5\" are not two whole numbers"},
		{"é{int:9:1}", "column 2: {int:9:1}: "},
		{"{index:%0}", "column 1: {index:%0}: \"%0\" is not"},
		{"{index:05:%2}", "is neither a width"},
		{"{index:}", "has nothing behind the colon"},
		{"{index:5", "column 1: {index is not closed: the form is {index}"},
		{"{run:5}", "\"5\" is too much; the form is {run}, and {{run:5}} stands for the text itself"},
		{"{random}", "not a number of characters"},
		{"{random:99999999}", "not a number of characters"},
		{"{random:40000}{random:40000}", "column 15: the text has more than 65536 random characters"},
		{"{float:1}", "are not two numbers"},
		{"{float:2:1}", "2 is greater than 1"},
		{"{float:nan:1}", "are not two numbers"},
		{"{gauss:1:-1}", "is negative"},
		{"{float:1:2:99}", "not a number of digits"},
		{"{choice}", "nothing to choose from"},
		{"{peer}", "names no group"},
		{"{peer:g:x}", "neither a width"},
	} {
		_, err := ParseTemplate(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q in it", c.in, err, c.want)
		}
	}
}

func TestTemplateVaries(t *testing.T) {
	for in, want := range map[string]Varies{
		"{run}/{group}/{count}":         VariesRun | VariesGroup,
		"{index}{client}{peer:a}":       VariesClient,
		"{topic}":                       VariesTopic,
		"{each:a}":                      VariesTopic | VariesClient,
		"{seq}{timestamp}{unix}":        VariesMessage,
		"{uuid}{int:1:2}{random:3}":     VariesRandom,
		"{proof}":                       VariesProof,
		"{walk:1:2}":                    VariesMessage | VariesClient,
		"{{index}} and no more than so": 0,
	} {
		tmpl, err := ParseTemplate(in)
		if err != nil {
			t.Fatal(err)
		}
		if tmpl.Varies() != want {
			t.Errorf("%s varies by %s, want %s", in, tmpl.Varies(), want)
		}
	}
	tmpl, err := ParseTemplate("{each:a}/{peer:b}/{indx}")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, tmpl.Groups()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"column 19: {indx} is no placeholder, did you mean {index}?"}, tmpl.Suspects()); diff != "" {
		t.Error(diff)
	}
}

// Every placeholder is described, and its form is one that is read.
func TestPlaceholdersAreDescribed(t *testing.T) {
	forms := strings.NewReplacer("GROUP", "g", ":N}", ":5}", "MIN", "1", "MAX", "2", "MEAN", "1", "DEV", "2", "DIGITS", "3")
	for _, p := range Placeholders() {
		tmpl, err := ParseTemplate(forms.Replace(p.Form))
		if err != nil {
			t.Errorf("%s: %v", p.Form, err)
			continue
		}
		if tmpl.Varies() != p.Varies || p.Varies == 0 || p.Doc == "" {
			t.Errorf("%s varies by %s, and is said to vary by %s: %q", p.Form, tmpl.Varies(), p.Varies, p.Doc)
		}
	}
}

func TestTemplateDoesNotAllocate(t *testing.T) {
	var all strings.Builder
	for _, p := range Placeholders() {
		all.WriteString(strings.NewReplacer("GROUP", "two", ":N}", ":15}", "MIN", "1", "MAX", "2", "MEAN", "1", "DEV", "2", "DIGITS", "3").Replace(p.Form))
	}
	tmpl, err := ParseTemplate(all.String())
	if err != nil {
		t.Fatal(err)
	}
	v := testVars()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = tmpl.Append(buf[:0], v) }); n != 0 {
		t.Errorf("%v allocations for one text", n)
	}
}

// A template never fails after it was read, the same seed gives the same text, text without braces is itself, and a JSON
// document that holds no placeholder is itself.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{
		"{index:05}/{run}", `{"t": {float:18:24:1}, "s": "{seq}"}`, "{{index}}", "{int:-5:5}{choice:a|b}", "{peer:two:%3}{walk:1:2}",
		"{each:two}{gauss:1:2:3}{uuid}{proof}", "{index:", "{{{{index}}}}", `{"a":{"b":{}}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := ParseTemplate(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "column ") {
				t.Errorf("the error names no column: %v", err)
			}
			return
		}
		if a, b := tmpl.Expand(testVars()), tmpl.Expand(testVars()); a != b {
			t.Errorf("%q and %q", a, b)
		}
		text, constant := tmpl.Constant()
		if constant != (tmpl.Varies() == 0) {
			t.Errorf("constant %v, varies by %s", constant, tmpl.Varies())
		}
		if !strings.Contains(s, "{") && text != s {
			t.Errorf("%q becomes %q", s, text)
		}
		// In JSON no key is without quotes, so no brace of its own is doubled or has a name behind it.
		if json.Valid([]byte(s)) && !strings.Contains(s, `"`) && text != s {
			t.Errorf("JSON %q becomes %q", s, text)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	tmpl, err := ParseTemplate(`{"device": "{group}-{index:05}", "seq": {seq}, "t": {float:18:24:1}, "at": "{timestamp}"}`)
	if err != nil {
		b.Fatal(err)
	}
	v, buf := testVars(), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = tmpl.Append(buf[:0], v)
	}
}
