package scenarios

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed library/*.yaml
var libraryFiles embed.FS

// libraryOrder is the order in which the built-in workloads are listed: from the everyday to the special.
var libraryOrder = []string{
	"telemetry-fan-in", "command-fan-out", "point-to-point", "request-response", "shared-work-queue", "retained-sync",
	"qos-ladder", "churn", "reconnect-storm", "will-storm", "constrained-link", "soak",
}

// Names returns the names of the built-in workloads.
func Names() []string { return append([]string(nil), libraryOrder...) }

// Library returns the built-in workloads. They are the caller's own.
func Library() []*Workload {
	var out []*Workload
	for _, name := range libraryOrder {
		w, err := ByName(name)
		if err != nil {
			panic("the built-in workload " + name + " is broken: " + err.Error()) // a test reads each
		}
		out = append(out, w)
	}
	return out
}

// ByName returns a built-in workload. An unknown name is an error that names the nearest.
func ByName(name string) (*Workload, error) {
	text, err := Text(name)
	if err != nil {
		return nil, err
	}
	s, err := Parse(text)
	if err != nil {
		return nil, err
	}
	w := s.(*Workload)
	w.Name = name
	return w, nil
}

// Text returns a built-in workload as the file that it is.
func Text(name string) ([]byte, error) {
	text, err := libraryFiles.ReadFile("library/" + name + ".yaml")
	if err == nil {
		return text, nil
	}
	if near := nearest(name, libraryOrder); near != "" {
		return nil, fmt.Errorf("there is no built-in workload %q, did you mean %s?", name, near)
	}
	return nil, fmt.Errorf("there is no built-in workload %q: there are %s", name, strings.Join(libraryOrder, ", "))
}
