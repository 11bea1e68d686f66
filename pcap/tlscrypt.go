package pcap

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"

	"github.com/mqlab/mqlab/codec"
)

// suite is a cipher suite with authenticated encryption.
type suite struct {
	hash  crypto.Hash
	key   int // bytes
	chaos bool
	v13   bool
}

var (
	gcm128 = &suite{hash: crypto.SHA256, key: 16}
	gcm256 = &suite{hash: crypto.SHA384, key: 32}
	chacha = &suite{hash: crypto.SHA256, key: 32, chaos: true}
)

// suites are those that can be read, by their number.
var suites = map[uint16]*suite{
	0x1301: {hash: crypto.SHA256, key: 16, v13: true},
	0x1302: {hash: crypto.SHA384, key: 32, v13: true},
	0x1303: {hash: crypto.SHA256, key: 32, v13: true, chaos: true},
	0x009C: gcm128, 0x009E: gcm128, 0x00A2: gcm128, 0x00A8: gcm128, 0x00AA: gcm128, 0x00AC: gcm128,
	0xC02B: gcm128, 0xC02D: gcm128, 0xC02F: gcm128, 0xC031: gcm128, 0xD001: gcm128,
	0x009D: gcm256, 0x009F: gcm256, 0x00A3: gcm256, 0x00A9: gcm256, 0x00AB: gcm256, 0x00AD: gcm256,
	0xC02C: gcm256, 0xC02E: gcm256, 0xC030: gcm256, 0xC032: gcm256, 0xD002: gcm256,
	0xCCA8: chacha, 0xCCA9: chacha, 0xCCAA: chacha, 0xCCAB: chacha, 0xCCAC: chacha, 0xCCAD: chacha, 0xCCAE: chacha,
}

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
	iv     [12]byte
	seq    uint64
}

func (s *suite) newAEAD(key []byte) cipher.AEAD {
	if s.chaos {
		return newChaCha(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
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

// derive12 makes the keys of TLS 1.2 from the master secret.
func (s *suite) derive12(master, client, server []byte, side codec.Side) *crypter {
	if s.v13 || len(master) != 48 {
		return nil
	}
	iv := 4
	if s.chaos {
		iv = 12
	}
	seed := append([]byte("key expansion"), server...)
	block := s.prf(master, append(seed, client...), 2*(s.key+iv))
	key, ivs := block[:s.key], block[2*s.key:2*s.key+iv]
	if side == codec.Server {
		key, ivs = block[s.key:2*s.key], block[2*s.key+iv:]
	}
	c := &crypter{suite: s, aead: s.newAEAD(key)}
	if c.aead == nil {
		return nil
	}
	copy(c.iv[:], ivs)
	return c
}

func (s *suite) prf(secret, seed []byte, n int) []byte {
	mac := hmac.New(s.newHash(), secret)
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
	if c.suite.chaos {
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
