package fuzz

import (
	"slices"

	"github.com/mqlab/mqlab/codec"
)

// Trouble that depends on who was first comes back by chance alone. What is here makes scripts of which it depends less.

// held returns the script with its connections kept open for longer: none is ended, and a new one takes the place of the
// one that was in use the longest time ago. What depends on how soon a server notices that a client has gone then depends
// on nothing.
func held(s *Script) *Script {
	if s == nil {
		return nil
	}
	s = s.Clone()
	steps := s.Steps
	if slices.ContainsFunc(steps, func(st Step) bool { return st.Op == Meanwhile }) {
		return s // whose connections come and go by themselves
	}
	s.Steps = nil
	var place [MaxConns]uint8 // where a connection of the script is
	var busy [MaxConns]bool   // by place: the script has not ended it
	var used [MaxConns]int    // by place: when it was last in use, 0: never
	for i := range place {
		place[i] = uint8(i)
	}
	for i := range steps {
		st := steps[i]
		c := st.Conn % MaxConns
		switch st.Op {
		case Pause, Churn, Afterwards:
		case Close, Drop:
			busy[place[c]] = false
			continue
		case Open:
			busy[place[c]] = false
			at := uint8(0)
			for k := range uint8(MaxConns) {
				if busy[at] && !busy[k] || busy[at] == busy[k] && used[k] < used[at] {
					at = k
				}
			}
			place[c], busy[at] = at, true
			fallthrough
		default:
			st.Conn = place[c]
			used[place[c]] = i + 1
		}
		s.Steps = append(s.Steps, st)
	}
	return s
}

// How many connections at once, and how often, a storm makes of one of a script, and how much each sends.
const (
	stormSize   = 6
	stormRepeat = 8
	stormBytes  = 2 << 10
)

// storm returns a script in which each connection of a script is made by several clients at once, again and again; nil
// where it makes none.
func storm(s *Script) *Script {
	if s == nil {
		return nil
	}
	all := &Script{Version: s.Version}
	for _, group := range sessions(s) {
		var bytes []byte
		for _, i := range group {
			if st := &s.Steps[i]; (st.Op == Send || st.Op == Drip) && len(bytes)+len(st.Bytes) <= stormBytes {
				bytes = append(bytes, st.Bytes...)
			}
		}
		known := slices.ContainsFunc(all.Steps, func(st Step) bool { return slices.Equal(st.Bytes, bytes) })
		if len(bytes) == 0 || codec.Type(bytes[0]>>4) != codec.TypeConnect || known {
			continue
		}
		all.Steps = append(all.Steps, Step{Op: Churn, Bytes: bytes, Size: stormSize, Repeat: stormRepeat})
	}
	if len(all.Steps) == 0 {
		return nil
	}
	return all
}

// capped returns scripts that repeat nothing more often than most.
func capped(all []*Script, most int) []*Script {
	all = slices.Clone(all)
	for i, s := range all {
		if slices.ContainsFunc(s.Steps, func(st Step) bool { return st.Repeat > most }) {
			all[i] = s.Clone()
			for k := range all[i].Steps {
				all[i].Steps[k].Repeat = min(all[i].Steps[k].Repeat, most)
			}
		}
	}
	return all
}

// How a script of several is made that are executed at the same time.
const (
	abreastRounds = 20
	abreastRepeat = 100 // of one packet
)

// abreast returns a script that does what several do at the same time, again and again, each on connections of its own:
// what came of two clients that met comes of no script alone.
func abreast(all []*Script) *Script {
	s := &Script{}
	for _, one := range capped(all, abreastRepeat) {
		if s.Version == 0 {
			s.Version = one.Version
		}
		s.Steps = append(s.Steps, Step{Op: Meanwhile, Repeat: abreastRounds})
		for _, st := range one.Steps {
			switch st.Op {
			case Meanwhile, Afterwards:
				continue
			case Pause:
				st.Gap = min(st.Gap, mostPause)
			}
			s.Steps = append(s.Steps, st)
		}
	}
	return s
}
