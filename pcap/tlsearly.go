package pcap

import "encoding/binary"

// earlyData is what a client of TLS 1.3 sends before it has an answer. It counts only when the server takes
// it, which its EncryptedExtensions say: what it does not take the client sends again.
type earlyData struct {
	offered bool
	taken   bool
	over    bool // it has ended, or there is none
	missed  bool // some of it could not be read or kept
	crypt   *crypter
	held    []piece // until it is known whether it is taken
	size    int
}

// offersEarly reports whether a ClientHello announces early data.
func offersEarly(b []byte) bool {
	b = b[34:]
	for _, width := range []int{1, 2, 1} { // session, suites, compression
		if len(b) < width {
			return false
		}
		n := int(b[0])
		if width == 2 {
			n = int(binary.BigEndian.Uint16(b))
		}
		if len(b) < width+n {
			return false
		}
		b = b[width+n:]
	}
	for id := range extensionsOf(b) {
		if id == extEarlyData {
			return true
		}
	}
	return false
}

// decide reads EncryptedExtensions.
func (e *earlyData) decide(b []byte) {
	for id := range extensionsOf(b) {
		if id == extEarlyData {
			e.taken = e.offered
		}
	}
	if !e.taken {
		*e = earlyData{over: true}
	}
}

// earlyRecord takes in a record of early data. It is false where the record is none.
func (d *Dissector) earlyRecord(c *conn, rec []byte, frame int, nanos int64) (bool, error) {
	t := c.tls
	e := &t.early
	if d.cfg.Keys == nil {
		return false, nil
	}
	if !t.found {
		t.keys, t.found = d.cfg.Keys.find(t.clientRandom)
	}
	secret := t.keys[labelClientEarly]
	var plain []byte
	var kind byte
	ok := false
	if e.crypt != nil {
		plain, kind, ok = e.crypt.open(nil, rec, e.crypt.seq)
	} else {
		// The suite is that of the session before, which the capture need not show: there are few.
		for id := uint16(0x1301); id <= 0x1305 && !ok; id++ {
			if cr := suites[id].derive13(secret); cr != nil {
				if plain, kind, ok = cr.open(nil, rec, 0); ok {
					e.crypt = cr
				}
			}
		}
	}
	if !ok {
		// It is one with the keys of the handshake, or nobody can read it.
		if e.missed = e.missed || t.version == 0; t.half[t.client].hidden {
			e.over = true
		}
		return false, nil
	}
	e.crypt.seq++
	switch {
	case kind == recordHandshake && len(plain) > 0 && plain[0] == earlyEnd:
		e.taken, e.over = true, true // what was refused has no end
		return true, d.acceptEarly(c, frame, nanos)
	case kind != recordData || len(plain) == 0:
	case e.taken:
		return true, d.app(c, t.client, plain, frame, nanos)
	case e.size+len(plain) <= maxEarlyData:
		e.size += len(plain)
		e.held = append(e.held, piece{dir: t.client, data: plain, frame: frame, nanos: nanos})
	default:
		e.missed = true
	}
	return true, nil
}

// acceptEarly passes on what was held back when the server has taken it.
func (d *Dissector) acceptEarly(c *conn, frame int, nanos int64) error {
	e := &c.tls.early
	if !e.taken {
		return nil
	}
	held := e.held
	e.held = nil
	for _, p := range held {
		if err := d.app(c, p.dir, p.data, p.frame, p.nanos); err != nil {
			return err
		}
	}
	if e.missed {
		e.missed = false
		return d.appHole(c, c.tls.client, -1, frame, nanos)
	}
	return nil
}
