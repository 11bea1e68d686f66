package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
	"github.com/mqlab/mqlab/codec"
)

// dead connects subscribers to "t" that acknowledge nothing, with up to spread messages in their
// queues.
func dead(t *testing.T, srv *brokertest.Server, pub *client, n, spread int, qos codec.QoS) []*client {
	t.Helper()
	all := make([]*client, n)
	id := uint16(0)
	for i := range all {
		name := fmt.Sprint("dead", i)
		c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: name})
		c.wait = time.Hour
		c.subscribe("t", qos)
		c.subscribe(name, 1)
		for range 5 + i%(spread+1) { // 5 are in flight
			id++
			pub.send(text(name, "x", 1, id))
			pub.expect(&codec.Puback{PacketID: id})
		}
		all[i] = c
	}
	return all
}

// sendBatch sends messages to "t" in one batch and awaits that all are acknowledged. It returns for
// how long that held the publisher back.
func sendBatch(t *testing.T, pub *client, first, n uint16) time.Duration {
	t.Helper()
	var batch []byte
	for i := range n {
		batch, _ = text("t", fmt.Sprint(first+i), 1, first+i).AppendTo(batch, pub.v)
	}
	start := time.Now()
	pub.raw(batch)
	for i := range n {
		pub.expect(&codec.Puback{PacketID: first + i})
	}
	return time.Since(start)
}

// Many subscribers that do not acknowledge hold a publisher back no longer than one does, and
// nobody else waits with it.
func TestSlowConsumersQoS1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{QueueMessages: 10, MaxInflight: 5})
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true, KeepAlive: 1})
		pub.wait = time.Hour
		const n = 20
		subs := dead(t, srv, pub, n, 0, 1)
		quick, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "quick", CleanStart: true})
		quick.subscribe("t", 0)
		start := time.Now()
		var waited sync.WaitGroup
		waited.Go(func() {
			for i := range 11 { // the last is one that the others have no room for
				quick.recv()
				if d := time.Since(start); d > 0 {
					t.Errorf("message %d came after %v", i, d)
				}
			}
		})
		if d := sendBatch(t, pub, 1, 16); d != 2*time.Second {
			t.Errorf("the publisher was held back for %v, want 2s", d)
		}
		waited.Wait()
		for _, c := range subs {
			for range 5 {
				c.recv()
			}
			c.closed(codec.QuotaExceeded)
		}
		if got := srv.Stats().SlowConsumers; got != n {
			t.Errorf("%d slow consumers, want %d", got, n)
		}
		if d := sendBatch(t, pub, 17, 16); d != 0 {
			t.Errorf("the publisher was held back for %v by clients that are gone", d)
		}
		pub.fence() // silence that the server caused is not held against the client
	})
}

// The same where the queues fill up one after the other: a batch waits for one, the next finds that
// the time of all others is up, and until then no queue of a Client that is connected refuses
// anything.
func TestSlowConsumersOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{QueueMessages: 10, MaxInflight: 5})
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
		pub.wait = time.Hour
		const n = 20
		dead(t, srv, pub, n, 9, 2)
		if d := sendBatch(t, pub, 1, 16); d != 2*time.Second {
			t.Errorf("the first batch was held back for %v, want 2s", d)
		}
		if st := srv.Stats(); st.SlowConsumers != n/10 { // those with the fullest queues
			t.Errorf("%d slow consumers after the first batch", st.SlowConsumers)
		}
		if d := sendBatch(t, pub, 17, 16); d != 2*time.Second {
			t.Errorf("the second batch was held back for %v, want 2s", d)
		}
		if st := srv.Stats(); st.SlowConsumers != n {
			t.Errorf("%d slow consumers, want %d", st.SlowConsumers, n)
		}
		if d := sendBatch(t, pub, 33, 16); d != 0 {
			t.Errorf("the third batch was held back for %v", d)
		}
	})
}

// A subscriber that is slow but takes what it is sent stays, whomever else the publisher waits for,
// and gets all that was acknowledged, in order.
func TestSlowReaderAmongDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{QueueMessages: 10, MaxInflight: 5})
		pub, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "pub", CleanStart: true})
		pub.wait = time.Hour
		const n = 120
		subs := dead(t, srv, pub, 10, 9, 1)
		slow, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "slow", CleanStart: true})
		slow.wait = time.Hour
		slow.subscribe("t", 1)
		var done sync.WaitGroup
		done.Go(func() {
			for i := range n {
				p, ok := slow.recv().(*codec.Publish)
				if want := fmt.Sprint(i + 1); !ok || string(p.Payload) != want {
					t.Errorf("got %+v, want message %s", p, want)
					return
				}
				id := p.PacketID
				advance(900 * time.Millisecond)
				slow.send(&codec.Puback{PacketID: id})
			}
		})
		for first := uint16(1); first < n; first += 20 {
			sendBatch(t, pub, first, 20)
		}
		done.Wait()
		slow.fence()
		if st := srv.Stats(); st.SlowConsumers != uint64(len(subs)) || st.Refused == 0 {
			t.Errorf("%d slow consumers and %d messages refused by their sessions, want %d and some", st.SlowConsumers, st.Refused, len(subs))
		}
	})
}

// A Client that takes from its queue is not disconnected because others fill it up at once.
func TestSlowReaderOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{QueueMessages: 10, MaxInflight: 5})
		slow, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "slow", CleanStart: true})
		slow.wait = time.Hour
		slow.subscribe("t", 1)
		held, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "held", CleanStart: true})
		held.wait = time.Hour
		other, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "other", CleanStart: true})
		other.wait = time.Hour
		sendBatch(t, held, 1, 15)
		held.send(text("t", "16", 1, 16)) // has no room
		const n = 50
		take := func() {
			t.Helper()
			p, ok := slow.recv().(*codec.Publish)
			if !ok {
				t.Fatalf("got %v, want a message", p)
			}
			slow.send(&codec.Puback{PacketID: p.PacketID})
		}
		for i := range uint16(n) {
			synctest.Wait()
			take()
			synctest.Wait()
			other.send(text("t", "x", 1, i+1))
			advance(300 * time.Millisecond)
		}
		for range 16 {
			take()
		}
		held.expect(&codec.Puback{PacketID: 16})
		slow.fence()
		if st := srv.Stats(); st.SlowConsumers != 0 {
			t.Error("the slow reader was disconnected")
		}
	})
}
