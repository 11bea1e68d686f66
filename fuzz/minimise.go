package fuzz

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"time"
)

// Minimise makes a script smaller for as long as fires says that what is left still brings the same trouble about, until
// nothing more can be left out or the context ends. It looks for the end and then for the beginning of what matters, and
// leaves out connections, steps, repetitions, whole fields, and bytes, in this order. The result fires, if the script
// itself does; the script is left as it is.
func Minimise(ctx context.Context, s *Script, fires func(*Script) bool) *Script {
	m := newMinimiser(ctx, s, fires)
	m.run()
	return m.best
}

// minimiser makes one script smaller.
type minimiser struct {
	ctx   context.Context
	best  *Script
	fires func(*Script) bool // may be misled by what scripts before have left behind, where there is a sure
	sure  func(*Script) bool // is not, and costs more; nil: fires is sure

	proven *Script // the last one that sure has seen, or the original
	gained int     // reductions since then
	strict bool    // fires was misled: sure alone is asked
	chancy bool    // the script does not always fire
	seed   maphash.Seed
	missed map[uint64]bool // scripts that did not fire, by their hashes
}

// maxUnproven is how many reductions are made before they are proven: all are lost where they prove wrong.
const maxUnproven = 12

func newMinimiser(ctx context.Context, s *Script, fires func(*Script) bool) *minimiser {
	s = s.Clone()
	return &minimiser{ctx: ctx, best: s, proven: s, fires: fires, seed: maphash.MakeSeed(), missed: map[uint64]bool{}}
}

// run does the cheap and promising first: a budget may end it anywhere.
func (m *minimiser) run() {
	m.coarse()
	m.prove()
	m.prefix()
	m.suffix()
	m.prove()
	for changed := true; changed && m.ctx.Err() == nil; {
		for changed && m.ctx.Err() == nil {
			changed = m.reduce(sessions(m.best))
			changed = m.reduce(single(m.best)) || changed
			changed = m.repeats() || changed
			changed = m.unroll() || changed
			changed = m.split() || changed
			m.prove()
		}
		changed = m.packets()
		m.prove()
	}
}

// try takes the script over where it still fires.
func (m *minimiser) try(s *Script) bool {
	if m.ctx.Err() != nil || len(s.Steps) == 0 {
		return false
	}
	h := m.hash(s)
	if m.missed[h] {
		return false
	}
	fires := m.fires
	if m.strict {
		fires = m.sure
	}
	if !fires(s) || m.ctx.Err() != nil {
		m.missed[h] = true
		return false
	}
	m.best = s
	if m.strict {
		m.proven = s
	} else if m.gained++; m.gained >= maxUnproven {
		return m.prove()
	}
	return true
}

// prove asks on a fresh target whether the best script still fires, and goes back to the last that did where it does not.
func (m *minimiser) prove() bool {
	m.gained = 0
	if m.sure == nil || m.best == m.proven {
		m.proven = m.best
		return true
	}
	if m.sure(m.best) {
		m.proven = m.best
		return true
	}
	m.best, m.strict = m.proven, true
	return false
}

func (m *minimiser) hash(s *Script) uint64 {
	var h maphash.Hash
	h.SetSeed(m.seed)
	var b [48]byte
	for i := range s.Steps {
		st := &s.Steps[i]
		b[0], b[1], b[2], b[3] = byte(st.Op), byte(st.Ack), st.Conn, byte(flag(st.Counting))
		for k, v := range []int{len(st.Bytes), max(1, st.Repeat), st.Size, int(st.Gap)} {
			binary.LittleEndian.PutUint64(b[8+8*k:], uint64(v))
		}
		_, _ = h.Write(b[:])
		_, _ = h.Write(st.Bytes)
	}
	return h.Sum64()
}

// without returns the best script without the steps that drop names.
func (m *minimiser) without(drop func(i int, st *Step) bool) *Script {
	s := m.best.Clone()
	s.Steps = s.Steps[:0]
	for i := range m.best.Steps {
		if !drop(i, &m.best.Steps[i]) {
			s.Steps = append(s.Steps, m.best.Steps[i])
		}
	}
	return s
}

// change tries the best script with one step changed.
func (m *minimiser) change(i int, to func(*Step)) bool {
	s := m.best.Clone()
	to(&s.Steps[i])
	return m.try(s)
}

// coarse tries what makes a script much shorter, much quicker, or less a matter of chance, at one go.
func (m *minimiser) coarse() {
	if m.chancy {
		m.try(held(m.best))
	}
	for _, most := range []int{1, 2, 4, 16} {
		s, fewer := m.best.Clone(), false
		for i := range s.Steps {
			st := &s.Steps[i]
			fewer = fewer || st.Repeat > most
			st.Repeat = min(st.Repeat, most)
		}
		if !fewer || m.try(s) {
			break
		}
	}
	for _, op := range []Op{Meanwhile, Stall, Churn, Pause, Answer} {
		if s := m.without(func(_ int, st *Step) bool { return st.Op == op }); len(s.Steps) < len(m.best.Steps) {
			m.try(s)
		}
	}
	s := m.best.Clone()
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Op == Settle {
			st.Gap = min(st.Gap, briefGap)
		}
	}
	m.try(s)
}

// briefGap is a short wait for answers.
const briefGap = 5 * time.Millisecond

// short is the number of steps up to which it does not pay to look for an end and a beginning.
const short = 6

// prefix leaves out what comes after the step that brings the trouble about.
func (m *minimiser) prefix() {
	for low := 0; len(m.best.Steps)-low > 1 && len(m.best.Steps) > short && m.ctx.Err() == nil; {
		n := low + (len(m.best.Steps)-low)/2
		if !m.try(m.without(func(i int, _ *Step) bool { return i >= n })) {
			low = n
		}
	}
}

// suffix looks for few steps at the end that suffice, with what opens their connections.
func (m *minimiser) suffix() {
	all := m.best.Steps
	for keep := 1; keep < len(all) && len(all) > short && m.ctx.Err() == nil; keep *= 2 {
		at := len(all) - keep
		var needed [MaxConns]bool
		for i := at; i < len(all); i++ {
			needed[all[i].Conn%MaxConns] = true
		}
		opens := openers(all[:at], needed)
		if m.try(m.without(func(i int, _ *Step) bool { return i < at && !slices.Contains(opens, i) })) {
			return
		}
	}
}

// openers returns the steps that open the needed connections which stand at the end of the steps: Open, and the first bytes
// with the wait that follows them.
func openers(steps []Step, needed [MaxConns]bool) []int {
	var all []int
	for c := range uint8(MaxConns) {
		if !needed[c] {
			continue
		}
		var own []int
		for i := range steps {
			st := &steps[i]
			if st.Conn%MaxConns != c || !st.Op.connected() {
				continue
			}
			switch n := len(own); {
			case st.Op == Open:
				own = []int{i}
			case st.Op == Close || st.Op == Drop:
				own = nil
			case n == 1 && (st.Op == Send || st.Op == Drip), n == 2 && st.Op == Settle:
				own = append(own, i)
			}
		}
		all = append(all, own...)
	}
	return all
}

// sessions groups the steps by the life of the connection that they are on. What is on none is a group of its own, and so
// is what is done at the same time as other things.
func sessions(s *Script) [][]int {
	var groups [][]int
	var of [MaxConns]int // group of the connection, and one
	apart := false       // in a Meanwhile
	for i := range s.Steps {
		st := &s.Steps[i]
		switch {
		case st.Op == Meanwhile:
			of, apart = [MaxConns]int{}, true
			groups = append(groups, []int{i})
			continue
		case apart && st.Op != Afterwards:
			groups[len(groups)-1] = append(groups[len(groups)-1], i)
			continue
		case !st.Op.connected():
			apart = false
			groups = append(groups, []int{i})
			continue
		}
		c := st.Conn % MaxConns
		if of[c] == 0 || st.Op == Open {
			groups = append(groups, nil)
			of[c] = len(groups)
		}
		groups[of[c]-1] = append(groups[of[c]-1], i)
		if st.Op == Close || st.Op == Drop {
			of[c] = 0
		}
	}
	return groups
}

// single makes each step a group.
func single(s *Script) [][]int {
	groups := make([][]int, len(s.Steps))
	for i := range groups {
		groups[i] = []int{i}
	}
	return groups
}

// reduce leaves out groups of steps, many at once first, the older ones first.
func (m *minimiser) reduce(groups [][]int) (changed bool) {
	if len(groups) < 2 && len(m.best.Steps) > len(groups) {
		return false // there is but one connection
	}
	base := m.best
	for n := max(1, len(groups)/2); n >= 1 && m.ctx.Err() == nil; n /= 2 {
		for at := 0; at < len(groups) && m.ctx.Err() == nil; {
			rest := slices.Concat(groups[:at], groups[min(at+n, len(groups)):])
			kept := make([]bool, len(base.Steps))
			for _, g := range rest {
				for _, i := range g {
					kept[i] = true
				}
			}
			s := base.Clone()
			s.Steps = s.Steps[:0]
			for i := range base.Steps {
				if kept[i] {
					s.Steps = append(s.Steps, base.Steps[i])
				}
			}
			before := m.best
			switch {
			case m.try(s):
				groups, changed = rest, true
			case m.best != before: // went back to what was proven
				return changed
			default:
				at += n
			}
		}
	}
	return changed
}

// repeats makes numbers smaller: to 1, 2 or 3 at once, else by halves.
func (m *minimiser) repeats() (changed bool) {
	for i := 0; i < len(m.best.Steps); i++ {
		changed = m.number(i, func(st *Step) *int { return &st.Repeat }) || changed
		if m.is(i, Churn) {
			changed = m.number(i, func(st *Step) *int { return &st.Size }) || changed
		}
		if m.is(i, Drip) && m.change(i, func(st *Step) { st.Op, st.Size, st.Gap = Send, 0, 0 }) {
			changed = true
		}
		if (m.is(i, Pause) || m.is(i, Settle)) && m.best.Steps[i].Gap > 2*time.Millisecond && m.change(i, func(st *Step) { st.Gap /= 2 }) {
			changed = true
		}
	}
	return changed
}

// is reports whether the best script has a step of the operation there.
func (m *minimiser) is(i int, op Op) bool { return i < len(m.best.Steps) && m.best.Steps[i].Op == op }

// number makes one number of a step smaller.
func (m *minimiser) number(i int, field func(*Step) *int) (changed bool) {
	if i >= len(m.best.Steps) || *field(&m.best.Steps[i]) <= 1 {
		return false
	}
	high := *field(&m.best.Steps[i]) // fires
	set := func(n int) bool { return n < high && m.change(i, func(st *Step) { *field(st) = n }) }
	low := 0
	for low < min(3, high-1) {
		if low++; set(low) {
			return true
		}
	}
	for high-low > max(1, low/8) && m.ctx.Err() == nil {
		if mid := low + (high-low)/2; set(mid) {
			high, changed = mid, true
		} else {
			low = mid
		}
	}
	return changed
}

// unroll puts connections of the script in the place of connections that come and go by themselves: few of them say more
// than many.
func (m *minimiser) unroll() (changed bool) {
	for i := 0; i < len(m.best.Steps) && m.ctx.Err() == nil; i++ {
		if !m.is(i, Churn) {
			continue
		}
		a, b := free(m.best.Steps, i)
		bytes := m.best.Steps[i].Bytes
		one := func(c uint8) []Step {
			return []Step{{Op: Open, Conn: c}, {Op: Send, Conn: c, Bytes: bytes}, {Op: Settle, Conn: c, Gap: settleGap}}
		}
		drops := []Step{{Op: Drop, Conn: a}, {Op: Drop, Conn: b}}
		for _, steps := range [][]Step{one(a), append(one(a), drops[0]), slices.Concat(one(a), one(b)), slices.Concat(one(a), one(b), drops)} {
			s := m.best.Clone()
			s.Steps = slices.Concat(s.Steps[:i:i], steps, s.Steps[i+1:])
			if m.try(s) {
				changed = true
				break
			}
		}
	}
	return changed
}

// free returns two connections, those that are not open at a step if there are any.
func free(steps []Step, at int) (a, b uint8) {
	var opened [MaxConns]bool
	for i := range steps[:at] {
		switch st := &steps[i]; st.Op {
		case Open:
			opened[st.Conn%MaxConns] = true
		case Close, Drop:
			opened[st.Conn%MaxConns] = false
		}
	}
	var order []uint8
	for _, want := range []bool{false, true} {
		for c := range uint8(MaxConns) {
			if opened[c] == want {
				order = append(order, c)
			}
		}
	}
	return order[0], order[1]
}
