package pcap

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

// ccm is AES-CCM (RFC 3610) with nonces of 12 bytes, as TLS has it. Like chachaPoly it is made to be short: a
// capture is read, and nothing secret is at stake in the time that takes.
type ccm struct {
	block cipher.Block
	tag   int // bytes
}

// lengthBytes is how many bytes say how long a message is: what the nonce leaves of a block.
const lengthBytes = aes.BlockSize - 1 - 12

// NonceSize is the size of a nonce.
func (c *ccm) NonceSize() int { return 12 }

// Overhead is the size of the tag.
func (c *ccm) Overhead() int { return c.tag }

// Seal encrypts and authenticates.
func (c *ccm) Seal(dst, nonce, plain, ad []byte) []byte {
	tag := c.authenticate(nonce, plain, ad)
	n := len(dst)
	dst = append(append(dst, plain...), tag[:c.tag]...)
	c.stream(nonce, dst[n:])
	return dst
}

// Open authenticates and decrypts.
func (c *ccm) Open(dst, nonce, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < c.tag {
		return nil, errOpen
	}
	n := len(dst)
	dst = append(dst, sealed...)
	c.stream(nonce, dst[n:])
	plain, got := dst[n:len(dst)-c.tag], dst[len(dst)-c.tag:]
	want := c.authenticate(nonce, plain, ad)
	if subtle.ConstantTimeCompare(want[:c.tag], got) != 1 {
		return nil, errOpen
	}
	return dst[:len(dst)-c.tag], nil
}

// stream applies the key stream: its first block to the tag at the end of b, the others to what is before.
func (c *ccm) stream(nonce, b []byte) {
	var counter, key [aes.BlockSize]byte
	counter[0] = lengthBytes - 1
	copy(counter[1:], nonce)
	c.block.Encrypt(key[:], counter[:])
	text, tag := b[:len(b)-c.tag], b[len(b)-c.tag:]
	subtle.XORBytes(tag, tag, key[:])
	counter[aes.BlockSize-1] = 1
	if len(text) > 0 {
		cipher.NewCTR(c.block, counter[:]).XORKeyStream(text, text)
	}
}

// authenticate returns the tag before it is encrypted.
func (c *ccm) authenticate(nonce, plain, ad []byte) (mac [aes.BlockSize]byte) {
	mac[0] = byte((c.tag-2)/2<<3 | lengthBytes - 1)
	copy(mac[1:], nonce)
	mac[13], mac[14], mac[15] = byte(len(plain)>>16), byte(len(plain)>>8), byte(len(plain))
	if len(ad) > 0 {
		mac[0] |= 0x40
	}
	c.block.Encrypt(mac[:], mac[:])
	if len(ad) > 0 { // of records it is 5 or 13 bytes
		c.absorb(&mac, append(binary.BigEndian.AppendUint16(nil, uint16(len(ad))), ad...))
	}
	c.absorb(&mac, plain)
	return mac
}

func (c *ccm) absorb(mac *[aes.BlockSize]byte, b []byte) {
	for len(b) > 0 {
		n := subtle.XORBytes(mac[:], mac[:], b[:min(len(b), aes.BlockSize)])
		c.block.Encrypt(mac[:], mac[:])
		b = b[n:]
	}
}
