package pcap

import (
	"errors"
	"io"
)

// Reassemble reads a capture, takes the headers off and puts the streams together, and looks at nothing that
// they carry: what any dissector does at least.
func Reassemble(r io.Reader) (Summary, error) {
	rd, err := NewReader(r)
	if err != nil {
		return Summary{}, err
	}
	d := NewDissector(Config{})
	for {
		f, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return d.sum, d.Close()
		}
		if err == nil {
			err = d.Frame(f)
		}
		if err != nil {
			return d.sum, err
		}
		if d.last != nil { // the first segment is SYN
			d.last.kind = kindOther
		}
	}
}
