package main

import (
	"strings"
	"testing"
	"time"
)

// No figure is asserted: what counts is that every implementation is measured in every case.
func TestRun(t *testing.T) {
	var out strings.Builder
	if err := run(&out, 1, time.Microsecond); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"decode", "encode"} {
		for name, impls := range map[string]string{
			"publish-qos0":             "mqlab-v4 mochi-v4 paho.mqtt-v4 mqlab-v5 mochi-v5 paho-v5",
			"publish-qos1":             "mqlab-v4 mochi-v4 paho.mqtt-v4 mqlab-v5 mochi-v5 paho-v5",
			"publish-5-properties":     "mqlab-v5 mochi-v5 paho-v5",
			"connect-will-credentials": "mqlab-v4 mochi-v4 paho.mqtt-v4 mqlab-v5 mochi-v5 paho-v5",
			"subscribe-3-filters":      "mqlab-v4 mochi-v4 paho.mqtt-v4 mqlab-v5 mochi-v5 paho-v5",
		} {
			var got []string
			for line := range strings.Lines(out.String()) {
				f := strings.Fields(line)
				if f[0] == dir+"/"+name {
					got = append(got, f[1])
				}
				if strings.HasPrefix(f[1], "mqlab") && (len(f) < 6 || !strings.HasSuffix(f[4], "x")) {
					t.Errorf("no ratio in %q", line)
				}
			}
			if g := strings.Join(got, " "); g != impls {
				t.Errorf("%s/%s measures %q, want %q", dir, name, g, impls)
			}
		}
	}
}
