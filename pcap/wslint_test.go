package pcap_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/pcap"
)

// lintOf returns the findings of a capture, each in few words.
func lintOf(t *testing.T, capture []byte) []string {
	t.Helper()
	var out []string
	l := &pcap.Lint{Found: func(f *pcap.Finding) error {
		out = append(out, fmt.Sprintf("%s %s %s %s frame %d: %s", f.Grade, f.Rule, f.Version, f.By, f.Frame, f.Actual))
		return nil
	}}
	d := pcap.NewDissector(pcap.Config{Packet: l.Packet, Gap: l.Gap, End: l.End})
	if err := errors.Join(d.Read(bytes.NewReader(capture)), d.Close()); err != nil {
		t.Fatal(err)
	}
	if fails, warns := l.Counts(); fails+warns != len(out) {
		t.Errorf("%d failures and %d warnings are counted of %d", fails, warns, len(out))
	}
	return out
}

func TestWebSocketLint(t *testing.T) {
	request := func(offer string) []byte {
		if offer != "" {
			offer = "Sec-WebSocket-Protocol: " + offer + "\r\n"
		}
		return []byte("GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + offer + "\r\n")
	}
	response := func(selected string) []byte {
		if selected != "" {
			selected = "sec-websocket-protocol:" + selected + "\r\n"
		}
		return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n" + selected + "\r\n")
	}
	connect := encode(t, codec.V4, &codec.Connect{ClientID: "web", CleanStart: true})
	connect5 := encode(t, codec.V5, &codec.Connect{ClientID: "web", CleanStart: true})
	connect3 := encode(t, codec.V31, &codec.Connect{ClientID: "web", CleanStart: true})
	connack := encode(t, codec.V4, &codec.Connack{})
	refuse := encode(t, codec.V4, &codec.Connack{Reason: codec.ReturnNotAuthorized})
	ping, pong := []byte{0xC0, 0}, []byte{0xD0, 0}
	type frame struct {
		dir  int
		head byte
		mask bool
		data []byte
	}
	good := []frame{{0, 0x82, true, connect}, {1, 0x82, false, connack}, {0, 0x82, true, ping}, {1, 0x82, false, pong}}
	for _, tt := range []struct {
		name                string
		offered, selected   string
		frames              []frame
		lost                int // index of the frame that was not captured, from 1
		want                []string
		withoutTheBeginning bool
	}{
		{name: "all is well", offered: "mqtt", selected: "mqtt", frames: good},
		{name: "other capitals", offered: "MQTT", selected: "MQTT", frames: good},
		{name: "several names, the older one taken", offered: "mqttv3.1, mqtt", selected: "mqttv3.1", frames: good},
		{
			name: "no subprotocol offered", selected: "", frames: good,
			want: []string{"fail MQTT-6.0.0-3 3.1.1 client frame 3: it offers none"},
		},
		{
			name: "other subprotocols offered", offered: "chat, mqttv3.1", selected: "chat", frames: good,
			want: []string{"fail MQTT-6.0.0-3 3.1.1 client frame 3: it offers chat, mqttv3.1"},
		},
		{
			name: "a client of 3.1 is bound by none of it", offered: "mqttv3.1", selected: "mqttv3.1",
			frames: append([]frame{{0, 0x82, true, connect3}}, good[1:]...),
		},
		{
			name: "none selected", offered: "mqtt", selected: "", frames: good,
			want: []string{"fail MQTT-6.0.0-4 3.1.1 server frame 4: it selects none"},
		},
		{
			name: "another one selected", offered: "mqtt", selected: "chat", frames: append([]frame{{0, 0x82, true, connect5}}, frame{1, 0x82, false, encode(t, codec.V5, &codec.Connack{})}),
			want: []string{"fail MQTT-6.0.0-4 5.0 server frame 4: it selects chat"},
		},
		{
			name: "CONNECT in a text frame, accepted", offered: "mqtt", selected: "mqtt",
			frames: append([]frame{{0, 0x81, true, connect}}, good[1:]...),
			want: []string{
				"fail MQTT-6.0.0-1 3.1.1 client frame 5: a text frame",
				"fail MQTT-6.0.0-1 3.1.1 server frame 6: it accepts a CONNECT that came in one",
			},
		},
		{
			name: "CONNECT in two frames of a text message, refused", offered: "mqtt", selected: "mqtt",
			frames: []frame{{0, 0x01, true, connect[:5]}, {0, 0x80, true, connect[5:]}, {1, 0x82, false, refuse}},
			want:   []string{"fail MQTT-6.0.0-1 3.1.1 client frame 5: a text frame"},
		},
		{
			name: "text from the server, and nothing of MQTT in it", offered: "mqtt", selected: "mqtt",
			frames: append(good[:2:2], frame{1, 0x81, false, nil}),
			want:   []string{"fail MQTT-6.0.0-1 3.1.1 server frame 7: a text frame"},
		},
		{
			name: "a client that does not mask, a server that does", offered: "mqtt", selected: "mqtt",
			frames: append(good[:2:2], frame{0, 0x82, false, ping}, frame{1, 0x82, true, pong}),
			want: []string{
				"warn RFC6455-5.1 3.1.1 client frame 7: a frame without a mask",
				"warn RFC6455-5.1 3.1.1 server frame 8: a frame with a mask",
			},
		},
		{
			name: "behind a hole nothing is sure", offered: "mqtt", selected: "mqtt", lost: 3,
			frames: append(good[:4:4], frame{0, 0x81, false, ping}),
		},
		{name: "no MQTT in it", offered: "chat", selected: "chat", frames: []frame{{0, 0x81, true, []byte("hello, world")}, {1, 0x81, false, []byte("hello")}}},
		{
			name: "a late beginning", withoutTheBeginning: true,
			frames: append(good[2:4:4], frame{0, 0x82, true, connect}, frame{0, 0x81, false, ping}),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newTalk()
			if tt.withoutTheBeginning {
				k = &talk{tape: newTape(), seq: [2]uint32{500, 900}}
			} else {
				k.say(0, request(tt.offered))
				k.say(1, response(tt.selected))
			}
			for i, f := range tt.frames {
				b := wsFrame(f.head, f.mask, f.data)
				if i+1 == tt.lost {
					k.say(f.dir, b, true)
				} else {
					k.say(f.dir, b)
				}
			}
			for range 30 { // so that a hole is given up
				k.add(seg{dir: 0, seq: k.seq[0], ack: k.seq[1], flags: ack})
				k.add(seg{dir: 1, seq: k.seq[1], ack: k.seq[0], flags: ack})
			}
			if diff := cmp.Diff(tt.want, lintOf(t, k.buf.Bytes())); diff != "" {
				t.Error(diff)
			}
			compareLines(t, tt.name, k.buf.Bytes(), func() pcap.Config { return pcap.Config{} })
		})
	}
}
