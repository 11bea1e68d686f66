package pcap

import (
	"bytes"
	"encoding/binary"

	"github.com/mqlab/mqlab/codec"
)

const (
	maxHTTPHead = 16 << 10
	opBinary    = 2
	opClose     = 8
)

// websocket takes the Control Packets out of the frames of a WebSocket connection.
type websocket struct {
	half [2]wsHalf
}

type wsHalf struct {
	http    bool   // the head of HTTP has not ended yet
	head    []byte // of HTTP, or of a frame, as far as it is there
	left    uint64 // payload bytes to come of the frame
	mask    [4]byte
	masked  bool
	at      int  // position in the mask
	data    bool // the frame carries data
	lost    bool // where the next frame begins is not known
	sure    bool // nothing is missing since the head of HTTP
	text    bool // the message is one of text
	packed  bool // the message is compressed
	scratch []byte
}

// decideHTTP takes a connection that begins with HTTP for one that becomes a WebSocket.
func (d *Dissector) decideHTTP(c *conn) error {
	c.ws = new(websocket)
	for dir := range c.ws.half {
		c.ws.half[dir].http = true
	}
	c.Stream.ws = new(wsFacts)
	return d.decideFramed(c)
}

// decideWebSocket takes a connection for a WebSocket whose beginning was not seen.
func (d *Dissector) decideWebSocket(c *conn) error {
	c.ws = new(websocket)
	for dir := range c.ws.half {
		c.ws.half[dir].lost = true
	}
	return d.decideFramed(c)
}

func (d *Dissector) decideFramed(c *conn) error {
	pr := d.release(c)
	c.kind = kindWebSocket
	c.setTransport()
	if c.side[0] == codec.Either {
		c.guessSide()
	}
	c.Stream.Midstream = c.midstream
	for dir := range c.mqtt {
		c.mqtt[dir].lost = c.ws.half[dir].lost
	}
	return d.replay(c, pr.pieces)
}

// giveUpWebSocket makes the connection one that is of no interest.
func (d *Dissector) giveUpWebSocket(c *conn) {
	for dir := range c.mqtt {
		d.drop(&c.mqtt[dir])
	}
	c.kind, c.ws = kindOther, nil
}

func (d *Dissector) wsBytes(c *conn, dir int, b []byte, frame int, nanos int64) error {
	w := &c.ws.half[dir]
	if w.http {
		b = d.httpHead(c, dir, b, wsPlace{d.file, frame, nanos})
		if b == nil || c.kind != kindWebSocket {
			return nil
		}
	}
	if w.lost {
		if !wsHeadPlausible(b) {
			return nil
		}
		w.lost = false
	}
	for len(b) > 0 {
		if w.left == 0 {
			n := len(w.head)
			w.head = append(w.head, b[:min(14-n, len(b))]...)
			used, ok := w.begin()
			if !ok {
				return nil // b is used up: it ends inside the head
			}
			b = b[used-n:]
			if w.sure {
				w.text = w.head[0]&15 == 1 || w.text && w.head[0]&15 != opBinary
				c.Stream.ws.frame(c.side[dir], w.head[0]&15, w.masked, wsPlace{d.file, frame, nanos})
			}
			w.head = w.head[:0]
			if w.left > 1<<40 { // no frame: its place was lost
				w.left, w.lost, w.sure = 0, true, false
				return d.mqttHole(c, dir, -1, frame, nanos)
			}
			continue
		}
		k := int(min(w.left, uint64(len(b))))
		chunk := b[:k]
		b, w.left = b[k:], w.left-uint64(k)
		if !w.data {
			continue
		}
		if w.packed {
			if err := d.mqttHole(c, dir, -1, frame, nanos); err != nil {
				return err
			}
			continue
		}
		if w.masked {
			chunk = w.unmask(chunk)
		}
		if c.Packets == 0 && d.notMQTT(c, dir, chunk) {
			d.giveUpWebSocket(c)
			return nil
		}
		if c.Packets == 0 && w.sure && w.text && c.side[dir] == codec.Client {
			c.Stream.ws.textConnect = true
		}
		if err := d.feed(c, dir, chunk, frame, nanos); err != nil {
			return err
		}
	}
	return nil
}

// notMQTT reports whether the very first data of a WebSocket cannot be those of MQTT.
func (d *Dissector) notMQTT(c *conn, dir int, b []byte) bool {
	h := &c.mqtt[dir]
	if h.lost || h.size > 0 || len(h.buf) > 0 {
		return false
	}
	_, _, v := d.plausible(b)
	return v == no
}

func (w *wsHalf) unmask(b []byte) []byte {
	w.scratch = append(w.scratch[:0], b...)
	for i := range w.scratch {
		w.scratch[i] ^= w.mask[(w.at+i)&3]
	}
	w.at = (w.at + len(b)) & 3
	return w.scratch
}

// begin reads the head of a frame and returns its length, or false while it is not complete.
func (w *wsHalf) begin() (int, bool) {
	h := w.head
	if len(h) < 2 {
		return 0, false
	}
	n := 2
	size := uint64(h[1] & 0x7F)
	switch size {
	case 126:
		n = 4
	case 127:
		n = 10
	}
	masked := h[1]&0x80 != 0
	if masked {
		n += 4
	}
	if len(h) < n {
		return 0, false
	}
	switch size {
	case 126:
		size = uint64(binary.BigEndian.Uint16(h[2:]))
	case 127:
		size = binary.BigEndian.Uint64(h[2:])
	}
	if w.masked = masked; masked {
		copy(w.mask[:], h[n-4:n])
		w.at = 0
	}
	w.left = size
	op := h[0] & 15
	w.data = op < opClose
	if w.data && op != 0 {
		w.packed = h[0]&0x40 != 0
	}
	return n, true
}

func (d *Dissector) wsHole(c *conn, dir, n, frame int, nanos int64) error {
	w := &c.ws.half[dir]
	w.sure = false
	if w.http {
		d.giveUpWebSocket(c)
		return nil
	}
	if n >= 0 && w.left > 0 && uint64(n) <= w.left {
		w.left -= uint64(n)
		w.at = (w.at + n) & 3
		if !w.data {
			return nil
		}
		return d.mqttHole(c, dir, n, frame, nanos)
	}
	w.left, w.head, w.lost = 0, nil, true
	return d.mqttHole(c, dir, -1, frame, nanos)
}

// httpHead takes in the head of HTTP and returns what follows it, or nil.
func (d *Dissector) httpHead(c *conn, dir int, b []byte, at wsPlace) []byte {
	w := &c.ws.half[dir]
	n := len(w.head)
	w.head = append(w.head, b...)
	end := bytes.Index(w.head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(w.head) > maxHTTPHead {
			d.giveUpWebSocket(c)
		}
		return nil
	}
	head := bytes.ToLower(w.head[:end])
	request := bytes.HasPrefix(head, []byte("get "))
	if !request && !bytes.HasPrefix(head, []byte("http/1.1 101")) || !bytes.Contains(head, []byte("upgrade: websocket")) {
		d.giveUpWebSocket(c)
		return nil
	}
	if request {
		c.setSide(dir, codec.Client, true)
	} else {
		c.setSide(dir, codec.Server, true)
	}
	c.Stream.ws.head(request, w.head[:end], at)
	w.http, w.head, w.sure = false, nil, true
	d.countWebSocket(c)
	rest := b[end+4-n:]
	if len(rest) == 0 {
		return nil
	}
	return rest
}

// countWebSocket counts the stream once, when the first of its two heads is through.
func (d *Dissector) countWebSocket(c *conn) {
	if !c.counted {
		c.counted = true
		d.sum.MQTT++
	}
}

// wsHeadPlausible reports whether a data frame may begin with b.
func wsHeadPlausible(b []byte) bool {
	if len(b) < 2 || b[0]&0x70 != 0 {
		return false
	}
	switch b[0] & 15 {
	case opBinary, 0:
	case opClose, 9, 10:
		return b[0]&0x80 != 0 && b[1]&0x7F <= 125
	default:
		return false
	}
	switch size := b[1] & 0x7F; {
	case size == 126:
		return len(b) < 4 || binary.BigEndian.Uint16(b[2:]) > 125
	case size == 127:
		return len(b) < 10 || b[2] == 0 && binary.BigEndian.Uint64(b[2:]) > 65535
	}
	return true
}

// wsPlausible reports whether b begins with a binary frame that holds a Control Packet which leaves
// little doubt, for connections whose beginning was not seen.
func (d *Dissector) wsPlausible(b []byte) bool {
	if len(b) < 4 || b[0] != 0x80|opBinary || !wsHeadPlausible(b) {
		return false
	}
	w := wsHalf{head: b[:min(14, len(b))]}
	n, ok := w.begin()
	if !ok || w.left < 2 || uint64(len(b)-n) < w.left {
		return false
	}
	payload := b[n : n+int(w.left)]
	if w.masked {
		payload = w.unmask(payload)
	}
	size, points, v := d.plausible(payload)
	return v == yes && size == len(payload) && (points >= 2 || w.masked && b[1]&0x7F < 126)
}
