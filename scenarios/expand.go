package scenarios

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// Vars is what placeholders stand for.
type Vars struct {
	Run, Group string
	Index      int // in the group, from 0
	Client     int // in the workload, from 0
	Count      int // of the group
	Seq        uint64
	Topic      int       // place in the pool of topics
	Time       time.Time // when the message is due
	Proof      []byte    // the verification header, before it is written in digits

	// Counts are the numbers of clients of all groups, for {peer} and {each}.
	Counts map[string]int
	// Rand draws random values. Nil draws from the process's own generator, which no seed repeats.
	Rand *rand.Rand
}

func (v *Vars) uint64() uint64 {
	if v.Rand == nil {
		return rand.Uint64()
	}
	return v.Rand.Uint64()
}

func (v *Vars) float64() float64 { return float64(v.uint64()>>11) / (1 << 53) }

func (v *Vars) normal() float64 {
	if v.Rand == nil {
		return rand.NormFloat64()
	}
	return v.Rand.NormFloat64()
}

// below draws a number below n, which is not 0.
func (v *Vars) below(n uint64) uint64 {
	if v.Rand == nil {
		return rand.Uint64N(n)
	}
	return v.Rand.Uint64N(n)
}

const timestampForm = "2006-01-02T15:04:05.000Z07:00"

// Append appends the template's text to dst. It allocates only where dst must grow.
func (t *Template) Append(dst []byte, v *Vars) []byte {
	for i := range t.parts {
		p := &t.parts[i]
		switch p.kind {
		case kindText:
			dst = append(dst, p.text...)
		case kindIndex:
			dst = p.whole(dst, uint64(v.Index))
		case kindClient:
			dst = p.whole(dst, uint64(v.Client))
		case kindCount:
			dst = p.whole(dst, uint64(v.Count))
		case kindGroup:
			dst = append(dst, v.Group...)
		case kindRun:
			dst = append(dst, v.Run...)
		case kindTopic:
			dst = p.whole(dst, uint64(v.Topic))
		case kindEach:
			dst = p.whole(dst, uint64(v.Topic+v.Index)%uint64(max(1, v.Counts[p.text])))
		case kindPeer:
			dst = p.whole(dst, uint64(v.Index)%uint64(max(1, v.Counts[p.text])))
		case kindSeq:
			dst = p.whole(dst, v.Seq)
		case kindRandom:
			dst = appendLetters(dst, p.n, v)
		case kindInt:
			x := v.uint64()
			if p.span != math.MaxUint64 {
				x = v.below(p.span + 1)
			}
			dst = strconv.AppendInt(dst, int64(uint64(p.low)+x), 10)
		case kindFloat:
			dst = strconv.AppendFloat(dst, p.a+(p.b-p.a)*v.float64(), 'f', p.n, 64)
		case kindGauss:
			dst = strconv.AppendFloat(dst, p.a+p.b*v.normal(), 'f', p.n, 64)
		case kindWalk:
			dst = strconv.AppendFloat(dst, p.a+(p.b-p.a)*drift(uint64(v.Client)<<8|uint64(i), v.Seq), 'f', p.n, 64)
		case kindChoice:
			dst = append(dst, p.choices[v.below(uint64(len(p.choices)))]...)
		case kindUUID:
			dst = appendUUID(dst, v)
		case kindTimestamp:
			dst = v.Time.UTC().AppendFormat(dst, timestampForm)
		case kindUnix:
			dst = strconv.AppendInt(dst, v.Time.Unix(), 10)
		case kindUnixMS:
			dst = strconv.AppendInt(dst, v.Time.UnixMilli(), 10)
		case kindUnixNS:
			dst = strconv.AppendInt(dst, v.Time.UnixNano(), 10)
		case kindProof:
			dst = hex.AppendEncode(dst, v.Proof)
		}
	}
	return dst
}

// Expand returns the template's text.
func (t *Template) Expand(v *Vars) string {
	if s, ok := t.Constant(); ok {
		return s
	}
	return string(t.Append(nil, v))
}

// whole appends n after the part's arithmetic, filled up with zeros.
func (p *part) whole(dst []byte, n uint64) []byte {
	for _, o := range p.ops {
		switch o.sign {
		case '%':
			n %= o.by
		case '/':
			n /= o.by
		case '+':
			n += o.by
		case '*':
			n *= o.by
		}
	}
	if p.width > 0 {
		digits := 1
		for m := n; m >= 10; m /= 10 {
			digits++
		}
		for ; digits < p.width; digits++ {
			dst = append(dst, '0')
		}
	}
	return strconv.AppendUint(dst, n, 10)
}

const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// appendLetters appends n random letters and digits, ten for each random number.
func appendLetters(dst []byte, n int, v *Vars) []byte {
	for n > 0 {
		x := v.uint64()
		for range min(n, 10) {
			dst = append(dst, letters[x%uint64(len(letters))])
			x /= uint64(len(letters))
		}
		n -= min(n, 10)
	}
	return dst
}

// appendUUID appends a version 4 UUID.
func appendUUID(dst []byte, v *Vars) []byte {
	var b [16]byte
	for i, half := range [2]uint64{v.uint64(), v.uint64()} {
		for j := range 8 {
			b[i*8+j] = byte(half >> (8 * j))
		}
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	for i, cut := range [5][2]int{{0, 4}, {4, 6}, {6, 8}, {8, 10}, {10, 16}} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, b[cut[0]:cut[1]])
	}
	return dst
}

// drift is a smooth path in [0, 1] through points that belong to the key, one for every 32 messages: it needs no memory of
// the value before.
func drift(key, seq uint64) float64 {
	point := func(i uint64) float64 { return float64(mix(key<<32^i)>>11) / (1 << 53) }
	at, part := seq/32, float64(seq%32)/32
	part = part * part * (3 - 2*part)
	return point(at)*(1-part) + point(at+1)*part
}

// mix spreads the bits of x evenly.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
