package client_test

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/client"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// sink is a server that accepts the connection and reads on without a word.
func sink(tb testing.TB) *client.Client {
	tb.Helper()
	ours, theirs := transport.Pipe()
	k, _ := (&codec.Connack{}).AppendTo(nil, codec.V5)
	if _, err := theirs.Write(k); err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.Discard, onlyReader{theirs})
		_ = theirs.Close()
	}()
	c, err := client.Connect(within(tb), "sink", client.Config{Dial: func(context.Context) (net.Conn, error) { return ours, nil }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = theirs.Close()
		_ = c.Close()
		<-done
	})
	return c
}

type onlyReader struct{ io.Reader }

func TestPublishAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := sink(t)
	m := client.Message{Topic: "some/topic", Payload: make([]byte, 100)}
	ctx := context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		if err := c.Publish(ctx, m); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for a message of QoS 0, want none", n)
	}
}

func BenchmarkPublishQoS0(b *testing.B) {
	c := sink(b)
	m := client.Message{Topic: "some/topic", Payload: make([]byte, 100)}
	ctx := context.Background()
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Payload)))
	for b.Loop() {
		if err := c.Publish(ctx, m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPublishQoS1 has up to 100 messages on their way to the in-memory broker.
func BenchmarkPublishQoS1(b *testing.B) {
	srv := brokertest.NewServer(b, broker.Config{})
	c := connect(b, srv.URL, client.Config{})
	m := client.Message{Topic: "some/topic", QoS: 1, Payload: make([]byte, 100)}
	ctx := context.Background()
	var window [100]*client.Token
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Payload)))
	i := 0
	for b.Loop() {
		if t := window[i%100]; t != nil {
			<-t.Done()
		}
		var err error
		if window[i%100], err = c.PublishAsync(ctx, m); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkReceive(b *testing.B) {
	ours, theirs := transport.Pipe()
	k, _ := (&codec.Connack{}).AppendTo(nil, codec.V5)
	if _, err := theirs.Write(k); err != nil {
		b.Fatal(err)
	}
	got := make(chan struct{}, 1024)
	c, err := client.Connect(within(b), "source", client.Config{
		Dial:    func(context.Context) (net.Conn, error) { return ours, nil },
		Handler: func(*client.Message) { got <- struct{}{} },
	})
	if err != nil {
		b.Fatal(err)
	}
	one, _ := (&codec.Publish{Topic: "some/topic", Payload: make([]byte, 100)}).AppendTo(nil, codec.V5)
	var batch []byte
	for range 100 {
		batch = append(batch, one...)
	}
	b.ReportAllocs()
	b.SetBytes(100)
	i := 0
	for b.Loop() {
		if i%100 == 0 {
			if _, err := theirs.Write(batch); err != nil {
				b.Fatal(err)
			}
		}
		<-got
		i++
	}
	_ = theirs.Close()
	_ = c.Close()
}
