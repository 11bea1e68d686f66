package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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

// tsharkFields are the filter fields that tshark 4.0 has for MQTT, without mqtt. in front.
const tsharkFields = `
	auth.reason_code clientid clientid_len conack.flags conack.flags.reserved conack.flags.sp conack.val conflag.cleansess
	conflag.passwd conflag.qos conflag.reserved conflag.retain conflag.uname conflag.willflag conflags connack.reason_code
	disconnect.reason_code dupflag hdr_reserved hdrflags illegal_topic_length kalive len msg msg_decoded_as msg_text msgid
	msgtype passwd passwd_len prop_key prop_key_len prop_number prop_string prop_string_len prop_unknown prop_value
	prop_value_len properties property.content_type property.max_qos property.topic_alias property_id property_len proto_len
	protoname puback.reason_code pubcomp.reason_code pubrec.reason_code pubrel.reason_code qos retain retain_reserved sub.qos
	suback.qos suback.reason_code subscription_options subscription_options_nl subscription_options_qos subscription_options_rap
	subscription_options_reserved subscription_options_retain topic topic_len unknown_topic_alias unknown_version
	unsuback.reason_code username username_len ver will_properties willmsg willmsg_len willmsg_text willtopic willtopic_len
`

// The manual says for each of the fields where it is found here, and names nothing that is not written.
func TestManualMapsAllFields(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "pcap.md"))
	if err != nil {
		t.Fatal(err)
	}
	writer, err := os.ReadFile(filepath.Join("..", "..", "pcap", "json.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "| tshark 4.0 | here |")
	if !ok {
		t.Fatal("the manual has no table of fields")
	}
	for _, f := range strings.Fields(tsharkFields) {
		if !strings.Contains(table, "`mqtt."+f+"`") {
			t.Errorf("the manual does not say what stands for mqtt.%s", f)
		}
	}
	named := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for i, word := range strings.Split(cells[2], "`") {
			if i%2 == 0 || strings.HasPrefix(word, "--") || strings.HasPrefix(word, "pcap ") {
				continue
			}
			name := word[strings.LastIndexByte(word, '.')+1:]
			if name != "payload_hex" && !bytes.Contains(writer, []byte(`"`+name+`"`)) {
				t.Errorf("the manual names %s, which nothing writes", word)
			}
			named++
		}
	}
	if named < 40 {
		t.Errorf("the manual names %d fields", named)
	}
}
