package fuzz

import (
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// maxSteps bounds what mutation makes of scripts.
const maxSteps = 48

// mostPause bounds the pauses of mutants: those of the scripts they come from may be long.
const mostPause = 30 * time.Millisecond

// Mutate makes a script out of one that led somewhere, or of two. The result is the caller's and leaves both as they are.
func (g *Generator) Mutate(s, other *Script) *Script {
	seed := g.main.pcg.Uint64()
	g.src.pcg.Seed(seed, 2)
	g.begin(seed)
	g.s.Version = s.Version
	g.s.Steps = append(g.s.Steps, s.Steps...)
	for i := range g.s.Steps {
		if st := &g.s.Steps[i]; st.Op == Pause {
			st.Gap = min(st.Gap, mostPause)
		}
	}
	g.weights = []int{3, 26, 14, 7, 8, 8, 5, 4, 3, 4, 6, 4, 2, 1, 1, 3}
	for range 1 + g.src.weighted([]int{50, 25, 15, 10}) {
		g.mutateOnce(other)
	}
	if len(g.s.Steps) == 0 {
		g.theme()
	}
	if len(g.s.Steps) > maxSteps {
		g.s.Steps = g.s.Steps[:maxSteps]
	}
	return g.end()
}

func (g *Generator) mutateOnce(other *Script) {
	steps := g.s.Steps
	if len(steps) == 0 {
		return
	}
	i := g.src.n(len(steps))
	switch g.src.weighted([]int{12, 10, 8, 18, 14, 6, 22, 4, 6}) {
	case 0: // leave a step out
		g.s.Steps = slices.Delete(steps, i, i+1)
	case 1: // do a step twice
		g.s.Steps = slices.Insert(steps, i, steps[i])
	case 2: // another order
		j := g.src.n(len(steps))
		steps[i], steps[j] = steps[j], steps[i]
	case 3: // edit a packet
		for k := range steps {
			st := &steps[(i+k)%len(steps)]
			if st.Op != Send || st.Edit != "" {
				continue
			}
			if frame, rest, err := codec.Cut(st.Bytes, 0); frame == nil || len(rest) > 0 || err != nil {
				continue
			}
			b, how := g.edit(st.Bytes, g.s.Version)
			st.Bytes, st.Edit = g.keep(b), how
			return
		}
	case 4: // new steps in the middle
		tail := slices.Clone(steps[i:])
		g.model(i)
		g.s.Steps = steps[:i]
		g.editing = 30
		for range 1 + g.src.n(3) {
			g.act(uint8(g.src.n(2)))
		}
		g.s.Steps = append(g.s.Steps, tail...)
	case 5: // go on with another script
		if other == nil || other.Version != g.s.Version {
			return
		}
		g.s.Steps = append(steps[:i], other.Steps[g.src.n(len(other.Steps)):]...)
	case 6: // go on at the end, where what it led to lies
		g.model(len(steps))
		g.editing = 30
		for range 1 + g.src.n(4) {
			g.act(uint8(g.src.n(2)))
		}
	case 7: // another version of the same
		g.s.Version = g.version()
	case 8:
		switch st := &steps[i]; st.Op {
		case Send:
			if st.Repeat = []int{2, 10, 50}[g.src.weighted([]int{60, 30, 10})]; len(st.Bytes) > 4096 {
				st.Repeat = 2
			}
		case Settle, Pause:
			st.Gap = time.Duration(g.src.n(10)) * time.Millisecond
		case Answer:
			st.Ack = Ack(g.src.n(6))
		case Close, Drop:
			st.Op = Close + Drop - st.Op
		}
	}
}

// model takes over what the first n steps mean for the connections.
func (g *Generator) model(n int) {
	g.conns = [MaxConns]genConn{}
	for i := range g.s.Steps[:n] {
		st := &g.s.Steps[i]
		x := &g.conns[st.Conn%MaxConns]
		switch st.Op {
		case Open:
			*x = genConn{open: true}
		case Close, Drop:
			*x = genConn{}
		case Meanwhile, Afterwards:
			g.conns = [MaxConns]genConn{}
		case Send, Drip:
			if len(st.Bytes) > 0 && codec.Type(st.Bytes[0]>>4) == codec.TypeConnect {
				x.connected = true
			}
		}
	}
}
