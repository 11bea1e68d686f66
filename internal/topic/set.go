package topic

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mqlab/mqlab/codec"
)

// Options are what a Subscription asks for beside its filter. Before version 5 only QoS is set.
type Options struct {
	ID                uint32 // Subscription Identifier, 0 for none
	QoS               codec.QoS
	RetainHandling    uint8
	NoLocal           bool
	RetainAsPublished bool
}

// Subscription is one subscriber's interest in one filter.
type Subscription[T comparable] struct {
	Subscriber T
	Options    Options
}

// Target is one result of a lookup: either a subscriber, or a shared group of which one
// member is to be served.
type Target[T comparable] struct {
	Subscription[T]           // the zero value for a shared group
	Share           *Share[T] // nil for a subscriber of its own
}

// Share is a Shared Subscription: a ShareName together with a filter. It is safe for
// concurrent use and stays usable, without members, after it has left the tree.
//
// To serve one member that can take a message, take a turn and go round from there:
//
//	for i, turn := 0, s.Turn(); i < s.Len(); i++ {
//		m, ok := s.At(turn + uint32(i))
//		...
//	}
type Share[T comparable] struct {
	Name   string
	Filter string

	turn    atomic.Uint32
	mu      sync.RWMutex // guards members
	members roster[T]
}

// Len returns the number of members.
func (s *Share[T]) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.members.list)
}

// Turn returns a starting point for At. Successive turns start at successive members.
func (s *Share[T]) Turn() uint32 { return s.turn.Add(1) - 1 }

// At returns the member at a turn, counted round and round; false when there are none.
// Members change place when one leaves.
func (s *Share[T]) At(turn uint32) (Subscription[T], bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := uint32(len(s.members.list))
	if n == 0 {
		return Subscription[T]{}, false
	}
	return s.members.list[turn%n], true
}

// indexFrom is the length at which a list gets an index beside it.
const indexFrom = 16

// roster is a set of subscriptions by subscriber: a list to walk, indexed once it is long.
type roster[T comparable] struct {
	list  []Subscription[T]
	index map[T]int32 // position in list; nil while the list is short
}

func (r *roster[T]) position(who T) int {
	if r.index != nil {
		if i, ok := r.index[who]; ok {
			return int(i)
		}
		return -1
	}
	for i := range r.list {
		if r.list[i].Subscriber == who {
			return i
		}
	}
	return -1
}

// put adds s, or replaces the options its subscriber had.
func (r *roster[T]) put(s Subscription[T]) (replaced bool) {
	if i := r.position(s.Subscriber); i >= 0 {
		r.list[i].Options = s.Options
		return true
	}
	r.list = append(r.list, s)
	switch {
	case r.index != nil:
		r.index[s.Subscriber] = int32(len(r.list) - 1)
	case len(r.list) >= indexFrom:
		r.index = make(map[T]int32, 2*indexFrom)
		for i := range r.list {
			r.index[r.list[i].Subscriber] = int32(i)
		}
	}
	return false
}

func (r *roster[T]) drop(who T) bool {
	i := r.position(who)
	if i < 0 {
		return false
	}
	last := len(r.list) - 1
	r.list[i] = r.list[last]
	r.list[last] = Subscription[T]{}
	r.list = r.list[:last]
	if r.index != nil {
		delete(r.index, who)
		if i != last {
			r.index[r.list[i].Subscriber] = int32(i)
		}
		if last < indexFrom/2 {
			r.index = nil
		}
	}
	if c := cap(r.list); c > 2*indexFrom && last < c/4 {
		r.list = append(make([]Subscription[T], 0, c/2), r.list...)
	}
	return true
}

// set holds the subscriptions of one filter. Nearly all filters have a single subscriber,
// which is kept in place; whoever holds the set knows whether it is empty.
type set[T comparable] struct {
	one  Subscription[T] // counts while many is nil
	many *crowd[T]
}

// crowd is what a set grows into: several subscribers, or shared groups.
type crowd[T comparable] struct {
	plain  roster[T]
	shares []*Share[T]
	byName map[string]int32 // position in shares; nil while they are few
}

// put adds a subscription to a set, which is empty or not. changed says that the set value
// itself was altered and has to be stored back.
func (s *set[T]) put(empty bool, group, filter string, sub Subscription[T]) (replaced, changed bool) {
	if s.many == nil {
		if group == "" && (empty || s.one.Subscriber == sub.Subscriber) {
			s.one = sub
			return !empty, true
		}
		s.many = &crowd[T]{}
		if !empty {
			s.many.plain.put(s.one)
		}
		s.one = Subscription[T]{}
		changed = true
	}
	if group == "" {
		return s.many.plain.put(sub), changed
	}
	sh := s.many.obtain(group, filter)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.members.put(sub), changed
}

// drop removes a subscription from a set that is not empty.
func (s *set[T]) drop(group string, who T) (found, empty, changed bool) {
	if s.many == nil {
		found = group == "" && s.one.Subscriber == who
		return found, found, found
	}
	if group == "" {
		found = s.many.plain.drop(who)
	} else {
		found = s.many.leave(group, who)
	}
	if !found || len(s.many.shares) > 0 || len(s.many.plain.list) > 1 {
		return found, false, false
	}
	if len(s.many.plain.list) == 0 {
		return true, true, true
	}
	*s = set[T]{one: s.many.plain.list[0]}
	return true, false, true
}

func (s *set[T]) appendTo(dst []Target[T]) []Target[T] {
	if s.many == nil {
		return append(dst, Target[T]{Subscription: s.one})
	}
	for _, sub := range s.many.plain.list {
		dst = append(dst, Target[T]{Subscription: sub})
	}
	for _, sh := range s.many.shares {
		dst = append(dst, Target[T]{Share: sh})
	}
	return dst
}

func (c *crowd[T]) position(group string) int {
	if c.byName != nil {
		if i, ok := c.byName[group]; ok {
			return int(i)
		}
		return -1
	}
	for i, sh := range c.shares {
		if sh.Name == group {
			return i
		}
	}
	return -1
}

// obtain returns the group of that name, creating it where needed.
func (c *crowd[T]) obtain(group, filter string) *Share[T] {
	if i := c.position(group); i >= 0 {
		return c.shares[i]
	}
	sh := &Share[T]{Name: strings.Clone(group), Filter: strings.Clone(filter)}
	c.shares = append(c.shares, sh)
	switch {
	case c.byName != nil:
		c.byName[sh.Name] = int32(len(c.shares) - 1)
	case len(c.shares) >= indexFrom:
		c.byName = make(map[string]int32, 2*indexFrom)
		for i, o := range c.shares {
			c.byName[o.Name] = int32(i)
		}
	}
	return sh
}

// leave removes a member, and its group with the last one.
func (c *crowd[T]) leave(group string, who T) bool {
	i := c.position(group)
	if i < 0 {
		return false
	}
	sh := c.shares[i]
	sh.mu.Lock()
	found := sh.members.drop(who)
	left := len(sh.members.list)
	sh.mu.Unlock()
	if !found || left > 0 {
		return found
	}
	last := len(c.shares) - 1
	c.shares[i], c.shares[last] = c.shares[last], nil
	c.shares = c.shares[:last]
	if c.byName != nil {
		delete(c.byName, group)
		if i != last {
			c.byName[c.shares[i].Name] = int32(i)
		}
		if last < indexFrom/2 {
			c.byName = nil
		}
	}
	if n := cap(c.shares); n > 2*indexFrom && last < n/4 {
		c.shares = append(make([]*Share[T], 0, n/2), c.shares...)
	}
	return true
}
