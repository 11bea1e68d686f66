package brokertest_test

import (
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/broker/brokertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	var kept *brokertest.Server
	t.Run("running", func(t *testing.T) {
		srv := brokertest.NewServer(t, broker.Config{})
		kept = srv
		nc, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "mqtt://"))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for _, c := range []net.Conn{nc, srv.Mem()} {
			if _, err := c.Write([]byte("\x10\x0D\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")); err != nil {
				t.Fatal(err)
			}
			var k [4]byte
			if _, err := c.Read(k[:]); err != nil || string(k[:]) != "\x20\x02\x00\x00" {
				t.Errorf("answer %x, %v", k, err)
			}
		}
	})
	if _, err := kept.Dial(); err == nil {
		t.Error("the server outlives its test")
	}
}
