package report

import (
	"bytes"
	"html/template"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/report/reporttest"
)

const hostile = `</script><script>document.documentElement.dataset.pwned=1</script><img src=x onerror="document.documentElement.dataset.pwned=2"><!--`

func writePage(t *testing.T, p Page) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPageNeedsNothingElse(t *testing.T) {
	page := string(writePage(t, Page{Title: hostile, Body: "<p>hello</p>", Script: "mqlab.ready();", Data: map[string]string{"x": hostile}}))
	for _, bad := range []string{"http://", "https://", "@import", "url(", "stylesheet", "<iframe"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if n := strings.Count(page, "<script"); n != 3 {
		t.Errorf("the page has %d scripts, want the shell, the data and its own", n)
	}
	if strings.Contains(page, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
}

func TestPageRefusesScriptsThatEndEarly(t *testing.T) {
	if err := (Page{Script: `x = "</script>"`}).Write(&bytes.Buffer{}); err == nil {
		t.Error("a script that ends its own element was written")
	}
}

func TestPageInBrowser(t *testing.T) {
	b := reporttest.Chromium(t)
	page := writePage(t, Page{
		Title: hostile, Body: template.HTML("<main><p id=p>hello</p></main>"), Data: map[string]string{"x": hostile, "bytes": "AAECfw=="},
		Script: `document.getElementById("p").append(mqlab.el("b", { title: mqlab.data().x }, mqlab.data().x)); mqlab.ready();`,
	})
	got := b.Open(page, "?theme=dark", `
result.text = document.querySelector("#p b").textContent;
result.title = document.title;
result.pwned = document.documentElement.dataset.pwned || "no";
result.hex = mqlab.hex(mqlab.data().bytes, 3);
result.visible = mqlab.visible("a\u202eb\n\u0000");
result.quoted = mqlab.quote("it's") + " " + mqlab.quote("mqtt://h:1/a");
result.theme = document.documentElement.dataset.theme;
document.getElementById("theme").click();
result.next = document.documentElement.dataset.theme || "auto";
document.getElementById("theme").click();
result.last = document.documentElement.dataset.theme || "auto";
`)
	want := map[string]string{
		"text": hostile, "title": hostile, "pwned": "no", "hex": "00 01 02", "visible": `a\u202eb\x0a\x00`, "quoted": `'it'\''s' mqtt://h:1/a`,
		"theme": "dark", "next": "auto", "last": "light",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Where an escape was forgotten, the policy still keeps foreign scripts from running.
func TestPolicyStopsForeignScripts(t *testing.T) {
	b := reporttest.Chromium(t)
	page := writePage(t, Page{
		Title: "t", Body: template.HTML("<main>" + strings.TrimSuffix(strings.TrimPrefix(hostile, "</script>"), "<!--") + "</main>"),
		Script: "mqlab.ready();",
	})
	got := b.Open(page, "", `
await new Promise((done) => setTimeout(done, 100)); // time is virtual here: the browser has reported every refusal
result.pwned = document.documentElement.dataset.pwned || "no";
delete document.documentElement.dataset.error; // the refusals themselves
`)
	if got["pwned"] != "no" {
		t.Error("a foreign script ran")
	}
}
