package report

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed assets/shell.html
var shellHTML string

//go:embed assets/shell.css
var shellCSS string

//go:embed assets/shell.js
var shellJS string

var shell = template.Must(template.New("shell").Parse(shellHTML))

// Page is one HTML document that needs nothing beside itself: no network, no fonts, no files.
//
// Its policy lets only the scripts run that Write put there, so that text from the network could
// do nothing even where an escape was forgotten. A script finds helpers in the global mqlab (see
// assets/shell.js), calls mqlab.ready() when the page stands, and an exception of any script
// is kept in the attribute data-error of the root element.
type Page struct {
	Title  string
	Body   template.HTML // from html/template
	Styles []string      // after those of the shell
	Script string        // runs at the end of the body
	Data   any           // read by scripts with mqlab.data(); nil: none
}

// Write writes the document.
func (p Page) Write(w io.Writer) error {
	var data []byte
	if p.Data != nil {
		var buf bytes.Buffer
		// Escaping < is what keeps a text from ending the element that holds the data.
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(true)
		if err := enc.Encode(p.Data); err != nil {
			return fmt.Errorf("write the page's data: %w", err)
		}
		data = bytes.TrimSpace(buf.Bytes())
	}
	for _, script := range []string{shellJS, p.Script} {
		if strings.Contains(strings.ToLower(script), "</script") || strings.Contains(script, "<!--") {
			return fmt.Errorf("a script of the page %q holds text that would end it", p.Title)
		}
	}
	return shell.Execute(w, struct {
		Title          string
		Policy         string
		Styles         template.CSS
		Body           template.HTML
		Data           template.HTML
		Shell, Scripts template.HTML
	}{
		Title:  p.Title,
		Policy: "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src " + hash(shellJS) + " " + hash(p.Script) + "; base-uri 'none'; form-action 'none'",
		Styles: template.CSS(shellCSS + strings.Join(p.Styles, "\n")),
		Body:   p.Body,
		Data:   element(`<script type="application/json" id="data">`, string(data)),
		Shell:  element("<script>", shellJS), Scripts: element("<script>", p.Script),
	})
}

// element puts text between the tags as it is: a template would change it, and the policy names its hash.
func element(open, text string) template.HTML {
	return template.HTML(open + text + "</script>")
}

func hash(script string) string {
	sum := sha256.Sum256([]byte(script))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
