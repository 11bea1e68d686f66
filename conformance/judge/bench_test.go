package judge_test

import (
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

type timed struct {
	from  codec.Side
	frame []byte
}

// traffic is a QoS 1 message each way, with its acknowledgement, after the opening.
func traffic(tb testing.TB, v codec.Version) (*judge.Conn, []timed) {
	tb.Helper()
	build := func(s string) []byte {
		b, err := packetBytes(s, v)
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	c := judge.New(nil)
	at := epoch
	c.Packet(codec.Client, at, build("connect clean id=x rm=100"))
	c.Packet(codec.Server, at, build("connack"))
	c.Packet(codec.Client, at, build("subscribe id=1 f=sensors/+/temperature:1,other/#:2,x:0"))
	c.Packet(codec.Server, at, build("suback id=1 c=1,2,0"))
	return c, []timed{
		{codec.Client, build("publish t=sensors/17/temperature q=1 id=10 pl=0123456789012345678901234567890123456789")},
		{codec.Server, build("puback id=10")},
		{codec.Server, build("publish t=sensors/17/temperature q=1 id=20 pl=0123456789012345678901234567890123456789")},
		{codec.Client, build("puback id=20")},
	}
}

// TestSteadyStateAllocatesNothing holds that sound traffic costs no memory.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, v := range []codec.Version{codec.V4, codec.V5} {
		c, frames := traffic(t, v)
		at := epoch
		n := testing.AllocsPerRun(1000, func() {
			at = at.Add(time.Millisecond)
			for _, f := range frames {
				c.Packet(f.from, at, f.frame)
			}
		})
		if n != 0 {
			t.Errorf("MQTT %v: %v allocations for four packets", v, n)
		}
		if fs := c.Findings(); len(fs) > 0 {
			t.Errorf("MQTT %v: %v", v, fs)
		}
	}
}

func BenchmarkPacket(b *testing.B) {
	for _, v := range []codec.Version{codec.V4, codec.V5} {
		b.Run(v.String(), func(b *testing.B) {
			c, frames := traffic(b, v)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				f := frames[i&3]
				c.Packet(f.from, epoch, f.frame)
				i++
			}
			if fs := c.Findings(); len(fs) > 0 {
				b.Fatal(fs)
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	var c *judge.Conn
	for b.Loop() {
		c = judge.New(&judge.Book{})
	}
	if len(c.Findings()) > 0 {
		b.Fatal("findings before the first packet")
	}
}
