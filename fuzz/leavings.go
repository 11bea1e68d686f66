package fuzz

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mqlab/mqlab/codec"
)

// leavings is what scripts may have left on a target beyond their connections, by name: sessions by their Client
// Identifiers, retained messages by their topics. The zero value is empty and takes nothing in until it is wanted. Any
// goroutine may add to it.
type leavings struct {
	wanted atomic.Bool

	mu     sync.Mutex // guards the fields below
	ids    map[string]bool
	topics map[string]bool
}

// maxLeavings bounds the names of a kind. What is beyond stays on the target.
const maxLeavings = 4096

// note takes in what a script may leave.
func (l *leavings) note(s *Script) {
	if !l.wanted.Load() {
		return
	}
	ids, topics, _ := s.leaves()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids, l.topics = map[string]bool{}, map[string]bool{}
	}
	for _, id := range ids {
		if len(l.ids) < maxLeavings {
			l.ids[id] = true
		}
	}
	for _, t := range topics {
		if len(l.topics) < maxLeavings {
			l.topics[t] = true
		}
	}
}

// assigned takes in an identifier that the server has given out. It may be called of nil.
func (l *leavings) assigned(id string) {
	if l == nil || id == "" || !l.wanted.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ids == nil {
		l.ids, l.topics = map[string]bool{}, map[string]bool{}
	}
	if len(l.ids) < maxLeavings {
		l.ids[strings.Clone(id)] = true
	}
}

// take returns the names in order, and forgets them.
func (l *leavings) take() (ids, topics []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ids, topics = slices.Sorted(maps.Keys(l.ids)), slices.Sorted(maps.Keys(l.topics))
	clear(l.ids)
	clear(l.topics)
	return ids, topics
}

// maxStream bounds what is looked at of one connection.
const maxStream = 64 << 10

// leaves names what may outlive the connections of the script. It is sure where there is nothing else: a server may make
// of a CONNECT that is not sound what it likes, and gives out identifiers that nobody here knows.
func (s *Script) leaves() (ids, topics []string, sure bool) {
	var streams [MaxConns][]byte
	sure = true
	over := func(b []byte) {
		i, t, ok := streamLeaves(b)
		ids, topics = append(ids, i...), append(topics, t...)
		sure = sure && ok
	}
	for i := range s.Steps {
		st := &s.Steps[i]
		c := st.Conn % MaxConns
		switch st.Op {
		case Open, Close, Drop:
			over(streams[c])
			streams[c] = nil
		case Send, Drip:
			if len(streams[c])+len(st.Bytes) > maxStream {
				sure = false
				continue
			}
			streams[c] = append(streams[c], st.Bytes...)
		case Churn:
			over(st.Bytes)
		}
	}
	for _, b := range streams {
		over(b)
	}
	return ids, topics, sure
}

// streamLeaves is leaves for what one connection sends.
func streamLeaves(b []byte) (ids, topics []string, sure bool) {
	d := codec.Decoder{From: codec.Client, Mode: codec.Lenient}
	for n := 0; len(b) > 0; n++ {
		frame, rest, err := codec.Cut(b, 0)
		if frame == nil || err != nil { // what begins no session leaves nothing
			return ids, topics, n > 0 || codec.Type(b[0]>>4) != codec.TypeConnect
		}
		b = rest
		typ := codec.Type(frame[0] >> 4)
		switch {
		case n == 0 && typ != codec.TypeConnect:
			return nil, nil, true
		case typ != codec.TypeConnect && typ != codec.TypePublish:
			continue
		}
		p, err := d.Decode(frame)
		var faults codec.Errors
		sound := !errors.As(err, &faults) && err == nil
		switch p := p.(type) {
		case *codec.Connect:
			if n == 0 {
				d.Version = p.Version
			}
			ids = append(ids, strings.Clone(p.ClientID))
			if p.HasWill {
				topics = append(topics, strings.Clone(p.Will.Topic))
			}
			// A session without a name that we know ends by itself alone, and some servers keep one until its Will is sent.
			lasting := !p.CleanStart || p.Props.Uint(codec.PropSessionExpiry, 0) > 0 || p.HasWill && p.Will.Props.Uint(codec.PropWillDelay, 0) > 0
			if !sound || p.ClientID == "" && lasting {
				return ids, topics, false
			}
		case *codec.Publish:
			if p.Retain || p.Props.Has(codec.PropTopicAlias) {
				topics = append(topics, strings.Clone(p.Topic))
			}
			if strings.HasPrefix(p.Topic, "$SYS") { // it may count for the server's own
				return ids, topics, false
			}
		default:
			if n == 0 {
				return ids, topics, false
			}
		}
	}
	return ids, topics, true
}

// scrubNames ends the sessions and removes the retained messages that were noted.
func (f *fuzzer) scrubNames(ctx context.Context) {
	ids, topics := f.left.take()
	if len(ids)+len(topics) == 0 {
		return
	}
	v := f.guard.version
	x := f.replay
	judge, wait := x.judged, x.closeWait
	x.judged, x.closeWait = false, 0
	defer func() { x.judged, x.closeWait = judge, wait }()
	hello := func(id string) []byte {
		c := &codec.Connect{Version: v, ClientID: id, CleanStart: true, KeepAlive: 60}
		if f.cfg.Username != "" {
			c.HasUsername, c.Username = true, f.cfg.Username
			c.HasPassword, c.Password = f.cfg.Password != "", []byte(f.cfg.Password)
		}
		b, _ := c.AppendTo(nil, v) // nothing where no client can have such a name
		return b
	}
	bye, _ := (&codec.Disconnect{}).AppendTo(nil, v)
	for chunk := range slices.Chunk(ids, MaxConns) {
		s := &Script{Version: v}
		for c, id := range chunk {
			if b := hello(id); id != "" && len(b) > 0 {
				s.Steps = append(s.Steps, Step{Op: Open, Conn: uint8(c)}, Step{Op: Send, Conn: uint8(c), Bytes: b})
			}
		}
		n := len(s.Steps)
		for i := 0; i < n; i += 2 {
			c := s.Steps[i].Conn
			s.Steps = append(s.Steps, Step{Op: Settle, Conn: c, Gap: settleGap}, Step{Op: Send, Conn: c, Bytes: bye}, Step{Op: Close, Conn: c})
		}
		if x.run(ctx, s).dialErr != nil {
			return
		}
	}
	for chunk := range slices.Chunk(topics, 64) {
		var all []byte
		for _, t := range chunk {
			if t != "" && !strings.HasPrefix(t, "$SYS") {
				all, _ = (&codec.Publish{Topic: t, Retain: true}).AppendTo(all, v)
			}
		}
		s := &Script{Version: v, Steps: []Step{
			{Op: Open},
			{Op: Send, Bytes: hello(f.guard.prefix + "c")},
			{Op: Settle, Gap: settleGap},
			{Op: Send, Bytes: all},
			{Op: Send, Bytes: []byte{byte(codec.TypePingreq) << 4, 0}},
			{Op: Settle, Gap: settleGap},
			{Op: Send, Bytes: bye},
			{Op: Close},
		}}
		if x.run(ctx, s).dialErr != nil {
			return
		}
	}
}
