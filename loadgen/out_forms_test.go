package loadgen

import (
	"io"

	"github.com/mqlab/mqlab/internal/ui"
)

// allForms are the forms in which a result can be written.
func (r *Result) allForms() []func(io.Writer) error {
	return []func(io.Writer) error{
		r.WriteJSON, r.WriteCSV, r.WriteMarkdown, r.WriteHTML,
		func(w io.Writer) error { return r.WriteText(w, ui.Plain(), 80) },
	}
}
