package topic

import "strings"

// node is one branching point or end of a path. Levels that do not branch are kept together
// in one label, so a trie of n paths has at most 2n nodes however deep the paths are.
type node[P any] struct {
	label string // the levels below the parent, at least one, joined by slashes; owned by the node
	first int32  // length of label's first level
	used  uint8  // bits of the owner: which parts of load count. A node without any is there to branch
	kids  *branch[P]
	plus  *node[P] // the child whose first level is +
	load  P
}

// key returns the first level of the label, by which the parent finds the node.
func (n *node[P]) key() string { return n.label[:n.first] }

func (n *node[P]) isPlus() bool { return n.first == 1 && n.label[0] == '+' }

// setLabel takes a copy, so that a node never keeps a longer string alive than it needs.
func (n *node[P]) setLabel(s string) {
	n.label = strings.Clone(s)
	n.first = int32(levelEnd(s, 0))
}

func (n *node[P]) children() int {
	c := 0
	if n.kids != nil {
		c = n.kids.len()
	}
	if n.plus != nil {
		c++
	}
	return c
}

func (n *node[P]) child(key string) *node[P] {
	switch {
	case key == "+":
		return n.plus
	case n.kids == nil:
		return nil
	}
	return n.kids.find(key)
}

func (n *node[P]) attach(c *node[P]) {
	if c.isPlus() {
		n.plus = c
		return
	}
	if n.kids == nil {
		n.kids = &branch[P]{}
	}
	n.kids.add(c)
}

func (n *node[P]) detach(c *node[P]) {
	if n.plus == c {
		n.plus = nil
		return
	}
	n.kids.remove(c)
	if n.kids.len() == 0 {
		n.kids = nil
	}
}

func (n *node[P]) onlyChild() *node[P] {
	if n.plus != nil {
		return n.plus
	}
	for c := range n.kids.all {
		return c
	}
	return nil
}

// branch holds the children with a literal first level: few in a list, many in a map.
type branch[P any] struct {
	list  []*node[P]
	index map[string]*node[P] // nil while the list serves
}

// A list longer than branchMax becomes a map; a map shrunk to branchMin becomes a list.
const branchMax, branchMin = 8, 4

func (b *branch[P]) len() int {
	if b.index != nil {
		return len(b.index)
	}
	return len(b.list)
}

func (b *branch[P]) find(key string) *node[P] {
	if b.index != nil {
		return b.index[key]
	}
	for _, c := range b.list {
		if c.key() == key {
			return c
		}
	}
	return nil
}

func (b *branch[P]) add(c *node[P]) {
	if b.index == nil && len(b.list) < branchMax {
		b.list = append(b.list, c)
		return
	}
	if b.index == nil {
		b.index = make(map[string]*node[P], 2*branchMax)
		for _, o := range b.list {
			b.index[o.key()] = o
		}
		b.list = nil
	}
	b.index[c.key()] = c
}

func (b *branch[P]) remove(c *node[P]) {
	if b.index == nil {
		last := len(b.list) - 1
		for i, o := range b.list {
			if o == c {
				b.list[i], b.list[last] = b.list[last], nil
				b.list = b.list[:last]
				return
			}
		}
		return
	}
	delete(b.index, c.key())
	if len(b.index) <= branchMin {
		b.list = make([]*node[P], 0, branchMax)
		for _, o := range b.index {
			b.list = append(b.list, o)
		}
		b.index = nil
	}
}

func (b *branch[P]) all(yield func(*node[P]) bool) {
	for _, c := range b.list {
		if !yield(c) {
			return
		}
	}
	for _, c := range b.index {
		if !yield(c) {
			return
		}
	}
}

// trie is a tree of paths by level. A path is given as a string and the offset of its first
// level; an offset past the end of the string means no levels, which is the root.
type trie[P any] struct {
	root  node[P]
	nodes int // without the root
}

// obtain returns the node of a path, creating it where needed. The caller then sets used.
func (t *trie[P]) obtain(path string, pos int) *node[P] {
	n := &t.root
	for pos <= len(path) {
		c := n.child(path[pos:levelEnd(path, pos)])
		if c == nil {
			c = &node[P]{}
			c.setLabel(path[pos:])
			n.attach(c)
			t.nodes++
			return c
		}
		cut := sharedLevels(c.label, path[pos:])
		if cut < len(c.label) {
			c = t.split(n, c, cut)
		}
		n = c
		pos += cut + 1
	}
	return n
}

// find returns the node of a path with its parent and grandparent, or nil. The node may be
// one that only branches.
func (t *trie[P]) find(path string, pos int) (grand, parent, n *node[P]) {
	n = &t.root
	for pos <= len(path) {
		c := n.child(path[pos:levelEnd(path, pos)])
		if c == nil || sharedLevels(c.label, path[pos:]) < len(c.label) {
			return nil, nil, nil
		}
		grand, parent, n = parent, n, c
		pos += len(c.label) + 1
	}
	return grand, parent, n
}

// split puts a node that only branches above c, at the slash at offset cut of c's label.
func (t *trie[P]) split(parent, c *node[P], cut int) *node[P] {
	upper := &node[P]{}
	upper.setLabel(c.label[:cut])
	parent.detach(c)
	parent.attach(upper)
	c.setLabel(c.label[cut+1:])
	upper.attach(c)
	t.nodes++
	return upper
}

// settle removes n if nothing needs it any more. Its arguments are what find returned.
func (t *trie[P]) settle(grand, parent, n *node[P]) {
	if n == &t.root || n.used != 0 {
		return
	}
	switch n.children() {
	case 0:
		parent.detach(n)
		t.nodes--
		if parent != &t.root && parent.used == 0 && parent.children() == 1 {
			t.fold(grand, parent)
		}
	case 1:
		t.fold(parent, n)
	}
}

// fold joins n, which only branches and has one child left, with that child.
func (t *trie[P]) fold(parent, n *node[P]) {
	c := n.onlyChild()
	parent.detach(n)
	c.label = n.label + "/" + c.label
	c.first = n.first
	parent.attach(c)
	t.nodes--
}

// sharedLevels returns how many bytes of label are whole levels that path begins with. The
// first levels of both are known to be equal.
func sharedLevels(label, path string) int {
	if strings.HasPrefix(path, label) && (len(path) == len(label) || path[len(label)] == '/') {
		return len(label)
	}
	i := 0
	for i < len(label) && i < len(path) && label[i] == path[i] {
		i++
	}
	if i == len(path) && i < len(label) && label[i] == '/' {
		return i
	}
	return strings.LastIndexByte(label[:i], '/')
}
