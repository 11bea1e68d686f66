package fuzz

import (
	"encoding/binary"
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// split leaves out packets of steps that send several, many at once first.
func (m *minimiser) split() (changed bool) {
	for i := 0; i < len(m.best.Steps); i++ {
		for n := len(cutAll(m.best.Steps[i].Bytes)) / 2; n >= 1 && m.ctx.Err() == nil; n /= 2 {
			for at := 0; m.ctx.Err() == nil && i < len(m.best.Steps); {
				frames := cutAll(m.best.Steps[i].Bytes)
				if len(frames) < 2 || at >= len(frames) {
					break
				}
				rest := slices.Concat(slices.Concat(frames[:at], frames[min(at+n, len(frames)):])...)
				if len(rest) > 0 && m.change(i, func(st *Step) { st.Bytes = rest }) {
					changed = true
					continue
				}
				at += n
			}
		}
	}
	return changed
}

// cutAll cuts bytes into packets; what is no whole packet comes last.
func cutAll(b []byte) [][]byte {
	var all [][]byte
	for len(b) > 0 {
		frame, rest, err := codec.Cut(b, 0)
		if frame == nil || err != nil {
			return append(all, b)
		}
		all = append(all, frame)
		b = rest
	}
	return all
}

// maxFrames bounds how many packets of one step are looked at singly.
const maxFrames = 16

// packets makes the bytes of steps simpler: fields first, then whatever bytes can go.
func (m *minimiser) packets() (changed bool) {
	for i := range m.best.Steps {
		for k := range min(maxFrames, len(cutAll(m.best.Steps[i].Bytes))) {
			get := func() []byte {
				if frames := cutAll(m.best.Steps[i].Bytes); k < len(frames) {
					return frames[k]
				}
				return nil
			}
			set := func(b []byte) bool {
				frames := cutAll(m.best.Steps[i].Bytes)
				frames[k] = b
				return m.change(i, func(st *Step) { st.Bytes = slices.Concat(frames...) })
			}
			changed = m.fields(get, set) || changed
			changed = m.bytes(get, set) || changed
		}
	}
	return changed
}

// fields leaves out fields of one packet, or makes them short.
func (m *minimiser) fields(get func() []byte, set func([]byte) bool) (changed bool) {
	for k := 2; m.ctx.Err() == nil; {
		b := get()
		fields := codec.AppendFields(nil, b, m.best.Version)
		if k >= len(fields) {
			return changed
		}
		if slices.ContainsFunc(simpler(b, fields, k), set) {
			changed = true
			continue
		}
		k++
	}
	return changed
}

// bytes leaves out stretches of bytes of one packet, where there are not too many; its length is mended where it was right.
func (m *minimiser) bytes(get func() []byte, set func([]byte) bool) (changed bool) {
	for n := len(get()) / 2; n >= 1; n /= 2 {
		if len(get()) > 4096 && n < 64 {
			return changed
		}
		for at := len(get()) - n; at >= 1 && m.ctx.Err() == nil; at -= n {
			b := get()
			if at+n > len(b) {
				continue
			}
			if c, ok := mended(b, at, n, nil); ok && set(c) {
				changed = true
			}
		}
	}
	return changed
}

// simpler returns a packet with one field left out or made short, lengths mended.
func simpler(b []byte, fields []codec.Field, k int) [][]byte {
	f := fields[k]
	var all [][]byte
	add := func(at, n int, with []byte) {
		c, ok := mended(b, at, n, with)
		if !ok {
			return
		}
		// The Property Length in front counts what is in its block.
		for j := k - 1; j >= 2; j-- {
			p := fields[j]
			if p.Name != codec.FieldPropertyLength {
				continue
			}
			old, size := codec.Varint(b[p.Offset:])
			if size != 1 || p.Offset+1+int(old) < f.Offset+f.Len || int(old)+len(with)-n < 0 {
				break
			}
			shift := len(c) - len(b) - len(with) + n // of the Remaining Length itself
			if at := p.Offset + shift; at > 0 && at < len(c) {
				c[at] = byte(int(old) + len(with) - n)
			}
			break
		}
		all = append(all, c)
	}
	switch {
	case f.Name == codec.FieldPropertyLength:
		return nil
	case f.Name == codec.FieldPayload:
		add(f.Offset, f.Len, nil)
		if f.Len > 16 {
			add(f.Offset, f.Len-f.Len/2, nil)
		}
	case f.Prop != 0:
		add(f.Offset, f.Len, nil)
	case f.Kind == codec.KindString || f.Kind == codec.KindBinary:
		if f.Len > 3 && int(binary.BigEndian.Uint16(b[f.Offset:])) == f.Len-2 {
			add(f.Offset, f.Len, []byte{0, 1, b[f.Offset+2]})
		}
		if f.Name == codec.FieldFilter && k+1 < len(fields) && fields[k+1].Name == codec.FieldOptions {
			add(f.Offset, f.Len+fields[k+1].Len, nil)
		}
	}
	return all
}

// mended replaces n bytes at a place of a packet. A Remaining Length that was right is right again; bytes that are no
// whole packet are just shorter.
func mended(b []byte, at, n int, with []byte) ([]byte, bool) {
	length, size := codec.Varint(b[1:])
	if size <= 0 || 1+size+int(length) != len(b) {
		return slices.Concat(b[:at], with, b[at+n:]), true
	}
	body := 1 + size
	if at < body {
		return nil, false
	}
	c := append(make([]byte, 0, len(b)), b[0])
	c = codec.AppendVarint(c, uint32(int(length)-n+len(with)))
	c = append(c, b[body:at]...)
	c = append(c, with...)
	return append(c, b[at+n:]...), true
}
