// Package reporttest opens pages in a real browser, for the tests of whatever writes them.
package reporttest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"html"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Browser is a Chromium without a window.
type Browser struct {
	t    testing.TB
	path string
}

// Chromium finds the browser. Without one the test is skipped, unless CI=true says that it has to be there.
func Chromium(t testing.TB) *Browser {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return &Browser{t, path}
		}
	}
	const missing = "no Chromium is installed: pages are not opened"
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return nil
}

// Open opens the page at the given address, which is what follows the file's name: "", "#fragment" or
// "?query#fragment". When the page stands, script runs as the page's own, and what it writes to
// result is returned by its names. The document must be ready and must have met no exception.
func (b *Browser) Open(page []byte, address, script string) map[string]string {
	b.t.Helper()
	dom := b.dump(page, address, `"use strict";
window.result = {};
(async () => {
if (document.readyState !== "complete") await new Promise((done) => addEventListener("load", done));
`+script+`
})().catch((e) => mqlab.trouble("test: " + e)).finally(() => {
  const out = document.createElement("pre");
  out.id = "result";
  out.textContent = JSON.stringify(Object.entries(window.result));
  document.body.append(out);
});`)
	root := regexp.MustCompile(`<html[^>]*>`).FindString(dom)
	if !strings.Contains(root, `data-ready="true"`) {
		b.t.Fatalf("the page is not ready: %s", root)
	}
	if strings.Contains(root, "data-error") {
		b.t.Fatalf("a script of the page failed: %s", html.UnescapeString(root))
	}
	_, text, ok := strings.Cut(dom, `<pre id="result">`)
	if !ok {
		b.t.Fatal("the test's script did not end")
	}
	text, _, _ = strings.Cut(text, "</pre>")
	return pairs(b.t, html.UnescapeString(text))
}

// dump returns the document as it stands after the scripts.
func (b *Browser) dump(page []byte, address, script string) string {
	b.t.Helper()
	dir := b.t.TempDir()
	file := filepath.Join(dir, "page.html")
	if err := os.WriteFile(file, withScript(b.t, page, script), 0o644); err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--virtual-time-budget=2000", "--dump-dom", "file://"+file+address)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	// The browser's children may outlive it by a moment, and hold its output open.
	cmd.WaitDelay = 5 * time.Second
	dom, err := cmd.Output()
	if err != nil && len(dom) == 0 {
		b.t.Fatalf("run %s: %v\n%s", b.path, err, complaints.String())
	}
	return string(dom)
}

var scriptPolicy = regexp.MustCompile(`script-src `)

// withScript puts a script at the end of a copy of the page, and lets the page's policy accept it.
func withScript(t testing.TB, page []byte, script string) []byte {
	t.Helper()
	text := string(page)
	if scriptPolicy.FindString(text) == "" || !strings.Contains(text, "</body>") {
		t.Fatal("the page has no policy, or no end")
	}
	sum := sha256.Sum256([]byte(script))
	at := scriptPolicy.FindStringIndex(text)[1]
	text = text[:at] + "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "' " + text[at:]
	end := strings.LastIndex(text, "</body>")
	return []byte(text[:end] + "<script>" + script + "</script>" + text[end:])
}
