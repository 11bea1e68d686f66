package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

var webSocketChecks = []Check{{
	Name:     "websocket/text-frame-refused",
	Rules:    []string{"MQTT-6.0.0-1"},
	Breaks:   []string{"MQTT-6.0.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapWebSocket,
	Run: func(t *T) {
		// CONNECT and PUBLISH are plain ASCII, so that nothing but the type of the frame is wrong.
		first, w := t.OpenWS()
		w.writeFrame(transport.OpText, true, t.Encode(t.ConnectPacket()))
		later, watcher, topic := t.connectWS(), t.Connect(), t.Topic("a")
		watcher.Subscribe(0, topic)
		later.Note("PUBLISH in a text frame")
		later.ws.writeFrame(transport.OpText, true, t.Encode(&codec.Publish{Topic: topic, Payload: []byte("text")}))
		ping := t.connectWS()
		ping.Note("PINGREQ in a text frame")
		ping.ws.writeFrame(transport.OpText, true, t.Encode(&codec.Pingreq{}))
		t.Judge().RefusesConnect(first)
		for i, r := range t.reactions(later.Conn, ping.Conn) {
			what := []string{"PUBLISH", "PINGREQ"}[i]
			t.Judge().That(r.ended, what+" in a text frame: the connection ends and nothing answers", r.actual)
		}
		other := t.Connect()
		t.Judge().Silent(watcher, "message out of a text frame", withPayload(topic, "text"), func() { t.Fence(other, watcher, topic, 0) })
	},
}, {
	Name:     "websocket/binary-frames-of-the-server",
	Rules:    []string{"MQTT-6.0.0-1"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapWebSocket,
	Run: func(t *T) {
		c, topic := t.connectWS(), t.Topic("a")
		c.Subscribe(t.atMost(1), topic)
		c.Publish(topic, t.atMost(1), "over WebSocket")
		t.Fence(c.Conn, c.Conn, topic, t.atMost(1))
		c.Ping()
		for _, f := range c.ws.messages() {
			t.Judge().Thatf(f.Opcode == transport.OpBinary, "a binary frame", "opcode %d with % X", f.Opcode, f.Payload[:min(len(f.Payload), 16)])
		}
	},
}, {
	Name:     "websocket/packets-and-frames-are-independent",
	Rules:    []string{"MQTT-6.0.0-2"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapWebSocket,
	Run: func(t *T) {
		bytewise, w := t.OpenWS()
		bytewise.Note("CONNECT in frames of one byte")
		for _, b := range t.Encode(t.ConnectPacket()) {
			w.writeFrame(transport.OpBinary, true, []byte{b})
		}
		accepts(t, bytewise)

		fragments, w := t.OpenWS()
		fragments.Note("CONNECT in one message of three frames")
		raw := t.Encode(t.ConnectPacket())
		w.writeFrame(transport.OpBinary, false, raw[:1])
		w.writeFrame(transport.OpContinuation, false, raw[1:5])
		w.writeFrame(transport.OpContinuation, true, raw[5:])
		accepts(t, fragments)

		topic := t.Topic("a")
		sub := t.Encode(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic}}})
		pub := t.Encode(&codec.Publish{Topic: topic, Payload: []byte("joined")})
		ping := t.Encode(&codec.Pingreq{})

		joined := t.connectWS()
		joined.Note("SUBSCRIBE, PUBLISH and PINGREQ in one frame")
		joined.ws.writeFrame(transport.OpBinary, true, slices.Concat(sub, pub, ping))
		t.Judge().Answer(joined.Conn, "SUBACK", ofType(codec.TypeSuback))
		t.Judge().Answer(joined.Conn, "PINGRESP", ofType(codec.TypePingresp))

		across := t.connectWS()
		across.Note("a frame with the end of SUBSCRIBE and the start of PINGREQ")
		across.ws.writeFrame(transport.OpBinary, true, sub[:4])
		across.ws.writeFrame(transport.OpBinary, true, append(bytes.Clone(sub[4:]), ping[0]))
		across.ws.writeFrame(transport.OpBinary, true, ping[1:])
		t.Judge().Answer(across.Conn, "SUBACK", ofType(codec.TypeSuback))
		t.Judge().Answer(across.Conn, "PINGRESP", ofType(codec.TypePingresp))
	},
}, {
	Name:     "websocket/subprotocol-is-mqtt",
	Rules:    []string{"MQTT-6.0.0-4"},
	Versions: MQTT311 | MQTT5,
	Needs:    CapWebSocket,
	Run: func(t *T) {
		offers := [][]string{{transport.Subprotocol}}
		// Under 5.0 only an offer of mqtt alone leaves no choice.
		if !t.V5() {
			offers = append(offers, []string{"foo", transport.Subprotocol})
		}
		for _, offered := range offers {
			_, w := t.OpenWS(offered...)
			selected := w.Header().Values("Sec-WebSocket-Protocol")
			t.Judge().Thatf(slices.Equal(selected, []string{transport.Subprotocol}),
				fmt.Sprintf("Sec-WebSocket-Protocol: mqtt where %q was offered", offered), "%q", selected)
		}
	},
}}

// wsConn is a scripted connection over WebSocket.
type wsConn struct {
	*Conn
	ws *wsStream
}

// OpenWS opens a WebSocket connection that offers the subprotocols, mqtt where none is named.
// A target that does not answer there, or refuses the upgrade, makes the check inconclusive.
func (t *T) OpenWS(offered ...string) (*Conn, *wsStream) {
	ctx, cancel := context.WithTimeout(t.ctx, t.Timeout())
	defer cancel()
	var nc *transport.WSConn
	var err error
	if dial := t.run.cfg.DialWS; dial != nil && len(offered) == 0 {
		nc, err = dial(ctx)
	} else {
		// What the server selects is for the check to judge.
		d := &transport.Dialer{TLS: t.run.cfg.TLS, Timeout: t.Timeout(), AnySubprotocol: true, Subprotocols: offered}
		nc, err = d.DialWS(ctx, t.run.cfg.WSTarget)
	}
	if err != nil {
		t.Inconclusive("cannot connect over WebSocket: %v", err)
	}
	w := &wsStream{WSConn: nc}
	return t.Adopt(w, true), w
}

// connectWS opens a WebSocket connection and completes CONNECT.
func (t *T) connectWS() *wsConn {
	c, w := t.OpenWS()
	if ack := c.Connect(t.ConnectPacket()); ack.Reason != codec.Success {
		t.Inconclusive("%s: CONNECT was refused: %s", c.Name(), codec.Describe(ack, t.Version()))
	}
	return &wsConn{c, w}
}

// accepts judges that a CONNECT in unusual frames is taken like any other.
func accepts(t *T, c *Conn) {
	e := t.Judge().Answer(c, "CONNACK", ofType(codec.TypeConnack))
	ack := e.Packet.(*codec.Connack)
	if ack.Reason != codec.Success && t.policyRefusal(ack.Reason) {
		t.Inconclusive("%s: CONNECT was refused: %s", c.Name(), codec.Describe(ack, t.Version()))
	}
	t.Judge().That(ack.Reason == codec.Success, "CONNACK with code 0", codec.Describe(ack, t.Version()))
}

// wsStream makes a byte stream of the data frames that arrive, whatever their type, and keeps them.
type wsStream struct {
	*transport.WSConn

	rest []byte // of the last frame; for the reader alone

	mu   sync.Mutex // guards data
	data []transport.Frame
}

// Read returns the payload of data frames. Pings are answered; a close frame is the end.
func (w *wsStream) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		f, err := w.ReadFrame()
		if err != nil {
			return 0, err
		}
		switch f.Opcode {
		case transport.OpPing:
			_ = w.WriteFrame(transport.Frame{Opcode: transport.OpPong, Fin: true, Masked: true, Payload: f.Payload})
		case transport.OpPong:
		case transport.OpClose:
			return 0, io.EOF
		default:
			w.mu.Lock()
			w.data = append(w.data, f)
			w.mu.Unlock()
			w.rest = f.Payload
		}
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

// Write sends one binary frame.
func (w *wsStream) Write(p []byte) (int, error) {
	if err := w.WriteFrame(transport.Frame{Opcode: transport.OpBinary, Fin: true, Masked: true, Payload: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeFrame sends one frame of any kind. That the other end has gone shows when its answer is
// waited for.
func (w *wsStream) writeFrame(op transport.Opcode, fin bool, payload []byte) {
	_ = w.WriteFrame(transport.Frame{Opcode: op, Fin: fin, Masked: true, Payload: payload})
}

// messages returns the first frame of each data message that has arrived.
func (w *wsStream) messages() []transport.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.data), func(f transport.Frame) bool { return f.Opcode == transport.OpContinuation })
}

// Close ends the connection without a closing handshake, which nothing here waits for.
func (w *wsStream) Close() error { return w.NetConn().Close() }
