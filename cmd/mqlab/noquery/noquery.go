// Package noquery keeps a library from asking the terminal for its colours before the program has begun.
//
// The library of the live view asks in its init, for every command, and waits up to five seconds for an answer: a
// terminal that gives none, such as that of a container or a recorder, would hold up even "mqlab version", and what was
// typed meanwhile would be lost. It does not ask a dumb terminal. This package needs nothing but the standard library and sorts
// before what the other one imports, so it is initialised first, and hides the terminal's name until [Restore].
package noquery

import "os"

var name, known = hide()

func hide() (string, bool) {
	name, known := os.LookupEnv("TERM")
	_ = os.Setenv("TERM", "dumb") // where it cannot be set, it is asked for
	return name, known
}

// Restore gives the terminal its name back. It is called once, when all libraries have been initialised.
func Restore() {
	if known {
		_ = os.Setenv("TERM", name)
		return
	}
	_ = os.Unsetenv("TERM")
}
