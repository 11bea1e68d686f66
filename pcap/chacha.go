package pcap

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math/bits"
)

// chachaPoly is ChaCha20-Poly1305 (RFC 8439) for reading captures. It is made to be short, not fast, and
// takes no care to hide its key from whoever measures time: the key comes from a file.
type chachaPoly struct{ key [8]uint32 }

func newChaCha(key []byte) *chachaPoly {
	c := new(chachaPoly)
	for i := range c.key {
		c.key[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	return c
}

var errOpen = errors.New("message authentication failed")

// NonceSize is the size of a nonce.
func (c *chachaPoly) NonceSize() int { return 12 }

// Overhead is the size of the tag.
func (c *chachaPoly) Overhead() int { return 16 }

// Seal encrypts and authenticates.
func (c *chachaPoly) Seal(dst, nonce, plain, ad []byte) []byte {
	n := len(dst)
	dst = append(dst, plain...)
	c.xor(dst[n:], nonce)
	tag := c.tag(nonce, dst[n:], ad)
	return append(dst, tag[:]...)
}

// Open authenticates and decrypts.
func (c *chachaPoly) Open(dst, nonce, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < 16 {
		return nil, errOpen
	}
	text, got := sealed[:len(sealed)-16], sealed[len(sealed)-16:]
	tag := c.tag(nonce, text, ad)
	if subtle.ConstantTimeCompare(tag[:], got) != 1 {
		return nil, errOpen
	}
	n := len(dst)
	dst = append(dst, text...)
	c.xor(dst[n:], nonce)
	return dst, nil
}

// xor applies the key stream from block 1 on; block 0 is the key of the tag.
func (c *chachaPoly) xor(b, nonce []byte) {
	for counter := uint32(1); len(b) > 0; counter++ {
		stream := c.block(nonce, counter)
		n := min(len(b), len(stream))
		subtle.XORBytes(b[:n], b[:n], stream[:n])
		b = b[n:]
	}
}

func (c *chachaPoly) block(nonce []byte, counter uint32) (out [64]byte) {
	var in, x [16]uint32
	in[0], in[1], in[2], in[3] = 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574
	copy(in[4:], c.key[:])
	in[12] = counter
	for i := range 3 {
		in[13+i] = binary.LittleEndian.Uint32(nonce[4*i:])
	}
	x = in
	quarter := func(a, b, c, d int) {
		x[a] += x[b]
		x[d] = bits.RotateLeft32(x[d]^x[a], 16)
		x[c] += x[d]
		x[b] = bits.RotateLeft32(x[b]^x[c], 12)
		x[a] += x[b]
		x[d] = bits.RotateLeft32(x[d]^x[a], 8)
		x[c] += x[d]
		x[b] = bits.RotateLeft32(x[b]^x[c], 7)
	}
	for range 10 {
		quarter(0, 4, 8, 12)
		quarter(1, 5, 9, 13)
		quarter(2, 6, 10, 14)
		quarter(3, 7, 11, 15)
		quarter(0, 5, 10, 15)
		quarter(1, 6, 11, 12)
		quarter(2, 7, 8, 13)
		quarter(3, 4, 9, 14)
	}
	for i := range x {
		binary.LittleEndian.PutUint32(out[4*i:], x[i]+in[i])
	}
	return out
}

// tag is Poly1305 over the associated data and the text, each filled up to 16 bytes, and their lengths.
func (c *chachaPoly) tag(nonce, text, ad []byte) [16]byte {
	key := c.block(nonce, 0)
	p := poly{
		r0: binary.LittleEndian.Uint64(key[0:]) & 0x0FFFFFFC0FFFFFFF,
		r1: binary.LittleEndian.Uint64(key[8:]) & 0x0FFFFFFC0FFFFFFC,
	}
	p.write(ad)
	p.write(text)
	p.add(uint64(len(ad)), uint64(len(text)))
	return p.sum(binary.LittleEndian.Uint64(key[16:]), binary.LittleEndian.Uint64(key[24:]))
}

// poly evaluates a polynomial modulo 2^130 - 5, in words of 64 bits.
type poly struct{ r0, r1, h0, h1, h2 uint64 }

func (p *poly) write(b []byte) {
	for len(b) > 0 {
		var block [16]byte
		n := copy(block[:], b)
		b = b[n:]
		p.add(binary.LittleEndian.Uint64(block[:]), binary.LittleEndian.Uint64(block[8:]))
	}
}

// add takes in a block of 16 bytes: h = (h + block + 2^128) * r.
func (p *poly) add(lo, hi uint64) {
	var carry uint64
	p.h0, carry = bits.Add64(p.h0, lo, 0)
	p.h1, carry = bits.Add64(p.h1, hi, carry)
	p.h2 += carry + 1

	// The product has the words t0 to t3. r is short enough that h2*r1 does not carry.
	h0r0hi, h0r0 := bits.Mul64(p.h0, p.r0)
	h1r0hi, h1r0 := bits.Mul64(p.h1, p.r0)
	h0r1hi, h0r1 := bits.Mul64(p.h0, p.r1)
	h1r1hi, h1r1 := bits.Mul64(p.h1, p.r1)
	h2r0, h2r1 := p.h2*p.r0, p.h2*p.r1

	t0 := h0r0
	m1, c1 := bits.Add64(h1r0, h0r1, 0)
	m1hi, _ := bits.Add64(h1r0hi, h0r1hi, c1)
	m2, c2 := bits.Add64(h1r1, h2r0, 0)
	m2hi, _ := bits.Add64(h1r1hi, 0, c2)
	t1, k := bits.Add64(m1, h0r0hi, 0)
	t2, k := bits.Add64(m2, m1hi, k)
	t3, _ := bits.Add64(h2r1, m2hi, k)

	// What is above 2^130 counts five times: four times and once.
	p.h0, p.h1, p.h2 = t0, t1, t2&3
	q0, q1 := t2&^3, t3
	p.h0, carry = bits.Add64(p.h0, q0, 0)
	p.h1, carry = bits.Add64(p.h1, q1, carry)
	p.h2 += carry
	q0, q1 = q0>>2|q1<<62, q1>>2
	p.h0, carry = bits.Add64(p.h0, q0, 0)
	p.h1, carry = bits.Add64(p.h1, q1, carry)
	p.h2 += carry
}

func (p *poly) sum(s0, s1 uint64) (out [16]byte) {
	// h modulo 2^130 - 5: take the prime away where it fits.
	m0, b := bits.Sub64(p.h0, ^uint64(0)-4, 0)
	m1, b := bits.Sub64(p.h1, ^uint64(0), b)
	_, b = bits.Sub64(p.h2, 3, b)
	if b == 0 {
		p.h0, p.h1 = m0, m1
	}
	lo, carry := bits.Add64(p.h0, s0, 0)
	hi, _ := bits.Add64(p.h1, s1, carry)
	binary.LittleEndian.PutUint64(out[:], lo)
	binary.LittleEndian.PutUint64(out[8:], hi)
	return out
}
