package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
)

// What a page of a bbolt file holds, by the flags in its head.
const (
	pageBranch   = 0x01
	pageLeaf     = 0x02
	pageFreelist = 0x10

	pageHead    = 16
	elementSize = 16
	metaMagic   = 0xED0CDAED
	bucketLeaf  = 1
	noFreelist  = 1<<64 - 1
)

// pages walks through a file before the library maps it into memory, where a page that points anywhere could
// take the process down with it or send it round in circles.
type pages struct {
	f    *os.File
	size uint64 // of a page
	high uint64 // first page that does not exist
	seen map[uint64]bool
}

// checkPages says what is wrong with the tree of a file.
func checkPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	m, err := newestMeta(f)
	if err != nil {
		return err
	}
	p := &pages{f: f, size: uint64(binary.LittleEndian.Uint32(m[8:])), high: binary.LittleEndian.Uint64(m[40:]), seen: map[uint64]bool{0: true, 1: true}}
	if p.high > uint64(info.Size())/p.size {
		return fmt.Errorf("it has %d bytes of %d", info.Size(), p.high*p.size)
	}
	if err := p.tree(binary.LittleEndian.Uint64(m[16:]), 0); err != nil {
		return err
	}
	if id := binary.LittleEndian.Uint64(m[32:]); id != noFreelist {
		return p.freelist(id)
	}
	return nil
}

// newestMeta returns the valid one of the two meta pages, without its head, the newer one if both are.
func newestMeta(f *os.File) (best []byte, err error) {
	for _, size := range []int64{0, 4096, 8192, 16384, 32768, 65536} { // the second stands after a page, whose size is not known
		b := make([]byte, pageHead+64)
		if _, err := f.ReadAt(b, size); err != nil {
			continue
		}
		m := b[pageHead:]
		h := fnv.New64a()
		_, _ = h.Write(m[:56])
		if binary.LittleEndian.Uint32(m) != metaMagic || binary.LittleEndian.Uint64(m[56:]) != h.Sum64() {
			continue
		}
		if n := binary.LittleEndian.Uint32(m[8:]); n < 1024 || n&(n-1) != 0 || size != 0 && size != int64(n) {
			continue
		}
		if best == nil || binary.LittleEndian.Uint64(m[48:]) > binary.LittleEndian.Uint64(best[48:]) {
			best = m
		}
	}
	if best == nil {
		return nil, errors.New("no head is valid")
	}
	return best, nil
}

// read returns a page with those that belong to it.
func (p *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high || p.seen[id] {
		return nil, fmt.Errorf("page %d is used twice or does not exist", id)
	}
	head := make([]byte, pageHead)
	if _, err := p.f.ReadAt(head, int64(id*p.size)); err != nil {
		return nil, err
	}
	more := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || id+more >= p.high {
		return nil, fmt.Errorf("page %d has a wrong head", id)
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.seen[i] = true
	}
	b := make([]byte, (1+more)*p.size)
	if _, err := p.f.ReadAt(b, int64(id*p.size)); err != nil {
		return nil, err
	}
	return b, nil
}

func (p *pages) tree(id uint64, depth int) error {
	if depth > 64 {
		return errors.New("its tree is deeper than any can be")
	}
	b, err := p.read(id)
	if err != nil {
		return err
	}
	return p.node(b, id, depth)
}

// node checks the elements of a branch or leaf, and what they point to.
func (p *pages) node(b []byte, id uint64, depth int) error {
	flags, count := binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint16(b[10:]))
	if flags != pageBranch && flags != pageLeaf || pageHead+count*elementSize > len(b) || flags == pageBranch && count == 0 {
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
	var last []byte
	for i := range count {
		e := b[pageHead+i*elementSize:]
		pos, key, value := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), uint32(0)
		if flags == pageLeaf {
			pos, key, value = binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		}
		if uint64(pos)+uint64(key)+uint64(value) > uint64(len(e)) {
			return fmt.Errorf("page %d has an element that reaches beyond it", id)
		}
		k := e[pos : pos+key]
		if i > 0 && bytes.Compare(last, k) >= 0 {
			return fmt.Errorf("page %d is out of order", id)
		}
		last = k
		switch {
		case flags == pageBranch:
			if err := p.tree(binary.LittleEndian.Uint64(e[8:]), depth+1); err != nil {
				return err
			}
		case binary.LittleEndian.Uint32(e)&bucketLeaf != 0:
			v := e[pos+key : pos+key+value]
			if len(v) < 16 {
				return fmt.Errorf("page %d has a bucket without a head", id)
			}
			root := binary.LittleEndian.Uint64(v)
			switch {
			case root != 0:
				if err := p.tree(root, depth+1); err != nil {
					return err
				}
			case len(v) < 16+pageHead:
				return fmt.Errorf("page %d has a bucket without a page", id)
			default:
				if err := p.node(v[16:], id, depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (p *pages) freelist(id uint64) error {
	b, err := p.read(id)
	if err != nil {
		return err
	}
	from, count := pageHead, uint64(binary.LittleEndian.Uint16(b[10:]))
	if count == 0xFFFF { // too many for two bytes: the first number says how many
		from, count = pageHead+8, binary.LittleEndian.Uint64(b[pageHead:])
	}
	if binary.LittleEndian.Uint16(b[8:]) != pageFreelist || count > uint64(len(b)-from)/8 {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	for i := range count {
		free := binary.LittleEndian.Uint64(b[uint64(from)+8*i:])
		if free < 2 || free >= p.high || p.seen[free] {
			return fmt.Errorf("page %d is free and used", free)
		}
		p.seen[free] = true
	}
	return nil
}
