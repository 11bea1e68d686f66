package reporttest

import (
	"encoding/json"
	"fmt"
	"testing"
)

// pairs reads a list of names and values; numbers and truths come as JSON writes them.
func pairs(t testing.TB, text string) map[string]string {
	t.Helper()
	var list [][2]any
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("the result of the test's script cannot be read: %v\n%s", err, text)
	}
	out := map[string]string{}
	for _, p := range list {
		out[fmt.Sprint(p[0])] = fmt.Sprint(p[1])
	}
	return out
}
