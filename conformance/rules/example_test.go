package rules_test

import (
	"fmt"

	"github.com/mqlab/mqlab/conformance/rules"
)

// The same id means something else in each version.
func ExampleLookup() {
	for _, v := range rules.AnyVersion.Split() {
		r, ok := rules.Lookup(v, "MQTT-3.8.3-4")
		fmt.Println(r.Version, r.Section, ok)
	}
	// Output:
	// 3.1.1 3.8 SUBSCRIBE true
	// 5.0 3.8.3.1 Subscription Options true
}
