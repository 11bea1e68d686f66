package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
)

// watched is an output that tells when it holds a text.
type watched struct {
	mu   sync.Mutex // guards b
	b    bytes.Buffer
	want string
	seen chan struct{}
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before := strings.Contains(w.b.String(), w.want)
	w.b.Write(p)
	if !before && strings.Contains(w.b.String(), w.want) {
		close(w.seen)
	}
	return len(p), nil
}

// An interrupt is how sub normally ends, and what has been printed has been acknowledged by then.
func TestSubEndsWithInterrupt(t *testing.T) {
	srv := brokertest.NewServer(t, broker.Config{})
	c, err := client.Connect(t.Context(), srv.URL, client.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(t.Context(), client.Message{Topic: "a", QoS: 1, Retain: true, Payload: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	e, _, stderr := testEnv(t)
	out := &watched{want: "a hello\n", seen: make(chan struct{})}
	ctx, interrupt := context.WithCancel(t.Context())
	e.ctx, e.stdout = ctx, out
	code := make(chan int, 1)
	go func() {
		code <- run([]string{"mqlab", "sub", "-t", "a", "-v", "-q", "1", "--target", srv.URL}, e)
	}()
	select {
	case <-out.seen:
	case <-time.After(20 * time.Second):
		t.Error("the message was not printed")
	}
	interrupt()
	if got := <-code; got != exitOK || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", got, stderr)
	}
}

func TestFormatter(t *testing.T) {
	m := &client.Message{Topic: "a/b", Payload: []byte{0xFF, 'x'}, QoS: 2, Dup: true}
	m.Props.AddUser("k", "v")
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, tt := range []struct {
		format  string
		verbose bool
		want    string
	}{
		{"text", false, "\xFFx\n"},
		{"hex", true, "a/b ff78\n"},
		{"%t %X %l %q%r%d %P%%", false, "a/b FF78 2 201 k=v%\n"},
		{`%I\t%U%E`, false, "2026-01-02T03:04:05.000000006Z\t1767323045.000000006\n"},
		{"json", true, `{"at":"2026-01-02T03:04:05.000000006Z","topic":"a/b","qos":2,"retain":false,"dup":true,"payload_base64":"/3g=","user_properties":[{"name":"k","value":"v"}]}` + "\n"},
	} {
		f, err := formatter(tt.format, tt.verbose)
		if err != nil {
			t.Errorf("%s: %v", tt.format, err)
			continue
		}
		if got := string(f(m, at)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.format, got, tt.want)
		}
	}
	for _, bad := range []string{"%", "50%", "%z", "xml"} {
		if _, err := formatter(bad, false); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
