package pcap

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// cbcReader decrypts records of the suites of TLS 1.2 and older that encrypt by AES in blocks and
// authenticate by HMAC: before they encrypt, or where both ends have agreed on it (RFC 7366), after.
type cbcReader struct {
	block cipher.Block
	mac   hash.Hash
	etm   bool
	// chain is the last block of the record before, where records do not bring a vector of their own: TLS 1.0.
	chain []byte
	sum   []byte
}

func newCBCReader(s *suite, key, macKey, iv []byte, etm bool) *cbcReader {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil
	}
	h := sha1.New
	switch s.mac {
	case crypto.SHA256:
		h = sha256.New
	case crypto.SHA384:
		h = sha512.New384
	}
	c := &cbcReader{block: block, mac: hmac.New(h, macKey), etm: etm}
	if len(iv) > 0 {
		c.chain = append([]byte(nil), iv...)
	}
	return c
}

// passed notes a record that was read or given up.
func (c *cbcReader) passed(rec []byte) {
	body := rec[headTLSRecord:]
	if c.etm {
		body = body[:max(0, len(body)-c.mac.Size())]
	}
	if c.chain != nil && len(body) >= aes.BlockSize {
		copy(c.chain, body[len(body)-aes.BlockSize:])
	}
}

// authentic reports whether tag authenticates b in a record of the sequence number.
func (c *cbcReader) authentic(rec, b, tag []byte, seq uint64) bool {
	var head [13]byte
	binary.BigEndian.PutUint64(head[:], seq)
	copy(head[8:], rec[:3])
	binary.BigEndian.PutUint16(head[11:], uint16(len(b)))
	c.mac.Reset()
	c.mac.Write(head[:])
	c.mac.Write(b)
	c.sum = c.mac.Sum(c.sum[:0])
	return hmac.Equal(c.sum, tag)
}

// open decrypts a record under the sequence number.
func (c *cbcReader) open(dst, rec []byte, seq uint64) ([]byte, bool) {
	body := rec[headTLSRecord:]
	size := c.mac.Size()
	if c.etm {
		n := len(body) - size
		if n < 0 || !c.authentic(rec, body[:n], body[n:], seq) {
			return dst, false
		}
		body = body[:n]
	}
	iv := c.chain
	if iv == nil {
		if len(body) < aes.BlockSize {
			return dst, false
		}
		iv, body = body[:aes.BlockSize], body[aes.BlockSize:]
	}
	if len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return dst, false
	}
	from := len(dst)
	dst = append(dst, body...)
	plain := dst[from:]
	cipher.NewCBCDecrypter(c.block, iv).CryptBlocks(plain, plain)
	n := len(plain) - 1 - int(plain[len(plain)-1])
	if n < 0 {
		return dst[:from], false
	}
	for _, pad := range plain[n:] {
		if pad != plain[len(plain)-1] {
			return dst[:from], false
		}
	}
	if !c.etm {
		n -= size
		if n < 0 || !c.authentic(rec, plain[:n], plain[n:n+size], seq) {
			return dst[:from], false
		}
	}
	return dst[:from+n], true
}
