package pcap

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"hash"

	"github.com/mqlab/mqlab/codec"
)

// mode is how a cipher is used.
type mode uint8

const (
	modeGCM mode = iota
	modeChaCha
	modeCCM
	modeCCM8 // with a short tag
	modeCBC
)

// suite is a cipher suite that can be read.
type suite struct {
	hash crypto.Hash // of the derivation of keys
	key  int         // bytes
	mode mode
	mac  crypto.Hash // of modeCBC
	v13  bool
}

// suites are those that can be read, by their number. SHA-1 as mac stands for what TLS 1.0 had already.
var suites = func() map[uint16]*suite {
	m := map[uint16]*suite{
		0x1301: {hash: crypto.SHA256, key: 16, v13: true},
		0x1302: {hash: crypto.SHA384, key: 32, v13: true},
		0x1303: {hash: crypto.SHA256, key: 32, v13: true, mode: modeChaCha},
		0x1304: {hash: crypto.SHA256, key: 16, v13: true, mode: modeCCM},
		0x1305: {hash: crypto.SHA256, key: 16, v13: true, mode: modeCCM8},
	}
	add := func(s suite, ids ...uint16) {
		for _, id := range ids {
			m[id] = &s
		}
	}
	add(suite{hash: crypto.SHA256, key: 16}, 0x009C, 0x009E, 0x00A0, 0x00A2, 0x00A4, 0x00A6, 0x00A8, 0x00AA, 0x00AC, 0xC02B, 0xC02D, 0xC02F, 0xC031, 0xD001)
	add(suite{hash: crypto.SHA384, key: 32}, 0x009D, 0x009F, 0x00A1, 0x00A3, 0x00A5, 0x00A7, 0x00A9, 0x00AB, 0x00AD, 0xC02C, 0xC02E, 0xC030, 0xC032, 0xD002)
	add(suite{hash: crypto.SHA256, key: 32, mode: modeChaCha}, 0xCCA8, 0xCCA9, 0xCCAA, 0xCCAB, 0xCCAC, 0xCCAD, 0xCCAE)
	add(suite{hash: crypto.SHA256, key: 16, mode: modeCCM}, 0xC09C, 0xC09E, 0xC0A4, 0xC0A6, 0xC0AC, 0xD005)
	add(suite{hash: crypto.SHA256, key: 32, mode: modeCCM}, 0xC09D, 0xC09F, 0xC0A5, 0xC0A7, 0xC0AD)
	add(suite{hash: crypto.SHA256, key: 16, mode: modeCCM8}, 0xC0A0, 0xC0A2, 0xC0A8, 0xC0AA, 0xC0AE, 0xD003)
	add(suite{hash: crypto.SHA256, key: 32, mode: modeCCM8}, 0xC0A1, 0xC0A3, 0xC0A9, 0xC0AB, 0xC0AF)
	add(suite{hash: crypto.SHA256, key: 16, mode: modeCBC, mac: crypto.SHA1},
		0x002F, 0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x008C, 0x0090, 0x0094, 0xC004, 0xC009, 0xC00E, 0xC013, 0xC018, 0xC035)
	add(suite{hash: crypto.SHA256, key: 32, mode: modeCBC, mac: crypto.SHA1},
		0x0035, 0x0036, 0x0037, 0x0038, 0x0039, 0x003A, 0x008D, 0x0091, 0x0095, 0xC005, 0xC00A, 0xC00F, 0xC014, 0xC019, 0xC036)
	add(suite{hash: crypto.SHA256, key: 16, mode: modeCBC, mac: crypto.SHA256},
		0x003C, 0x003E, 0x003F, 0x0040, 0x0067, 0x006C, 0x00AE, 0x00B2, 0x00B6, 0xC023, 0xC025, 0xC027, 0xC029, 0xC037)
	add(suite{hash: crypto.SHA256, key: 32, mode: modeCBC, mac: crypto.SHA256}, 0x003D, 0x0068, 0x0069, 0x006A, 0x006B, 0x006D)
	add(suite{hash: crypto.SHA384, key: 32, mode: modeCBC, mac: crypto.SHA384}, 0x00AF, 0x00B3, 0x00B7, 0xC024, 0xC026, 0xC028, 0xC02A, 0xC038)
	return m
}()

func (s *suite) newHash() func() hash.Hash {
	if s.hash == crypto.SHA384 {
		return sha512.New384
	}
	return sha256.New
}

// crypter decrypts the records of one direction.
type crypter struct {
	suite  *suite
	secret []byte // TLS 1.3: from which the next one is made
	aead   cipher.AEAD
	cbc    *cbcReader
	iv     [12]byte
	seq    uint64
}

func (s *suite) newAEAD(key []byte) cipher.AEAD {
	if s.mode == modeChaCha {
		return newChaCha(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	switch s.mode {
	case modeCCM:
		return &ccm{block, 16}
	case modeCCM8:
		return &ccm{block, 8}
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil
	}
	return aead
}

// derive13 makes the keys of TLS 1.3 from a traffic secret.
func (s *suite) derive13(secret []byte) *crypter {
	if !s.v13 || len(secret) != s.hash.Size() {
		return nil
	}
	c := &crypter{suite: s, secret: secret}
	key := s.expand(secret, "key", s.key)
	iv := s.expand(secret, "iv", 12)
	if c.aead = s.newAEAD(key); c.aead == nil || len(iv) != 12 {
		return nil
	}
	copy(c.iv[:], iv)
	return c
}

// update makes the keys that follow a KeyUpdate.
func (s *suite) update(c *crypter) *crypter {
	if next := s.derive13(s.expand(c.secret, "traffic upd", s.hash.Size())); next != nil {
		return next
	}
	return c
}

// expand is HKDF-Expand-Label without a context.
func (s *suite) expand(secret []byte, label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label...)
	info = append(info, 0)
	out, err := hkdf.Expand(s.newHash(), secret, string(info), n)
	if err != nil {
		return nil
	}
	return out
}

// derive12 makes the keys of TLS 1.2 and older from the master secret.
func (s *suite) derive12(master, client, server []byte, side codec.Side, version int, etm bool) *crypter {
	if s.v13 || len(master) != 48 || version < versionTLS12 && (s.mode != modeCBC || s.mac != crypto.SHA1) {
		return nil
	}
	mac, iv := 0, 4
	switch {
	case s.mode == modeCBC:
		if mac, iv = s.mac.Size(), 0; version == versionTLS10 {
			iv = aes.BlockSize
		}
	case s.mode == modeChaCha:
		iv = 12
	}
	seed := append([]byte("key expansion"), server...)
	seed = append(seed, client...)
	var block []byte
	if n := 2 * (mac + s.key + iv); version >= versionTLS12 {
		block = prf(s.newHash(), master, seed, n)
	} else { // the two halves of the secret are the same 24 bytes long
		block = prf(md5.New, master[:24], seed, n)
		subtle.XORBytes(block, block, prf(sha1.New, master[24:], seed, n))
	}
	// Each part of the block is there twice, first for the client.
	next := func(n int) []byte {
		part := block[:n]
		if side == codec.Server {
			part = block[n : 2*n]
		}
		block = block[2*n:]
		return part
	}
	macKey, key, ivs := next(mac), next(s.key), next(iv)
	c := &crypter{suite: s}
	if s.mode == modeCBC {
		c.cbc = newCBCReader(s, key, macKey, ivs, etm)
		return c
	}
	if c.aead = s.newAEAD(key); c.aead == nil {
		return nil
	}
	copy(c.iv[:], ivs)
	return c
}

func prf(h func() hash.Hash, secret, seed []byte, n int) []byte {
	mac := hmac.New(h, secret)
	var out []byte
	a := seed
	for len(out) < n {
		mac.Reset()
		mac.Write(a)
		a = mac.Sum(nil)
		mac.Reset()
		mac.Write(a)
		mac.Write(seed)
		out = mac.Sum(out)
	}
	return out[:n]
}

// open decrypts a record under the sequence number and returns what is in it and its kind.
func (c *crypter) open(dst, rec []byte, seq uint64) ([]byte, byte, bool) {
	if c.cbc != nil {
		plain, ok := c.cbc.open(dst, rec, seq)
		return plain, rec[0], ok
	}
	nonce := c.iv
	body := rec[headTLSRecord:]
	if c.secret != nil {
		for i := range 8 {
			nonce[4+i] ^= byte(seq >> (56 - 8*i))
		}
		plain, err := c.aead.Open(dst, nonce[:], body, rec[:headTLSRecord])
		if err != nil {
			return dst, 0, false
		}
		end := len(plain)
		for end > 0 && plain[end-1] == 0 { // padding
			end--
		}
		if end == 0 {
			return dst, 0, false
		}
		return plain[:end-1], plain[end-1], true
	}
	if c.suite.mode == modeChaCha {
		for i := range 8 {
			nonce[4+i] ^= byte(seq >> (56 - 8*i))
		}
	} else {
		if len(body) < 8 {
			return dst, 0, false
		}
		copy(nonce[4:], body[:8])
		body = body[8:]
	}
	size := len(body) - c.aead.Overhead()
	if size < 0 {
		return dst, 0, false
	}
	var ad [13]byte
	binary.BigEndian.PutUint64(ad[:], seq)
	copy(ad[8:], rec[:3])
	binary.BigEndian.PutUint16(ad[11:], uint16(size))
	plain, err := c.aead.Open(dst, nonce[:], body, ad[:])
	if err != nil {
		return dst, 0, false
	}
	return plain, rec[0], true
}
