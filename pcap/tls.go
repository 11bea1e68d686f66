package pcap

import (
	"encoding/binary"
	"iter"

	"github.com/mqlab/mqlab/codec"
)

const (
	recordCipherSpec = 20
	recordAlert      = 21
	recordHandshake  = 22
	recordData       = 23

	helloClient   = 1
	helloServer   = 2
	earlyEnd      = 5
	extensions    = 8 // EncryptedExtensions
	finished      = 20
	keyUpdate     = 24
	maxTLSRecord  = 1<<14 + 2048
	maxHandshake  = 64 << 10
	maxSkipped    = 4096 // records that may be missing before one that decrypts
	maxEarlyData  = 64 << 10
	versionTLS10  = 0x0301
	versionTLS12  = 0x0303
	versionTLS13  = 0x0304
	extETM        = 22
	extEarlyData  = 42
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
	suiteID      uint16
	suite        *suite
	etm          bool // encrypt, then authenticate
	keys         secrets
	found        bool
	counted      bool
	early        earlyData
	sealed       bool // records in front of ServerHello could not be read
}

// tlsHalf is one direction.
type tlsHalf struct {
	buf       []byte // of a record that is not complete
	skip      int    // bytes to come of a record that is not read
	lost      bool   // where the next record begins is not known
	gap       bool   // records may be missing
	encrypted bool   // TLS 1.2: after ChangeCipherSpec
	crypt     *crypter
	failed    int  // records in a row that could not be read
	hidden    bool // TLS 1.3: the keys are those of application data
	handshake []byte
	plain     []byte
}

// decideTLS takes a connection that begins with a handshake for TLS.
func (d *Dissector) decideTLS(c *conn) error {
	d.sum.TLS++
	pr := d.release(c)
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

// giveUpTLS makes the connection one that is of no interest, and says why.
func (d *Dissector) giveUpTLS(c *conn, why string) error {
	c.kind = kindOther
	d.release(c)
	t := c.tls
	c.tls, c.Transport = nil, "tls"
	if d.cfg.Unread == nil {
		return nil
	}
	if c.side[0] == codec.Either {
		c.guessSide()
	}
	return d.cfg.Unread(&Unread{Stream: &c.Stream, Version: versionName(t.version), Suite: suiteName(t.suiteID, t.version), Why: why})
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
	if kind == recordData && t.version == 0 && !t.hello {
		return d.giveUpTLS(c, "its handshake was not captured")
	}
	if kind == recordData && t.hello && dir == t.client && t.early.offered && !t.early.over {
		if done, err := d.earlyRecord(c, rec, frame, nanos); done || err != nil {
			return err
		}
	}
	if t.version == 0 && kind == recordData {
		if dir != t.client {
			return d.giveUpTLS(c, "its ServerHello was not captured")
		}
		t.sealed = true
		return nil
	}
	if kind == recordData || h.encrypted {
		plain, inner, ok, err := d.open(c, dir, rec)
		if err != nil || c.kind == kindOther {
			return err
		}
		if !ok {
			if h.hidden || t.version != versionTLS13 && kind == recordData {
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
		return d.acceptEarly(c, frame, nanos)
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
				t.early.offered = offersEarly(body)
			}
		case helloServer:
			t.serverHello(body)
		case extensions:
			if dir != t.client && t.version == versionTLS13 {
				t.early.decide(body)
			}
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
	if len(b) < 35 {
		return
	}
	if string(b[2:34]) == retryRandom { // the client begins again, without early data
		t.early = earlyData{over: true}
		return
	}
	copy(t.serverRandom[:], b[2:34])
	t.version = int(binary.BigEndian.Uint16(b))
	b = b[34:]
	n := 1 + int(b[0]) // session
	if len(b) < n+3 {
		return
	}
	t.suiteID = binary.BigEndian.Uint16(b[n:])
	t.suite = suites[t.suiteID]
	for id, value := range extensionsOf(b[n+3:]) { // behind suite and compression
		switch {
		case id == extVersions && len(value) == 2:
			t.version = int(binary.BigEndian.Uint16(value))
		case id == extETM:
			t.etm = true
		}
	}
	if t.version != versionTLS13 {
		t.early = earlyData{over: true}
	}
}

// extensionsOf goes through a list of extensions with its length in front.
func extensionsOf(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		if len(b) < 2 {
			return
		}
		for b := b[2:]; len(b) >= 4; {
			id, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
			if b = b[4:]; n > len(b) || !yield(id, b[:n]) {
				return
			}
			b = b[n:]
		}
	}
}

// open decrypts a record and returns what is in it and its kind.
func (d *Dissector) open(c *conn, dir int, rec []byte) (plain []byte, kind byte, ok bool, err error) {
	t := c.tls
	h := &t.half[dir]
	if why := d.secrets(t); why != "" {
		return nil, 0, false, d.giveUpTLS(c, why)
	}
	if h.crypt == nil && !t.newCrypter(dir) {
		return nil, 0, false, d.giveUpTLS(c, "the key log lacks one of its secrets")
	}
	try := func(cr *crypter) bool {
		last := cr.seq
		if h.gap { // what fails again and again is searched for less and less
			last += maxSkipped >> min(2*h.failed, 9)
		}
		for seq := cr.seq; seq <= last; seq++ {
			var good bool
			if plain, kind, good = cr.open(h.plain[:0], rec, seq); good {
				h.plain = plain
				cr.seq, h.gap, h.failed = seq+1, false, 0
				return true
			}
		}
		return false
	}
	if cbc := h.crypt.cbc; cbc != nil {
		defer cbc.passed(rec)
	}
	if try(h.crypt) {
		return plain, kind, true, nil
	}
	if t.version == versionTLS13 && !h.hidden {
		// The end of the handshake was not seen.
		if app := t.crypter(dir, true); app != nil && try(app) {
			h.hidden, h.crypt = true, app
			return plain, kind, true, nil
		}
	}
	h.gap = true // what cannot be read does not count, or does
	h.failed++
	return nil, 0, false, nil
}

// secrets finds those of the connection. It returns why it cannot be read, or nothing.
func (d *Dissector) secrets(t *tlsConn) string {
	if !t.hello {
		return "its ClientHello was not captured"
	}
	if !t.found {
		if d.cfg.Keys == nil || d.cfg.Keys.Sessions() == 0 {
			return "there are no secrets"
		}
		if t.keys, t.found = d.cfg.Keys.find(t.clientRandom); !t.found {
			return "the secrets are those of other connections"
		}
	}
	switch {
	case t.version < versionTLS10 || t.version > versionTLS13:
		return "this version is not read"
	case t.suite == nil || t.suite.v13 != (t.version == versionTLS13):
		return "this cipher suite is not read"
	}
	if !t.counted {
		t.counted = true
		d.sum.Decrypted++
	}
	return ""
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
		return t.suite.derive12(t.keys[labelMaster], t.clientRandom[:], t.serverRandom[:], side, t.version, t.etm)
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
