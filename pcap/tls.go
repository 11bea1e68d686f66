package pcap

import (
	"encoding/binary"

	"github.com/mqlab/mqlab/codec"
)

const (
	recordCipherSpec = 20
	recordAlert      = 21
	recordHandshake  = 22
	recordData       = 23

	helloClient   = 1
	helloServer   = 2
	finished      = 20
	keyUpdate     = 24
	maxTLSRecord  = 1<<14 + 2048
	maxHandshake  = 64 << 10
	maxSkipped    = 4096 // records that may be missing before one that decrypts
	versionTLS12  = 0x0303
	versionTLS13  = 0x0304
	extVersions   = 43
	retryRandom   = "\xCF\x21\xAD\x74\xE5\x9A\x61\x11\xBE\x1D\x8C\x02\x1E\x65\xB8\x91\xC2\xA2\x11\x16\x7A\xBB\x8C\x5E\x07\x9E\x09\xE2\xC8\xA8\x33\x9C"
	headTLSRecord = 5
)

// tlsConn follows the handshake of a TLS connection and decrypts what comes after.
type tlsConn struct {
	half         [2]tlsHalf
	clientRandom [32]byte
	serverRandom [32]byte
	hello        bool // ClientHello has been seen
	client       int  // the direction of the client
	version      int  // 0 until ServerHello
	suite        *suite
	keys         secrets
	found        bool
}

// tlsHalf is one direction.
type tlsHalf struct {
	buf       []byte // of a record that is not complete
	skip      int    // bytes to come of a record that is not read
	lost      bool   // where the next record begins is not known
	gap       bool   // records may be missing
	encrypted bool   // TLS 1.2: after ChangeCipherSpec
	crypt     *crypter
	hidden    bool // TLS 1.3: the keys are those of application data
	handshake []byte
	plain     []byte
}

// decideTLS takes a connection that begins with a handshake for TLS.
func (d *Dissector) decideTLS(c *conn) error {
	d.sum.TLS++
	pr := d.release(c)
	if d.cfg.Keys == nil {
		c.kind = kindOther
		return nil
	}
	c.tls = new(tlsConn)
	for _, p := range pr.pieces {
		var err error
		if p.missing != 0 {
			err = d.hole(c, p.dir, p.missing, p.frame, p.nanos)
		} else {
			err = d.bytes(c, p.dir, p.data, p.frame, p.nanos)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// giveUpTLS makes the connection one that is of no interest: there are no keys.
func (d *Dissector) giveUpTLS(c *conn) {
	c.kind = kindOther
	d.release(c)
	for dir := range c.tls.half {
		c.tls.half[dir] = tlsHalf{lost: true}
	}
}

func (d *Dissector) tlsBytes(c *conn, dir int, b []byte, frame int, nanos int64) error {
	h := &c.tls.half[dir]
	if c.kind == kindOther {
		return nil
	}
	if h.lost {
		if !recordPlausible(b) {
			return nil
		}
		h.lost = false
	}
	for len(b) > 0 && c.kind != kindOther {
		if h.skip > 0 {
			n := min(h.skip, len(b))
			h.skip -= n
			b = b[n:]
			continue
		}
		need := headTLSRecord
		if len(h.buf) >= headTLSRecord {
			need += int(binary.BigEndian.Uint16(h.buf[3:]))
		} else if len(h.buf) == 0 && len(b) >= headTLSRecord { // whole records need no copy
			n := headTLSRecord + int(binary.BigEndian.Uint16(b[3:]))
			if n > maxTLSRecord+headTLSRecord || b[0] < recordCipherSpec || b[0] > recordData+1 {
				h.lost = true
				return d.appHole(c, dir, -1, frame, nanos)
			}
			if n <= len(b) {
				if err := d.record(c, dir, b[:n], frame, nanos); err != nil {
					return err
				}
				b = b[n:]
				continue
			}
		}
		k := min(need-len(h.buf), len(b))
		h.buf = append(h.buf, b[:k]...)
		b = b[k:]
		if len(h.buf) < headTLSRecord {
			continue
		}
		n := headTLSRecord + int(binary.BigEndian.Uint16(h.buf[3:]))
		if n > maxTLSRecord+headTLSRecord {
			h.buf, h.lost = nil, true
			return d.appHole(c, dir, -1, frame, nanos)
		}
		if len(h.buf) == n {
			rec := h.buf
			if err := d.record(c, dir, rec, frame, nanos); err != nil {
				return err
			}
			if h.buf != nil {
				h.buf = h.buf[:0]
			}
		}
	}
	return nil
}

// recordPlausible reports whether a record may begin with b.
func recordPlausible(b []byte) bool {
	return len(b) >= headTLSRecord && b[0] >= recordCipherSpec && b[0] <= recordData && b[1] == 3 && b[2] <= 4 &&
		int(binary.BigEndian.Uint16(b[3:])) <= maxTLSRecord
}

func (d *Dissector) tlsHole(c *conn, dir, n, frame int, nanos int64) error {
	if c.kind == kindOther {
		return nil
	}
	h := &c.tls.half[dir]
	h.gap = true
	switch {
	case n >= 0 && h.skip >= n:
		h.skip -= n
	case n >= 0 && len(h.buf) >= headTLSRecord && headTLSRecord+int(binary.BigEndian.Uint16(h.buf[3:]))-len(h.buf) >= n:
		// The record is spoilt, and the next one begins where it says.
		h.skip = headTLSRecord + int(binary.BigEndian.Uint16(h.buf[3:])) - len(h.buf) - n
		h.buf = nil
	default:
		h.buf, h.skip, h.lost = nil, 0, true
	}
	return d.appHole(c, dir, -1, frame, nanos)
}

// record takes in one whole record.
func (d *Dissector) record(c *conn, dir int, rec []byte, frame int, nanos int64) error {
	t := c.tls
	h := &t.half[dir]
	kind, body := rec[0], rec[headTLSRecord:]
	if t.version == versionTLS13 && kind == recordData || h.encrypted {
		plain, inner, ok := d.open(c, dir, rec)
		if c.kind == kindOther {
			return nil
		}
		if !ok {
			if h.hidden || h.encrypted && kind == recordData {
				return d.appHole(c, dir, -1, frame, nanos)
			}
			return nil
		}
		kind, body = inner, plain
	}
	switch kind {
	case recordCipherSpec:
		if t.version != 0 && t.version != versionTLS13 {
			h.encrypted = true
		}
	case recordHandshake:
		h.handshake = append(h.handshake, body...)
		t.messages(dir)
	case recordData:
		if len(body) > 0 {
			return d.app(c, dir, body, frame, nanos)
		}
	}
	return nil
}

// messages reads the messages of the handshake that are complete.
func (t *tlsConn) messages(dir int) {
	h := &t.half[dir]
	for len(h.handshake) >= 4 {
		n := 4 + int(h.handshake[1])<<16 + int(binary.BigEndian.Uint16(h.handshake[2:]))
		if n > maxHandshake {
			h.handshake = nil
			return
		}
		if len(h.handshake) < n {
			return
		}
		body := h.handshake[4:n]
		switch h.handshake[0] {
		case helloClient:
			if len(body) >= 34 && !t.hello {
				t.hello, t.client = true, dir
				copy(t.clientRandom[:], body[2:34])
			}
		case helloServer:
			t.serverHello(body)
		case finished:
			if t.version == versionTLS13 && !h.hidden {
				h.hidden, h.crypt = true, nil
			}
		case keyUpdate:
			if h.crypt != nil && h.hidden {
				h.crypt = t.suite.update(h.crypt)
			}
		}
		h.handshake = h.handshake[n:]
	}
	if len(h.handshake) == 0 {
		h.handshake = nil
	}
}

func (t *tlsConn) serverHello(b []byte) {
	if len(b) < 35 || string(b[2:34]) == retryRandom {
		return
	}
	copy(t.serverRandom[:], b[2:34])
	t.version = int(binary.BigEndian.Uint16(b))
	b = b[34:]
	n := 1 + int(b[0]) // session
	if len(b) < n+3 {
		return
	}
	t.suite = suites[binary.BigEndian.Uint16(b[n:])]
	b = b[n+3:] // suite and compression
	if len(b) < 2 {
		return
	}
	for b = b[2:]; len(b) >= 4; {
		id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if b = b[4:]; n > len(b) {
			return
		}
		if id == extVersions && n == 2 {
			t.version = int(binary.BigEndian.Uint16(b))
		}
		b = b[n:]
	}
}

// open decrypts a record and returns what is in it and its kind.
func (d *Dissector) open(c *conn, dir int, rec []byte) (plain []byte, kind byte, ok bool) {
	t := c.tls
	h := &t.half[dir]
	if !t.found {
		if t.keys, t.found = d.cfg.Keys.find(t.clientRandom); t.found && t.suite != nil {
			d.sum.Decrypted++
		}
	}
	if !t.found || t.suite == nil {
		d.giveUpTLS(c)
		return nil, 0, false
	}
	if h.crypt == nil && !t.newCrypter(dir) {
		d.giveUpTLS(c)
		return nil, 0, false
	}
	try := func(cr *crypter) bool {
		last := cr.seq
		if h.gap {
			last += maxSkipped
		}
		for seq := cr.seq; seq <= last; seq++ {
			var good bool
			if plain, kind, good = cr.open(h.plain[:0], rec, seq); good {
				h.plain = plain
				cr.seq, h.gap = seq+1, false
				return true
			}
		}
		return false
	}
	if try(h.crypt) {
		return plain, kind, true
	}
	if t.version == versionTLS13 && !h.hidden {
		// The end of the handshake was not seen, or this is early data that nobody can read.
		if app := t.crypter(dir, true); app != nil && try(app) {
			h.hidden, h.crypt = true, app
			return plain, kind, true
		}
	}
	h.gap = true // what cannot be read does not count, or does
	return nil, 0, false
}

// newCrypter makes the keys that a direction needs now.
func (t *tlsConn) newCrypter(dir int) bool {
	h := &t.half[dir]
	h.crypt = t.crypter(dir, h.hidden)
	if h.crypt == nil && t.version == versionTLS13 && !h.hidden {
		// A log without the secrets of the handshake: the application's are tried from the first record on.
		h.hidden, h.gap = true, true
		h.crypt = t.crypter(dir, true)
	}
	return h.crypt != nil
}

func (t *tlsConn) crypter(dir int, app bool) *crypter {
	side := codec.Client
	if dir != t.client {
		side = codec.Server
	}
	if t.version != versionTLS13 {
		return t.suite.derive12(t.keys[labelMaster], t.clientRandom[:], t.serverRandom[:], side)
	}
	label := labelClientHandshake
	if side == codec.Server {
		label = labelServerHandshake
	}
	if app {
		label += labelClientTraffic - labelClientHandshake
	}
	return t.suite.derive13(t.keys[label])
}
