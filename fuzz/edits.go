package fuzz

import (
	"encoding/binary"

	"github.com/mqlab/mqlab/codec"
)

var breakages = codec.Breakages()

// edit changes one thing about a legal packet and says what. The result is valid until the next call; it may happen
// to be legal.
func (g *Generator) edit(frame []byte, v codec.Version) ([]byte, string) {
	g.fields = codec.AppendFields(g.fields[:0], frame, v)
	switch g.src.weighted([]int{26, 10, 8, 6, 6, 4, 12, 7, 8, 4, 4, 6, 4, 8}) {
	case 0:
		for range 8 {
			how := pick(&g.src, breakages)
			if b, err := codec.Break(frame, v, how); err == nil {
				return b, how.String()
			}
		}
		return g.cut(frame, true)
	case 1:
		return g.cut(frame, true)
	case 2:
		return g.cut(frame, false)
	case 3:
		return g.dropField(frame)
	case 4:
		return g.doubleField(frame)
	case 5:
		return g.swapFields(frame)
	case 6:
		return g.oddInteger(frame)
	case 7:
		return g.oddLength(frame)
	case 8:
		return g.oddRemaining(frame)
	case 9:
		return g.oddHeader(frame)
	case 10:
		return g.otherVersion(frame, v)
	case 11:
		return g.insertProperty(frame, v)
	case 12:
		return g.noise(frame)
	default:
		return g.oddText(frame)
	}
}

// body is where the Remaining Length ends.
func (g *Generator) body(frame []byte) int {
	if len(g.fields) < 2 {
		return len(frame)
	}
	return g.fields[1].Offset + g.fields[1].Len
}

// field chooses a field behind the Remaining Length that keep accepts.
func (g *Generator) field(keep func(*codec.Field) bool) (codec.Field, bool) {
	n := 0
	for i := 2; i < len(g.fields); i++ {
		if keep == nil || keep(&g.fields[i]) {
			n++
		}
	}
	if n == 0 {
		return codec.Field{}, false
	}
	k := g.src.n(n)
	for i := 2; i < len(g.fields); i++ {
		if keep == nil || keep(&g.fields[i]) {
			if k == 0 {
				return g.fields[i], true
			}
			k--
		}
	}
	return codec.Field{}, false
}

// rebuild writes the header of frame and a new body with a right Remaining Length.
func (g *Generator) rebuild(header byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := append(g.tmp2[:0], header)
	b = codec.AppendVarint(b, uint32(n))
	for _, p := range parts {
		b = append(b, p...)
	}
	g.tmp2 = b
	return b
}

// splice replaces del bytes at a place by others and mends the Remaining Length, and now and then the Property
// Length in front.
func (g *Generator) splice(frame []byte, at, del int, with []byte) []byte {
	body := g.body(frame)
	if g.src.percent(60) {
		for i := len(g.fields) - 1; i >= 2; i-- {
			f := &g.fields[i]
			if f.Name != codec.FieldPropertyLength || f.Offset >= at {
				continue
			}
			old, n := codec.Varint(frame[f.Offset:])
			end := f.Offset + f.Len + int(old)
			if n <= 0 || at > end || at+del > end || int(old)+len(with)-del < 0 {
				break
			}
			length := codec.AppendVarint(nil, uint32(int(old)+len(with)-del))
			return g.rebuild(frame[0], frame[body:f.Offset], length, frame[f.Offset+f.Len:at], with, frame[at+del:])
		}
	}
	return g.rebuild(frame[0], frame[body:at], with, frame[at+del:])
}

// cut ends the packet early: at or inside a field, with a Remaining Length that is right or as before.
func (g *Generator) cut(frame []byte, mend bool) ([]byte, string) {
	f, ok := g.field(nil)
	if !ok {
		return frame[:1], "cut after the first byte"
	}
	at, where := f.Offset, "cut at "+f.Name
	if f.Len > 1 && g.src.percent(55) {
		at, where = f.Offset+1+g.src.n(f.Len-1), "cut inside "+f.Name
	}
	if mend {
		return g.rebuild(frame[0], frame[g.body(frame):at]), where
	}
	return frame[:at], where + ", the length as before"
}

func (g *Generator) dropField(frame []byte) ([]byte, string) {
	f, ok := g.field(nil)
	if !ok {
		return g.oddHeader(frame)
	}
	return g.splice(frame, f.Offset, f.Len, nil), "without " + f.Name
}

func (g *Generator) doubleField(frame []byte) ([]byte, string) {
	f, ok := g.field(nil)
	if !ok {
		return g.oddHeader(frame)
	}
	return g.splice(frame, f.Offset, 0, frame[f.Offset:f.Offset+f.Len]), "doubled " + f.Name
}

func (g *Generator) swapFields(frame []byte) ([]byte, string) {
	if len(g.fields) < 4 {
		return g.dropField(frame)
	}
	i := 2 + g.src.n(len(g.fields)-3)
	a, b := g.fields[i], g.fields[i+1]
	cut := func(f codec.Field) []byte { return frame[f.Offset : f.Offset+f.Len] }
	return g.rebuild(frame[0], frame[g.body(frame):a.Offset], cut(b), cut(a), frame[b.Offset+b.Len:]), "swapped " + a.Name + " and " + b.Name
}

// value returns where the integer of a field begins.
func value(f *codec.Field) int {
	if f.Prop != 0 {
		return f.Offset + 1
	}
	return f.Offset
}

func (g *Generator) oddInteger(frame []byte) ([]byte, string) {
	f, ok := g.field(func(f *codec.Field) bool { return f.Kind >= codec.KindByte && f.Kind <= codec.KindVarint })
	if !ok {
		return g.oddHeader(frame)
	}
	at := value(&f)
	b := append(g.tmp2[:0], frame...)
	g.tmp2 = b
	switch f.Kind {
	case codec.KindByte:
		if at < len(b) {
			if g.src.percent(50) {
				b[at] ^= 1 << g.src.n(8)
			} else {
				b[at] = byte(pick(&g.src, odd8))
			}
		}
	case codec.KindUint16:
		if at+2 <= len(b) {
			binary.BigEndian.PutUint16(b[at:], uint16(pick(&g.src, odd16)))
		}
	case codec.KindUint32:
		if at+4 <= len(b) {
			binary.BigEndian.PutUint32(b[at:], pick(&g.src, odd32))
		}
	case codec.KindVarint:
		if g.src.percent(50) {
			return g.splice(frame, at, f.Offset+f.Len-at, pick(&g.src, badVarints)), "bad varint in " + f.Name
		}
		var v [5]byte
		return g.splice(frame, at, f.Offset+f.Len-at, codec.AppendVarint(v[:0], pick(&g.src, oddVar))), "odd " + f.Name
	}
	return b, "odd " + f.Name
}

// oddLength changes the two-byte length of a string or of binary data.
func (g *Generator) oddLength(frame []byte) ([]byte, string) {
	f, ok := g.field(func(f *codec.Field) bool { return f.Kind >= codec.KindString && f.Len >= 2 })
	at := value(&f)
	if !ok || at+2 > len(frame) {
		return g.oddRemaining(frame)
	}
	b := append(g.tmp2[:0], frame...)
	g.tmp2 = b
	n := binary.BigEndian.Uint16(b[at:])
	binary.BigEndian.PutUint16(b[at:], pick(&g.src, []uint16{0, 1, n - 1, n + 1, n + 2, uint16(len(b)), 0x7FFF, 0x8000, 0xFFFF}))
	return b, "odd length of " + f.Name
}

func (g *Generator) oddRemaining(frame []byte) ([]byte, string) {
	body := g.body(frame)
	n := len(frame) - body
	var raw []byte
	var room [5]byte
	what := "odd Remaining Length"
	switch g.src.n(4) {
	case 0:
		raw, what = pick(&g.src, badVarints), "bad Remaining Length"
	case 1:
		raw = codec.AppendVarint(room[:0], uint32(max(0, n-1-g.src.n(3))))
	case 2:
		raw = codec.AppendVarint(room[:0], uint32(n+1+g.src.n(3)))
	default:
		raw = codec.AppendVarint(room[:0], pick(&g.src, oddVar))
	}
	b := append(g.tmp2[:0], frame[0])
	b = append(b, raw...)
	b = append(b, frame[body:]...)
	g.tmp2 = b
	return b, what
}

func (g *Generator) oddHeader(frame []byte) ([]byte, string) {
	b := append(g.tmp2[:0], frame...)
	g.tmp2 = b
	if g.src.percent(60) {
		b[0] ^= 1 << g.src.n(4)
		return b, "flipped flag"
	}
	b[0] = b[0]&15 | byte(g.src.n(16))<<4
	return b, "other packet type"
}

// otherVersion writes the packet as another version does.
func (g *Generator) otherVersion(frame []byte, v codec.Version) ([]byte, string) {
	other := codec.V5
	if v == codec.V5 || g.src.percent(20) {
		other = pick(&g.src, []codec.Version{codec.V4, codec.V31})
	}
	g.dec = codec.Decoder{Version: v}
	p, err := g.dec.Decode(frame)
	if err != nil {
		return g.noise(frame)
	}
	if c, ok := p.(*codec.Connect); ok {
		if g.src.percent(50) { // another level alone
			if i := 2 + 1; len(g.fields) > i && g.fields[i].Len == 1 {
				b := append(g.tmp2[:0], frame...)
				g.tmp2 = b
				b[g.fields[i].Offset] = byte(pick(&g.src, []int{0, 3, 4, 5, 6, 0x83, 0x84, 255}))
				return b, "other Protocol Level"
			}
		}
		c.Version = other
		c.Props.Reset()
		c.Will.Props.Reset()
	}
	switch p := p.(type) { // before 5.0 there is no place for properties
	case *codec.Publish:
		p.Props = codec.Properties{}
	case *codec.Subscribe:
		p.Props = codec.Properties{}
	case *codec.Unsubscribe:
		p.Props = codec.Properties{}
	}
	b, err := p.AppendTo(g.tmp2[:0], other)
	if err != nil {
		return g.noise(frame)
	}
	g.tmp2 = b
	return b, "as MQTT " + other.String() + " has it"
}

// insertProperty adds any property to a packet that has some, whether it may be there or not.
func (g *Generator) insertProperty(frame []byte, v codec.Version) ([]byte, string) {
	f, ok := g.field(func(f *codec.Field) bool { return f.Name == codec.FieldPropertyLength })
	if !ok || v != codec.V5 {
		return g.noise(frame)
	}
	id := codec.PropID(1 + g.src.n(0x2B))
	raw := []byte{byte(id)}
	switch id.Info().Kind {
	case codec.KindByte:
		raw = append(raw, byte(pick(&g.src, odd8)))
	case codec.KindUint16:
		raw = binary.BigEndian.AppendUint16(raw, uint16(pick(&g.src, odd16)))
	case codec.KindUint32:
		raw = binary.BigEndian.AppendUint32(raw, pick(&g.src, odd32))
	case codec.KindVarint:
		raw = codec.AppendVarint(raw, pick(&g.src, oddVar))
	case codec.KindString, codec.KindBinary:
		raw = appendText(raw, pick(&g.src, oddTexts))
	case codec.KindPair:
		raw = appendText(appendText(raw, pick(&g.src, oddTexts)), pick(&g.src, badTexts))
	}
	old, n := codec.Varint(frame[f.Offset:])
	if n <= 0 {
		return g.noise(frame)
	}
	times := 1
	if g.src.percent(15) {
		times = 2 + g.src.n(30)
	}
	var all []byte
	for range times {
		all = append(all, raw...)
	}
	body := g.body(frame)
	length := codec.AppendVarint(nil, old+uint32(len(all)))
	return g.rebuild(frame[0], frame[body:f.Offset], length, all, frame[f.Offset+f.Len:]), "with " + id.String()
}

func appendText(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// noise changes bytes without regard to what they are.
func (g *Generator) noise(frame []byte) ([]byte, string) {
	b := append(g.tmp2[:0], frame...)
	for range 1 + g.src.n(3) {
		switch i := g.src.n(len(b)); g.src.n(3) {
		case 0:
			b[i] ^= 1 << g.src.n(8)
		case 1:
			b[i] = g.src.byte()
		default:
			b[i] = pick(&g.src, []byte{0, 1, 0x7F, 0x80, 0xFF})
		}
	}
	g.tmp2 = b
	return b, "noise"
}

// oddText replaces a string by one of the dictionary, lengths mended.
func (g *Generator) oddText(frame []byte) ([]byte, string) {
	f, ok := g.field(func(f *codec.Field) bool { return f.Kind == codec.KindString && f.Len >= 2 })
	if !ok {
		return g.noise(frame)
	}
	at := value(&f)
	var text string
	switch {
	case f.Name == codec.FieldFilter:
		text = pick(&g.src, badFilters)
	case g.src.percent(8):
		text = string(g.filler(65535))
	default:
		text = pick(&g.src, badTexts)
	}
	var room [64]byte
	return g.splice(frame, at, f.Offset+f.Len-at, appendText(room[:0], text)), "odd text in " + f.Name
}
