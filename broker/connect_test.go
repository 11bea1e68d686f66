package broker_test

import (
	"encoding/hex"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A refused CONNECT: what is sent, and all that may come before the close.
func TestConnectRefused(t *testing.T) {
	tests := []struct {
		name, send, answer string
	}{
		{"MQTT-3.1.2-1 wrong name", "10 0C 00 04 4D 51 54 58 04 02 00 3C 00 00", ""},
		{"MQTT-3.1.2-2 level 6", "10 0D 00 04 4D 51 54 54 06 02 00 3C 00 00 00", "20 02 00 01"},
		{"MQTT-3.1.2-2 level 9 in 3.1.1 form", "10 0C 00 04 4D 51 54 54 09 02 00 3C 00 00", "20 02 00 01"},
		{"MQTT-3.1.2-3 reserved flag 3.1.1", "10 0C 00 04 4D 51 54 54 04 03 00 3C 00 00", ""},
		{"MQTT-3.1.2-3 reserved flag 5.0", "10 0D 00 04 4D 51 54 54 05 03 00 3C 00 00 00", "20 .. 00 81"},
		{"MQTT-3.1.3-8 empty id kept session 3.1.1", "10 0C 00 04 4D 51 54 54 04 00 00 3C 00 00", "20 02 00 02"},
		{"empty id 3.1", "10 0E 00 06 4D 51 49 73 64 70 03 02 00 3C 00 00", "20 02 00 02"},
		{"MQTT-3.1.0-1 publish first", "30 03 00 01 61", ""},
		{"first packet PINGREQ", "C0 00", ""},
		{"MQTT-4.12.0-1 unknown method", "10 13 00 04 4D 51 54 54 05 02 00 3C 06 15 00 03 66 6F 6F 00 00", "20 .. 00 8C"},
		{"P-3.1.2.11.3-receive-maximum-zero", "10 10 00 04 4D 51 54 54 05 02 00 3C 03 21 00 00 00 00", "20 .. 00 82"},
		{"MQTT-2.2.2-2 header flags", "11 0C 00 04 4D 51 54 54 04 02 00 3C 00 00", ""},
		{"five byte length", "10 FF FF FF FF 01", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := newMem(t, broker.Config{})
			c := newClient(t, srv.Mem(), codec.V5)
			// What follows a refused CONNECT is not processed [MQTT-3.1.4-5] [MQTT-3.1.4-6].
			c.raw(append(unhex(t, tt.send), unhex(t, "30 06 00 01 61 68 69 21 C0 00")...))
			var got []byte
			buf := make([]byte, 256)
			for {
				_ = c.nc.SetReadDeadline(time.Now().Add(patience))
				n, err := c.nc.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
			want := strings.ReplaceAll(tt.answer, " ", "")
			have := hex.EncodeToString(got)
			if len(have) > 8 && strings.HasPrefix(want, "20..") { // properties may follow
				have = have[:2] + ".." + have[4:8]
			}
			if !strings.EqualFold(have, want) {
				t.Errorf("answer %x, want %s", got, tt.answer)
			}
			if n := srv.Stats().MessagesReceived; n != 0 {
				t.Errorf("%d messages processed after a refused CONNECT", n)
			}
		})
	}
}

func TestConnectAssignsClientID(t *testing.T) {
	srv := newMem(t, broker.Config{})
	_, k1 := connect(t, srv, codec.V5, &codec.Connect{CleanStart: true})
	_, k2 := connect(t, srv, codec.V5, &codec.Connect{CleanStart: true})
	a, b := k1.Props.Text(codec.PropAssignedClientID), k2.Props.Text(codec.PropAssignedClientID)
	if a == "" || a == b { // [MQTT-3.2.2-16]
		t.Errorf("assigned %q and %q", a, b)
	}
	connect(t, srv, codec.V4, &codec.Connect{CleanStart: true})
	if n := srv.Stats().Sessions; n != 3 {
		t.Errorf("%d sessions, want 3", n)
	}
	_, k := connect(t, srv, codec.V5, &codec.Connect{ClientID: "own", CleanStart: true})
	if k.Props.Has(codec.PropAssignedClientID) {
		t.Error("an id was assigned to a client that has one")
	}
}

func TestConnackAnnounces(t *testing.T) {
	srv := newMem(t, broker.Config{
		MaximumQoS: broker.UpToQoS1, RetainUnavailable: true, WildcardUnavailable: true, SharedUnavailable: true,
		SubscriptionIDsUnavailable: true, ReceiveMaximum: 9, TopicAliasMaximum: 3, MaximumPacketSize: 500,
		ServerKeepAlive: 7 * time.Second, SessionExpiryMaximum: 8 * time.Second, ResponseInformation: "resp/",
	})
	p := &codec.Connect{ClientID: "c", KeepAlive: 60}
	p.Props.SetUint(codec.PropSessionExpiry, 100)
	p.Props.SetUint(codec.PropRequestResponseInfo, 1)
	_, k := connect(t, srv, codec.V5, p)
	for id, want := range map[codec.PropID]uint32{
		codec.PropMaximumQoS: 1, codec.PropRetainAvailable: 0, codec.PropWildcardAvailable: 0,
		codec.PropSharedSubscriptionsAvl: 0, codec.PropSubscriptionIDsAvail: 0, codec.PropReceiveMaximum: 9,
		codec.PropTopicAliasMaximum: 3, codec.PropMaximumPacketSize: 500, codec.PropServerKeepAlive: 7,
		codec.PropSessionExpiry: 8,
	} {
		if got := k.Props.Uint(id, 77); !k.Props.Has(id) || got != want {
			t.Errorf("%v = %d, want %d", id, got, want)
		}
	}
	if got := k.Props.Text(codec.PropResponseInfo); got != "resp/" {
		t.Errorf("Response Information %q", got)
	}
	_, k = connect(t, newMem(t, broker.Config{ResponseInformation: "x"}), codec.V5, &codec.Connect{ClientID: "d"})
	for id := codec.PropID(1); id < 0x2B; id++ {
		if k.Props.Has(id) && id != codec.PropTopicAliasMaximum {
			t.Errorf("an open broker announces %v", id)
		}
	}
}

func TestEnforcesAnnouncedLimits(t *testing.T) {
	tests := []struct {
		name   string
		cfg    broker.Config
		send   codec.Packet
		reason codec.ReasonCode
	}{
		{"MQTT-3.2.2-11", broker.Config{MaximumQoS: broker.UpToQoS1}, &codec.Publish{Topic: "a", QoS: 2, PacketID: 1}, codec.QoSNotSupported},
		{"MQTT-3.2.2-14", broker.Config{RetainUnavailable: true}, &codec.Publish{Topic: "a", Retain: true}, codec.RetainNotSupported},
		{"wildcard", broker.Config{WildcardUnavailable: true}, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a/#"}}}, codec.WildcardSubscriptionsNotSupported},
		{"shared", broker.Config{SharedUnavailable: true}, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "$share/g/a"}}}, codec.SharedSubscriptionsNotSupported},
		{"subscription id", broker.Config{SubscriptionIDsUnavailable: true}, &codec.Subscribe{
			PacketID: 1, Filters: []codec.Subscription{{Filter: "a"}},
			Props: props(func(p *codec.Properties) { p.SetUint(codec.PropSubscriptionID, 3) }),
		}, codec.SubscriptionIdentifiersNotSupported},
		{"MQTT-3.2.2-15", broker.Config{MaximumPacketSize: 100}, &codec.Publish{Topic: "a", Payload: make([]byte, 100)}, codec.PacketTooLarge},
		{"topic alias above maximum", broker.Config{TopicAliasMaximum: 2}, &codec.Publish{Topic: "a", Props: props(func(p *codec.Properties) { p.SetUint(codec.PropTopicAlias, 3) })}, codec.TopicAliasInvalid},
		{"no topic aliases", broker.Config{TopicAliasMaximum: -1}, &codec.Publish{Topic: "a", Props: props(func(p *codec.Properties) { p.SetUint(codec.PropTopicAlias, 1) })}, codec.TopicAliasInvalid},
		{"unknown topic alias", broker.Config{}, &codec.Publish{Props: props(func(p *codec.Properties) { p.SetUint(codec.PropTopicAlias, 1) })}, codec.ProtocolError},
		{"MQTT-3.1.0-2 second CONNECT", broker.Config{}, &codec.Connect{ClientID: "c"}, codec.ProtocolError},
		{"AUTH without method", broker.Config{}, &codec.Auth{Reason: codec.ReAuthenticate, Props: props(func(p *codec.Properties) { p.SetText(codec.PropAuthMethod, "m") })}, codec.ProtocolError},
		{"session expiry after zero", broker.Config{}, &codec.Disconnect{Props: props(func(p *codec.Properties) { p.SetUint(codec.PropSessionExpiry, 3) })}, codec.ProtocolError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := newServer(t, tt.cfg)
			c := dial(t, srv.URL, codec.V5)
			c.send(&codec.Connect{ClientID: "c"})
			c.connack()
			c.send(tt.send)
			c.closed(tt.reason)
		})
	}
}

// A Client whose Maximum Packet Size leaves no room for CONNACK is not served, and gets nothing but a refusal that fits.
func TestNoRoomForConnack(t *testing.T) {
	for size := range uint32(12) {
		if size == 0 {
			continue
		}
		srv := newMem(t, broker.Config{})
		p := &codec.Connect{Version: codec.V5, ClientID: "a", CleanStart: true}
		p.Props.SetUint(codec.PropMaximumPacketSize, size)
		c := newClient(t, srv.Mem(), codec.V5)
		c.send(p, &codec.Pingreq{}, p)
		switch {
		case size < 5:
			c.closed()
		case size < 8:
			c.expect(&codec.Connack{Reason: codec.PacketTooLarge})
			c.closed()
		default:
			if k := c.connack(); k.Reason != codec.Success {
				t.Errorf("with %d bytes CONNACK has reason %#x", size, k.Reason)
			}
			c.expect(&codec.Pingresp{})
			c.closed(codec.ProtocolError)
		}
		if n := srv.Stats().Sessions; n != 0 {
			t.Errorf("with %d bytes %d sessions are left", size, n)
		}
	}
}

func TestReceiveMaximumExceeded(t *testing.T) {
	srv := newMem(t, broker.Config{ReceiveMaximum: 2})
	c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c"})
	for id := uint16(1); id <= 2; id++ {
		c.send(&codec.Publish{Topic: "a", QoS: 2, PacketID: id})
		c.expect(&codec.Pubrec{PacketID: id, Reason: codec.NoMatchingSubscribers})
	}
	c.send(&codec.Pubrel{PacketID: 1})
	c.expect(&codec.Pubcomp{PacketID: 1})
	c.send(&codec.Publish{Topic: "a", QoS: 2, PacketID: 3})
	c.expect(&codec.Pubrec{PacketID: 3, Reason: codec.NoMatchingSubscribers})
	c.send(&codec.Publish{Topic: "a", QoS: 2, PacketID: 4})
	c.closed(codec.ReceiveMaximumExceeded) // [MQTT-3.3.4-7]
}

func TestMaxConnections(t *testing.T) {
	srv := newMem(t, broker.Config{MaxConnections: 1, ServerReference: "other.example:1883"})
	connect(t, srv, codec.V5, &codec.Connect{ClientID: "a"})
	c := newClient(t, srv.Mem(), codec.V5)
	c.send(&codec.Connect{ClientID: "b"})
	k := c.recv().(*codec.Connack)
	if k.Reason != codec.UseAnotherServer || k.Props.Text(codec.PropServerReference) != "other.example:1883" {
		t.Errorf("refused with %v, %q", k.Reason, k.Props.Text(codec.PropServerReference))
	}
	c.closed()
	c = newClient(t, srv.Mem(), codec.V4)
	c.send(&codec.Connect{ClientID: "b"})
	c.expect(&codec.Connack{Reason: codec.ReturnServerUnavailable})
	c.closed()
}

func TestTakeover(t *testing.T) {
	each(t, func(t *testing.T, v codec.Version) {
		srv := newServer(t, broker.Config{})
		old := dial(t, srv.URL, v)
		old.send(&codec.Connect{ClientID: "c", CleanStart: true})
		old.connack()
		c := dial(t, srv.URL, v)
		c.send(&codec.Connect{ClientID: "c", CleanStart: true})
		if c.connack().SessionPresent {
			t.Error("a clean session is present")
		}
		if v == codec.V5 { // [MQTT-3.1.4-3]
			old.closed(codec.SessionTakenOver)
		} else { // [MQTT-3.1.4-2]
			old.closed()
		}
		c.fence()
	})
}

func TestPipelinedBeforeConnack(t *testing.T) {
	srv := newMem(t, broker.Config{})
	c := newClient(t, srv.Mem(), codec.V4)
	c.send(
		&codec.Connect{ClientID: "c", CleanStart: true},
		&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "a", QoS: 1}}},
		&codec.Publish{Topic: "a", QoS: 1, PacketID: 2, Payload: []byte("x")},
		&codec.Pingreq{},
	)
	c.expect(&codec.Connack{}, &codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{1}},
		&codec.Publish{Topic: "a", QoS: 1, PacketID: 1, Payload: []byte("x")},
		&codec.Puback{PacketID: 2}, &codec.Pingresp{})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{})
		watch, _ := connect(t, srv, codec.V4, &codec.Connect{ClientID: "w", CleanStart: true})
		watch.wait = time.Hour
		watch.subscribe("will", 0)
		c, _ := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c", KeepAlive: 10, HasWill: true, Will: codec.Will{Topic: "will", Payload: []byte("gone")}})
		c.wait = time.Hour
		advance(14 * time.Second)
		c.fence()
		start := time.Now()
		c.closed(codec.KeepAliveTimeout) // [MQTT-3.1.2-22]
		if d := time.Since(start).Round(time.Millisecond); d != 15*time.Second {
			t.Errorf("closed after %v of silence, want 15s", d)
		}
		watch.expect(&codec.Publish{Topic: "will", Payload: []byte("gone")})
	})
}

func TestServerKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{ServerKeepAlive: 4 * time.Second})
		c, k := connect(t, srv, codec.V5, &codec.Connect{ClientID: "c", KeepAlive: 100})
		if got := k.Props.Uint(codec.PropServerKeepAlive, 0); got != 4 {
			t.Errorf("Server Keep Alive %d, want 4", got)
		}
		c.wait = time.Hour
		start := time.Now()
		c.closed(codec.KeepAliveTimeout)
		if d := time.Since(start).Round(time.Millisecond); d != 6*time.Second {
			t.Errorf("closed after %v, want 6s", d)
		}
	})
}

func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := newMem(t, broker.Config{})
		c := newClient(t, srv.Mem(), codec.V4)
		c.wait = time.Hour
		c.raw([]byte{0x10, 0x0C, 0x00}) // half a CONNECT
		start := time.Now()
		c.closed()
		if d := time.Since(start).Round(time.Millisecond); d != 5*time.Second {
			t.Errorf("closed after %v, want 5s", d)
		}
	})
}
