package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/pcapng"
)

// demoCapture is the capture that the manual and the scripts show: a sensor, a dashboard, and a client
// that breaks a rule.
func demoCapture(t *testing.T) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := pcapng.NewWriter(&file, pcapng.RawIP, "")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	wait := func(d time.Duration) time.Time {
		at = at.Add(d)
		return at
	}
	server := netip.MustParseAddrPort("192.0.2.1:1883")
	open := func(addr string) *pcapng.Stream {
		s, err := w.Stream(wait(time.Second), netip.MustParseAddrPort(addr), server)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	say := func(s *pcapng.Stream, v codec.Version, fromServer bool, after time.Duration, packets ...codec.Packet) {
		var b []byte
		for _, p := range packets {
			if b, err = p.AppendTo(b, v); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Data(wait(after), fromServer, b, ""); err != nil {
			t.Fatal(err)
		}
	}
	const ms = time.Millisecond

	dash := open("192.0.2.20:50020")
	connect := &codec.Connect{ClientID: "dashboard", CleanStart: true, KeepAlive: 30, HasUsername: true, Username: "ops", HasPassword: true, Password: []byte("secret")}
	connect.Props.SetUint(codec.PropReceiveMaximum, 10)
	say(dash, codec.V5, false, ms, connect)
	connack := &codec.Connack{}
	connack.Props.SetUint(codec.PropTopicAliasMaximum, 8)
	say(dash, codec.V5, true, ms, connack)
	say(dash, codec.V5, false, ms, &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: "site/+/temperature", QoS: 1}}})
	say(dash, codec.V5, true, 2*ms, &codec.Suback{PacketID: 1, Reasons: []codec.ReasonCode{codec.GrantedQoS1}})

	sensor := open("192.0.2.10:50010")
	say(sensor, codec.V4, false, ms, &codec.Connect{
		ClientID: "sensor-7", CleanStart: true, KeepAlive: 60,
		HasWill: true, Will: codec.Will{Topic: "site/7/state", Payload: []byte("gone"), QoS: 1, Retain: true},
	})
	say(sensor, codec.V4, true, ms, &codec.Connack{})
	for i, text := range []string{`{"celsius":21.5}`, `{"celsius":21.7}`} {
		id := uint16(i + 1)
		say(sensor, codec.V4, false, 500*ms, &codec.Publish{Topic: "site/7/temperature", Payload: []byte(text), QoS: 1, PacketID: id})
		say(sensor, codec.V4, true, 3*ms, &codec.Puback{PacketID: id})
		say(dash, codec.V5, true, ms, &codec.Publish{Topic: "site/7/temperature", Payload: []byte(text), QoS: 1, PacketID: id})
		say(dash, codec.V5, false, 2*ms, &codec.Puback{PacketID: id})
	}
	bad := open("192.0.2.66:50066")
	say(bad, codec.V4, false, ms, &codec.Connect{ClientID: "broken", CleanStart: true, KeepAlive: 60})
	say(bad, codec.V4, true, ms, &codec.Connack{})
	if err := bad.Data(wait(ms), false, []byte{0x36, 6, 0, 1, 'a', 0, 1, 'x'}, ""); err != nil {
		t.Fatal(err)
	}
	if err := bad.Close(wait(ms), true); err != nil {
		t.Fatal(err)
	}
	say(sensor, codec.V4, false, ms, &codec.Disconnect{})
	if err := sensor.Close(wait(ms), false); err != nil {
		t.Fatal(err)
	}
	say(dash, codec.V5, true, ms, &codec.Disconnect{Reason: codec.ServerShuttingDown})
	if err := dash.Close(wait(ms), true); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// The second file is the first one without its end, in the middle of a frame.
func TestDemoCapture(t *testing.T) {
	whole := demoCapture(t)
	for base, want := range map[string][]byte{"demo.pcapng": whole, "cut.pcapng": whole[:1700]} {
		name := filepath.Join("testdata", "captures", base)
		if *update {
			if err := os.WriteFile(name, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what this test makes; -update rewrites it", name)
		}
	}
}
