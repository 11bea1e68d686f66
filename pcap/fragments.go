package pcap

import (
	"container/list"
	"slices"
	"time"
)

const (
	maxDatagrams    = 256 // put together at a time
	maxDatagram     = 65535
	fragmentTimeout = int64(60 * time.Second)
)

type fragKey struct {
	src, dst [16]byte
	id       uint32
	proto    uint8
}

// fragments puts IP datagrams together. It holds at most maxDatagrams of 64 KiB.
type fragments struct {
	open  map[fragKey]*list.Element
	order list.List // of *datagram, the one that began first in front
}

type datagram struct {
	key   fragKey
	begun int64
	parts [][2]int // what is there, as sorted ranges
	data  []byte
	size  int // 0: the last fragment has not been seen
}

// add takes in a fragment and returns the whole payload when nothing is missing any more. Where
// fragments overlap the first one stands.
func (f *fragments) add(key fragKey, offset int, b []byte, last bool, now int64) []byte {
	if f.open == nil {
		f.open = make(map[fragKey]*list.Element)
	}
	end := offset + len(b)
	if end > maxDatagram || len(b) == 0 {
		return nil
	}
	e := f.open[key]
	if e != nil && now-e.Value.(*datagram).begun > fragmentTimeout { // the identifier is used again
		f.drop(e)
		e = nil
	}
	if e == nil {
		if f.order.Len() >= maxDatagrams {
			f.drop(f.order.Front())
		}
		e = f.order.PushBack(&datagram{key: key, begun: now})
		f.open[key] = e
	}
	d := e.Value.(*datagram)
	if last {
		d.size = end
	}
	if len(d.data) < end {
		d.data = slices.Grow(d.data, end-len(d.data))[:end]
	}
	d.fill(offset, b)
	if d.size == 0 || len(d.parts) != 1 || d.parts[0][0] != 0 || d.parts[0][1] < d.size {
		return nil
	}
	f.drop(e)
	return d.data[:d.size]
}

func (f *fragments) drop(e *list.Element) {
	delete(f.open, e.Value.(*datagram).key)
	f.order.Remove(e)
}

// fill copies b to where nothing is yet and merges the ranges.
func (d *datagram) fill(from int, b []byte) {
	at, end := from, from+len(b)
	for _, p := range d.parts {
		if at < p[0] {
			stop := min(end, p[0])
			if at < stop {
				copy(d.data[at:stop], b[at-from:])
			}
		}
		at = max(at, p[1])
	}
	if at < end {
		copy(d.data[at:end], b[at-from:])
	}
	d.parts = append(d.parts, [2]int{from, end})
	slices.SortFunc(d.parts, func(x, y [2]int) int { return x[0] - y[0] })
	merged := d.parts[:1]
	for _, p := range d.parts[1:] {
		if top := &merged[len(merged)-1]; p[0] <= top[1] {
			top[1] = max(top[1], p[1])
		} else {
			merged = append(merged, p)
		}
	}
	d.parts = merged
}
