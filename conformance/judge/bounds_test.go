package judge_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

func feed(t testing.TB, c *judge.Conn, v codec.Version, from codec.Side, at time.Time, packet string) {
	t.Helper()
	b, err := packetBytes(packet, v)
	if err != nil {
		t.Fatal(err)
	}
	c.Packet(from, at, b)
}

// TestBounds floods a connection in every way that makes the judge remember something. Nothing may
// be held against either side for what could not be kept, and the bound that was met is named.
func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name, connect, connack string
		n                      int
		from                   codec.Side
		packet                 func(i int) string
		then                   []string // the server's packets after the flood, sound or not
		limit                  string
	}{
		{"messages", "connect clean id=x", "connack", 3000, codec.Client, func(i int) string {
			return fmt.Sprintf("publish t=a q=1 id=%d", i+1)
		}, []string{"puback id=2500", "puback id=65000"}, "exchanges"},
		{"deliveries", "connect clean id=x", "connack", 3000, codec.Server, func(i int) string {
			return fmt.Sprintf("publish t=a q=2 id=%d", i+1)
		}, []string{"publish t=a q=2 id=3000 dup"}, "exchanges"},
		{"requests", "connect clean id=x", "connack", 3000, codec.Client, func(i int) string {
			return fmt.Sprintf("unsubscribe id=%d f=a", i+1)
		}, []string{"unsuback id=2500 c=0", "unsuback id=65000 c=0"}, "requests"},
		{"filters", "connect clean id=x", "connack", 400, codec.Client, func(i int) string {
			return fmt.Sprintf("subscribe id=%d f=f/%d", i+1, i)
		}, []string{"publish t=f/399", "publish t=unknown"}, "subscriptions"},
		{"filter bytes", "connect clean id=x", "connack", 4, codec.Client, func(i int) string {
			return fmt.Sprintf("subscribe id=%d f=%s%d", i+1, strings.Repeat("f", 30000), i)
		}, []string{"publish t=unknown"}, "subscriptions"},
		{"aliases", "connect clean id=x tam=60000", "connack", 1000, codec.Server, func(i int) string {
			return fmt.Sprintf("publish t=a/%d alias=%d", i, i+1)
		}, []string{"publish alias=999"}, "topic aliases"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := judge.New(&judge.Book{})
			feed(t, c, codec.V5, codec.Client, epoch, tt.connect)
			feed(t, c, codec.V5, codec.Server, epoch, tt.connack)
			for i := range tt.n {
				feed(t, c, codec.V5, tt.from, epoch, tt.packet(i))
			}
			for _, p := range tt.then {
				feed(t, c, codec.V5, codec.Server, epoch, p)
			}
			c.End(epoch, codec.Server)
			if fs := c.Findings(); len(fs) > 0 {
				t.Errorf("found %v", fs[0])
			}
			if got := strings.Join(c.Limits(), "\n"); !strings.HasPrefix(got, tt.limit) {
				t.Errorf("limits: got %q, want one on %s", got, tt.limit)
			}
		})
	}
}

// TestFindingsAreBounded holds that a sender of nothing but breaches costs a fixed amount of
// memory, while each breach is counted.
func TestFindingsAreBounded(t *testing.T) {
	c := judge.New(nil)
	feed(t, c, codec.V4, codec.Client, epoch, "connect clean id=x")
	feed(t, c, codec.V4, codec.Server, epoch, "connack")
	for range 1000 {
		feed(t, c, codec.V4, codec.Server, epoch, "publish t=a dup")
	}
	if n := len(c.Findings()); n != 16 { // eight for each of the two rules
		t.Errorf("%d findings kept, want 16", n)
	}
	for _, id := range []string{"MQTT-3.3.1-2", "MQTT-4.3.1-1"} {
		if n := c.Judged()[judge.Key{Version: 1, Rule: id, By: codec.Server}]; n != 1000 {
			t.Errorf("%s counted %d times, want 1000", id, n)
		}
	}
	if len(c.Limits()) == 0 {
		t.Error("the bound is not named")
	}
}

// TestConcurrentUse reports both directions from goroutines of their own, and shares a Book.
func TestConcurrentUse(t *testing.T) {
	book := &judge.Book{}
	var wg sync.WaitGroup
	for i := range 4 {
		c := judge.New(book)
		hello, _ := packetBytes(fmt.Sprintf("connect id=c%d", i%2), codec.V4)
		welcome, _ := packetBytes("connack", codec.V4)
		c.Packet(codec.Client, epoch, hello)
		c.Packet(codec.Server, epoch, welcome)
		ping, _ := packetBytes("pingreq", codec.V4)
		pong, _ := packetBytes("pingresp", codec.V4)
		wg.Go(func() {
			for range 200 {
				c.Bytes(codec.Client, epoch, ping)
			}
			c.End(epoch, codec.Client)
		})
		wg.Go(func() {
			for range 200 {
				c.Packet(codec.Server, epoch, pong)
				c.Judged()
			}
			if fs := c.Findings(); len(fs) > 0 {
				t.Errorf("found %v", fs[0])
			}
		})
	}
	wg.Wait()
}
