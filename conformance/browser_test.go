package conformance

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/report/reporttest"
)

// helpers of the scripts below: what is shown, and a pause in which the browser delivers its events.
const pageHelpers = `
const $ = (s) => document.querySelector(s);
const shown = (s) => [...document.querySelectorAll(s)].filter((e) => e.checkVisibility());
const pause = () => new Promise((done) => setTimeout(done, 20));
const rule = (id) => document.getElementById(id);
`

func TestReportPage(t *testing.T) {
	b := reporttest.Chromium(t)
	page := []byte(written(t, fixedReport().WriteHTML))
	got := b.Open(page, "", pageHelpers+`
result.pwned = document.documentElement.dataset.pwned || "no";
result.title = document.title;
result.start = shown("details.rule").map((d) => d.id).join(" ");
result.count = $("#shown").textContent;
result.words = shown("details.rule .v").map((v) => v.textContent).join(" ");
result.cells = document.querySelectorAll(".matrix .cell").length;

// Unfolding makes the evidence, once.
const d = rule("mqtt-3.1.1/MQTT-3.3.1-4");
result.before = d.querySelectorAll(".finding").length;
d.querySelector("summary").click();
await pause();
result.after = d.querySelectorAll(".finding").length;
d.querySelector("summary").click();
d.querySelector("summary").click();
await pause();
result.again = d.querySelectorAll(".finding").length;
result.replay = d.querySelector(".again code").textContent;
result.got = d.querySelector(".finding .got").textContent;
const wire = [...d.querySelectorAll(".wire li")];
result.wire = wire.length;
result.hex = wire[0].querySelector(".bytes").textContent;
result.long = wire[1].querySelector(".bytes button").textContent;
wire[1].querySelector(".bytes button").click();
result.all = wire[1].querySelector(".bytes").textContent.replace(/(ff ){39}ff/, "40 bytes");
result.scripts = document.querySelectorAll(".rule script, .rule img").length;

// Filters.
$('[data-filter="pass"]').click();
result.withPass = $("#shown").textContent;
$("#all").click();
result.everything = $("#shown").textContent;
$("#q").value = "takeover/told";
$("#q").dispatchEvent(new Event("input"));
result.search = shown("details.rule").map((d) => d.id).join(" ");
$("#q").value = "no such thing";
$("#q").dispatchEvent(new Event("input"));
result.none = $("#none").checkVisibility();
result.chapters = shown("section.chapter").length;

// A deep link shows its rule whatever the filters say, and takes the focus there.
location.hash = "#mqtt-5.0/MQTT-3.3.1-4";
await pause();
result.linked = rule("mqtt-5.0/MQTT-3.3.1-4").open && rule("mqtt-5.0/MQTT-3.3.1-4").checkVisibility();
result.focus = document.activeElement.closest("details")?.id;
result.remarks = rule("mqtt-5.0/MQTT-3.3.1-4").querySelectorAll("details.more").length;

// The counts of the matrix are links to their chapter.
location.hash = $('.matrix td a.tally[href*="3.1.1"]').getAttribute("href");
await pause();
result.chapter = shown("details.rule").map((d) => d.id).join(" ");
result.wide = document.documentElement.scrollWidth <= window.innerWidth;
`)
	want := map[string]string{
		"pwned": "no", "title": "ERROR: MQTT conformance of mqtt://127.0.0.1:1883",
		"start":  "mqtt-3.1.1/MQTT-3.3.1-4 mqtt-3.1.1/MQTT-4.7.1-2 mqtt-5.0/MQTT-3.1.4-3 mqtt-5.0/MQTT-3.3.1-5 mqtt-5.0/MQTT-3.12.4-1",
		"count":  "5 of 9 rules",
		"words":  "FAIL DIED WARN FAIL ERROR",
		"cells":  "9",
		"before": "0", "after": "1", "again": "1",
		"replay":     "mqlab conformance --target mqtt://127.0.0.1:1883 --ws-target ws://127.0.0.1:8080/mqtt --mqtt 3.1.1 --run MQTT-3.3.1-4",
		"got":        `PUBLISH "<script>document.documentElement.dataset.pwned=1</script>" |` + "`x`" + `\x1b[31m\u202e`,
		"wire":       "3",
		"hex":        "36 06 00 01 61 00 01 78",
		"long":       "all 5000 bytes",
		"all":        "40 bytes … 4960 bytes were not kept",
		"scripts":    "0",
		"withPass":   "7 of 9 rules",
		"everything": "9 of 9 rules",
		"search":     "mqtt-5.0/MQTT-3.1.4-3",
		"none":       "true", "chapters": "0",
		"linked": "true", "focus": "mqtt-5.0/MQTT-3.3.1-4", "remarks": "2",
		"chapter": "mqtt-3.1.1/MQTT-3.3.1-4",
		"wide":    "true",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The state of the page stands in its address.
func TestReportPageReadsItsAddress(t *testing.T) {
	b := reporttest.Chromium(t)
	page := []byte(written(t, fixedReport().WriteHTML))
	for _, tt := range []struct{ name, address, want string }{
		{"filter", "#verdict=warn,pass&mqtt=5.0", "mqtt-5.0/MQTT-3.1.4-3 mqtt-5.0/MQTT-3.3.1-4 mqtt-5.0/X-mine"},
		{"rule", "#mqtt-5.0/MQTT-4.8.2-1", "open mqtt-5.0/MQTT-4.8.2-1"},
		{"nonsense", "#%zz", "mqtt-3.1.1/MQTT-3.3.1-4 mqtt-3.1.1/MQTT-4.7.1-2 mqtt-5.0/MQTT-3.1.4-3 mqtt-5.0/MQTT-3.3.1-5 mqtt-5.0/MQTT-3.12.4-1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := b.Open(page, tt.address, pageHelpers+`
const open = shown("details.rule").filter((d) => d.open);
result.shown = open.length ? "open " + open.map((d) => d.id).join(" ") : shown("details.rule").map((d) => d.id).join(" ");
`)
			if got["shown"] != tt.want {
				t.Errorf("%s\nwant %s", got["shown"], tt.want)
			}
		})
	}
}

// A transcript of thousands of entries is unfolded in parts.
func TestReportPageOfLongTranscript(t *testing.T) {
	b := reporttest.Chromium(t)
	r := fixedReport()
	c := r.Check("publish/qos3", MQTT311)
	for i := range 447 {
		c.Transcript = append(c.Transcript, peer.Entry{Conn: "c2", Dir: peer.Received, Text: fmt.Sprintf("PUBLISH %d", i), Bytes: []byte{0x30}, Size: 1})
	}
	got := b.Open([]byte(written(t, r.WriteHTML)), "#mqtt-3.1.1/MQTT-3.3.1-4", pageHelpers+`
const box = [...document.querySelectorAll("details.more")].find((d) => d.textContent.includes("Transcript"));
box.open = true;
await pause();
result.title = box.querySelector("summary").textContent;
result.first = box.querySelectorAll("li").length;
result.more = box.querySelector(":scope > button").textContent;
box.querySelector(":scope > button").click();
box.querySelector(":scope > button").click();
result.last = box.querySelectorAll("li").length;
result.done = !box.querySelector(":scope > button");
`)
	want := map[string]string{"title": "Transcript, 450 entries", "first": "200", "more": "Show more, 250 are left", "last": "450", "done": "true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestComparePage(t *testing.T) {
	b := reporttest.Chromium(t)
	c := fixedComparison()
	c.Targets[0].Label = "old " + hostileText
	got := b.Open([]byte(written(t, c.WriteHTML)), "#mqtt-5.0/MQTT-3.3.1-4", pageHelpers+`
result.pwned = document.documentElement.dataset.pwned || "no";
result.linked = shown(".reasons").length;
result.shown = $("#shown").textContent;
$('[data-filter="partly"]').click();
result.telling = shown(".side tbody tr").map((r) => r.id).join(" ");
const row = rule("mqtt-3.1.1/MQTT-3.3.1-4");
row.querySelector("button").click();
result.expanded = row.querySelector("button").getAttribute("aria-expanded");
result.reasons = row.nextElementSibling.querySelectorAll("dd").length;
result.words = [...row.querySelectorAll(".v")].map((v) => v.textContent).join(" ");
row.querySelector("button").click();
result.folded = shown(".reasons").length;
`)
	want := map[string]string{
		"pwned": "no", "linked": "1", "shown": "5 of 9 rules",
		"telling":  "mqtt-3.1.1/MQTT-3.3.1-4 mqtt-3.1.1/MQTT-4.7.1-2 mqtt-5.0/MQTT-3.1.4-3 mqtt-5.0/MQTT-3.3.1-5",
		"expanded": "true", "reasons": "2", "words": "FAIL PASS", "folded": "0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Without scripts the rules, their verdicts and reasons are there all the same.
func TestReportPageWithoutScripts(t *testing.T) {
	page := written(t, fixedReport().WriteHTML)
	static, _, ok := strings.Cut(page, `<script type="application/json"`)
	if !ok {
		t.Fatal("the page holds no data")
	}
	for _, part := range []string{
		`<h1>mqtt://127.0.0.1:1883</h1>`, `id="mqtt-3.1.1/MQTT-3.3.1-4"`, "kept nothing", "Maximum QoS 1, Receive Maximum 20",
		"strings/stray", "<h3><span class=\"soft\">MQTT 5.0</span> Rules of your own</h3>", `\x1b[31m\u202e`, "&lt;script&gt;", "The target died 1 time.", "Better than expected",
	} {
		if !strings.Contains(static, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	if strings.Contains(static, "<script>document") || strings.Contains(page, "ZgotmplZ") {
		t.Error("a text from the network was taken for HTML")
	}
}
