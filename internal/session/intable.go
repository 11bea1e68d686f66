package session

import "github.com/mqlab/mqlab/codec"

// What an inbound QoS 2 identifier waits for.
const (
	inHeld    uint8 = iota + 1 // the application's Ack
	inStoring                  // storage of its record
	inReady                    // its turn to be answered with PUBREC
	inPubrel                   // PUBREL
	inStored                   // storage of its removal, then PUBCOMP
)

// The flags of an inbound identifier.
const (
	inCounted uint8 = 1 << iota // it took a slot of this connection's Receive Maximum
	inQueued                    // its PUBREC waits in acks2
	inAnswer                    // its PUBREL came on this connection
)

// crowded is how far from its place an entry may go before the table grows on account of it.
const crowded = 32

// inSlot is one inbound QoS 2 identifier.
type inSlot struct {
	ref    uint64
	id     uint16 // 0: free
	state  uint8
	flags  uint8
	reason codec.ReasonCode
}

// inTable holds inbound identifiers, which the peer chooses, by open addressing. Among entries that meet, the one
// further from its place goes first: that keeps removals short when identifiers come in sequence.
type inTable struct {
	slots []inSlot // a power of two, or nil
	n     uint16
	peak  uint16
}

// far is how far the entry at i is from its place.
func (t *inTable) far(i int) int { return (i - int(t.slots[i].id)) & (len(t.slots) - 1) }

// find is the index of the identifier, or -1.
func (t *inTable) find(id uint16) int {
	if t.n == 0 || id == 0 {
		return -1
	}
	mask := len(t.slots) - 1
	i := int(id) & mask
	for d := 0; ; d++ {
		switch {
		case t.slots[i].id == id:
			return i
		case t.slots[i].id == 0 || t.far(i) < d:
			return -1
		}
		i = (i + 1) & mask
	}
}

// add inserts an entry whose identifier is not there. Indexes are invalid afterwards.
func (t *inTable) add(e inSlot) {
	if int(t.n) >= len(t.slots)/4*3 && len(t.slots) < fullSlots {
		t.resize(max(minSlots, 2*len(t.slots)))
	}
	t.n++
	t.peak = max(t.peak, t.n)
	// A peer may choose identifiers that crowd: room keeps their search short, within a bound on what it can make us hold.
	if t.insert(e) > crowded && len(t.slots) < fullSlots && int(t.n) > len(t.slots)/16 {
		t.resize(2 * len(t.slots))
	}
}

// insert returns how many places from its own the search ended.
func (t *inTable) insert(e inSlot) int {
	mask := len(t.slots) - 1
	i := int(e.id) & mask
	steps := 0
	for d := 0; t.slots[i].id != 0; d++ {
		steps++
		if f := t.far(i); f < d {
			t.slots[i], e = e, t.slots[i]
			d = f
		}
		i = (i + 1) & mask
	}
	t.slots[i] = e
	return steps
}

// remove frees the entry at i. Indexes are invalid afterwards.
func (t *inTable) remove(i int) {
	mask := len(t.slots) - 1
	for {
		j := (i + 1) & mask
		if t.slots[j].id == 0 || t.far(j) == 0 {
			break
		}
		t.slots[i] = t.slots[j]
		i = j
	}
	t.slots[i] = inSlot{}
	t.n--
	if t.n == 0 {
		if len(t.slots) > keepSlots && int(t.peak) < len(t.slots)/8 {
			t.slots = make([]inSlot, len(t.slots)/2)
		}
		t.peak = 0
	}
}

func (t *inTable) resize(size int) {
	old := t.slots
	t.slots = make([]inSlot, size)
	for _, e := range old {
		if e.id != 0 {
			t.insert(e)
		}
	}
}

// trim gives back memory that is not needed.
func (t *inTable) trim() {
	if t.n == 0 {
		t.clear()
		return
	}
	size := minSlots
	for size < 2*int(t.n) {
		size *= 2
	}
	if size <= len(t.slots)/4 {
		t.resize(size)
	}
}

func (t *inTable) clear() { *t = inTable{} }
