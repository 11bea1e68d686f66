package transport

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		want Target
		text string
	}{
		"localhost":                 {Target{Scheme: "mqtt", Host: "localhost", Port: 1883}, "mqtt://localhost:1883"},
		"localhost:1884":            {Target{Scheme: "mqtt", Host: "localhost", Port: 1884}, "mqtt://localhost:1884"},
		":0":                        {Target{Scheme: "mqtt"}, "mqtt://:0"},
		"::1":                       {Target{Scheme: "mqtt", Host: "::1", Port: 1883}, "mqtt://[::1]:1883"},
		"[::1]:1":                   {Target{Scheme: "mqtt", Host: "::1", Port: 1}, "mqtt://[::1]:1"},
		"tcp://h":                   {Target{Scheme: "mqtt", Host: "h", Port: 1883}, "mqtt://h:1883"},
		"MQTT://h/":                 {Target{Scheme: "mqtt", Host: "h", Port: 1883}, "mqtt://h:1883"},
		"tls://h":                   {Target{Scheme: "mqtts", Host: "h", Port: 8883}, "mqtts://h:8883"},
		"ssl://h:1":                 {Target{Scheme: "mqtts", Host: "h", Port: 1}, "mqtts://h:1"},
		"mqtts://u:p%40%3A@h":       {Target{Scheme: "mqtts", Host: "h", Port: 8883, Username: "u", Password: "p@:", HasPassword: true}, "mqtts://h:8883"},
		"u:@h:5":                    {Target{Scheme: "mqtt", Host: "h", Port: 5, Username: "u", HasPassword: true}, "mqtt://h:5"},
		"u@h":                       {Target{Scheme: "mqtt", Host: "h", Port: 1883, Username: "u"}, "mqtt://h:1883"},
		"ws://h":                    {Target{Scheme: "ws", Host: "h", Port: 80, Path: "/mqtt"}, "ws://h:80/mqtt"},
		"ws://h/":                   {Target{Scheme: "ws", Host: "h", Port: 80, Path: "/"}, "ws://h:80/"},
		"wss://u:p@h/a%20b?t=1 2":   {Target{Scheme: "wss", Host: "h", Port: 443, Path: "/a%20b", Query: "t=1%202", Username: "u", Password: "p", HasPassword: true}, "wss://h:443/a%20b?***"},
		"unix:///run/x.sock":        {Target{Scheme: "unix", Path: "/run/x.sock"}, "unix:///run/x.sock"},
		"unix:x.sock":               {Target{Scheme: "unix", Path: "x.sock"}, "unix:x.sock"},
		"mem://broker":              {Target{Scheme: "mem", Host: "broker"}, "mem://broker"},
		"mem://":                    {Target{Scheme: "mem"}, "mem://"},
		"mqtt://[fe80::1%25lo]:183": {Target{Scheme: "mqtt", Host: "fe80::1%lo", Port: 183}, "mqtt://[fe80::1%lo]:183"},
	}
	for raw, tt := range tests {
		t.Run(raw, func(t *testing.T) {
			got, err := Parse(raw)
			must(t, err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if got.String() != tt.text {
				t.Errorf("String() = %q, want %q", got, tt.text)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                           "empty",
		"http://h":                   "scheme is unknown",
		"mqtt://u:secret@h:70000":    "port",
		"mqtt://u:secret@h:x":        "not a valid URL",
		"mqtt://u:se%zzcret@h":       "not a valid URL",
		"mqtt://u:s#secret@h":        "",
		"u:secret@h:x":               "not a valid URL",
		"mqtt://u:secret@h/path":     "only ws and wss",
		"ws://u:secret@h/p#f":        "%23",
		"unix://":                    "path is missing",
		"ftp://u:secret@h/?t=secret": "scheme",
	} {
		t.Run(raw, func(t *testing.T) {
			_, err := Parse(raw)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("%q shows the password", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"mqtt://u:p@h:1/", "ws://[::1]:80/p?q", "unix:a", "mem://x", "h", "%", "::", "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Parse(raw)
		if err != nil {
			return
		}
		again, err := Parse(got.String())
		if err != nil && !strings.ContainsAny(got.Host, "%[]") {
			t.Fatalf("%q reads as %q, which is refused: %v", raw, got, err)
		}
		got.Username, got.Password, got.HasPassword = "", "", false
		if got.Query != "" {
			got.Query = "***"
		}
		if err == nil && again != got {
			t.Fatalf("%q reads as %+v, its String as %+v", raw, got, again)
		}
	})
}
