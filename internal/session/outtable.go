package session

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

const (
	maxID     = 65535
	fullSlots = maxID + 1
	minSlots  = 8
	keepSlots = 64 // a drained table up to this size is kept until the next trim
)

// What an outbound entry waits for.
const (
	outPuback uint8 = iota + 1
	outPubrec
	outPubcomp
	outRequest
)

// The flags of an outbound entry.
const (
	outSent       uint8 = 1 << iota // the PUBLISH has been sent, on some connection
	outCounted                      // it took a slot of this connection's window
	outQueued                       // it waits in a queue for being sent on this connection
	outUnstored                     // its record is not durable yet
	outPubrelSent                   // the PUBREL has been sent, on some connection
)

// outSlot is one identifier in use.
type outSlot[H any] struct {
	h     H
	seq   uint64
	size  uint32
	id    uint16 // 0: free
	state uint8
	flags uint8
}

func (p *outSlot[H]) qos() codec.QoS {
	switch p.state {
	case outPuback:
		return 1
	case outPubrec, outPubcomp:
		return 2
	}
	return 0
}

func (p *outSlot[H]) expired(it sendItem, now Time) bool {
	return it.expires != 0 && now >= it.expires && p.flags&outSent == 0 // [MQTT-4.3.3-7]
}

// pubrel is the action that sends the entry's PUBREL, and notes it.
func (p *outSlot[H]) pubrel() Action[H] {
	a := Action[H]{Kind: SendPubrel, ID: p.id, Dup: p.flags&outPubrelSent != 0, H: p.h}
	p.flags = p.flags&^outQueued | outPubrelSent
	return a
}

// outTable holds the identifiers in use in a table without collisions: an entry's place is its identifier modulo the
// size, and since this side chooses the identifiers it takes the next one whose place is free. Identifiers go round, so
// that a repeated acknowledgement of an old message seldom meets a new one.
type outTable[H any] struct {
	slots []outSlot[H] // a power of two, or nil
	// groups counts the entries of each 64 slots of a table of the largest size: that one alone may be full but for a few
	// slots, and looking for them one by one would be slow.
	groups *[fullSlots / 64]uint8
	n      uint16
	peak   uint16 // most entries since the table was last empty
	last   uint16 // identifier given out last
}

func (t *outTable[H]) find(id uint16) *outSlot[H] {
	if len(t.slots) == 0 || id == 0 {
		return nil
	}
	if p := &t.slots[int(id)&(len(t.slots)-1)]; p.id == id {
		return p
	}
	return nil
}

// alloc takes a free identifier. There must be one. Pointers to other entries are invalid afterwards.
func (t *outTable[H]) alloc() *outSlot[H] {
	if int(t.n) >= len(t.slots)/4*3 && len(t.slots) < fullSlots {
		t.resize(max(minSlots, 2*len(t.slots)))
	}
	mask := len(t.slots) - 1
	for {
		t.last++
		if t.groups != nil && t.groups[t.last/64] == 64 {
			t.last |= 63
			continue
		}
		if t.last == 0 {
			continue
		}
		if p := &t.slots[int(t.last)&mask]; p.id == 0 {
			p.id = t.last
			t.added(p.id)
			return p
		}
	}
}

// place takes the given identifier, which must be free, and makes the table large enough for it.
func (t *outTable[H]) place(id uint16) *outSlot[H] {
	size := max(minSlots, len(t.slots))
	for int(t.n) >= size/4*3 && size < fullSlots {
		size *= 2
	}
	for size != len(t.slots) && !t.resize(size) {
		size *= 2
	}
	for t.slots[int(id)&(len(t.slots)-1)].id != 0 {
		t.resize(2 * len(t.slots))
	}
	p := &t.slots[int(id)&(len(t.slots)-1)]
	p.id, t.last = id, id
	t.added(id)
	return p
}

func (t *outTable[H]) added(id uint16) {
	if t.groups != nil {
		t.groups[id/64]++
	}
	t.n++
	t.peak = max(t.peak, t.n)
}

// remove frees the identifier. Pointers to entries are invalid afterwards.
func (t *outTable[H]) remove(p *outSlot[H]) {
	if t.groups != nil {
		t.groups[p.id/64]--
	}
	*p = outSlot[H]{}
	t.n--
	if t.n == 0 {
		if len(t.slots) > keepSlots && int(t.peak) < len(t.slots)/8 {
			t.resize(len(t.slots) / 2) // the last burst did not need this much
		}
		t.peak = 0
	}
}

// resize moves the entries into a table of the given size, or leaves them where two would collide. Doubling never
// makes a collision.
func (t *outTable[H]) resize(size int) bool {
	next := make([]outSlot[H], size)
	for i := range t.slots {
		p := &t.slots[i]
		if p.id == 0 {
			continue
		}
		d := &next[int(p.id)&(size-1)]
		if d.id != 0 {
			return false
		}
		*d = *p
	}
	t.slots, t.groups = next, nil
	if size == fullSlots {
		t.groups = new([fullSlots / 64]uint8)
		for i := range next {
			if next[i].id != 0 {
				t.groups[i/64]++
			}
		}
	}
	return true
}

// trim gives back memory that is not needed. A few identifiers that stay in use for long can prevent it.
func (t *outTable[H]) trim() {
	if t.n == 0 {
		t.clear()
		return
	}
	size := minSlots
	for size < 2*int(t.n) {
		size *= 2
	}
	for ; size <= len(t.slots)/4; size *= 2 {
		if t.resize(size) {
			return
		}
	}
}

func (t *outTable[H]) clear() { t.slots, t.groups, t.n, t.peak = nil, nil, 0, 0 }

// sorted lists the entries in their order of sending.
func (t *outTable[H]) sorted() []sendItem {
	if t.n == 0 {
		return nil
	}
	list := make([]sendItem, 0, t.n)
	for i := range t.slots {
		if p := &t.slots[i]; p.id != 0 {
			list = append(list, sendItem{seq: p.seq, id: p.id})
		}
	}
	slices.SortFunc(list, func(a, b sendItem) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return list
}
