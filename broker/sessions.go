package broker

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// sess is one Session (4.1). It outlives its connections for as long as its expiry says.
type sess struct {
	b    *Broker
	id   string
	conn atomic.Pointer[conn] // nil while not connected; written with mu held

	mu      sync.Mutex // guards all below; taken before a connection's out.mu
	flow    session.Session[*delivery]
	subs    map[string]topic.Options // by filter as subscribed, share prefix included
	queue   queue
	will    *will
	expiry  uint32       // Session Expiry Interval in force, seconds
	ended   bool         // no longer reachable; a new Session may have the id
	warned  bool         // a refused message was logged since the Client left
	stalled session.Time // since when the queue is full and hardly anything is taken from it; 0: it is not
	taken   queueMark    // what was taken from it since
	room    chan struct{}
	epoch   uint64 // counts connections, so that timers of earlier ones do nothing

	willTimer, expiryTimer Timer
}

// queueMark is a number of messages and what they count for.
type queueMark struct{ msgs, bytes int }

// effects is what has to happen once a Session's lock is released.
type effects struct {
	wills []*body
	lost  []*delivery // copies for shared groups that no member has acknowledged
	kick  *conn
	gone  bool // remove from the registry
}

// registry finds Sessions by Client Identifier [MQTT-3.1.3-2].
type registry struct {
	seed   maphash.Seed
	count  atomic.Int64
	shards [64]struct {
		mu sync.Mutex // guards m
		m  map[string]*sess
	}
}

func (r *registry) init() {
	r.seed = maphash.MakeSeed()
	for i := range r.shards {
		r.shards[i].m = make(map[string]*sess)
	}
}

func (r *registry) len() int { return int(r.count.Load()) }

// obtain returns the Session of the id with its lock held, making one where there is none. It
// is nil when there may be no more.
func (r *registry) obtain(b *Broker, id string) (s *sess, created bool) {
	sh := &r.shards[maphash.String(r.seed, id)%uint64(len(r.shards))]
	for {
		sh.mu.Lock()
		s = sh.m[id]
		if s == nil {
			if r.count.Add(1) > int64(b.lim.maxSessions) {
				r.count.Add(-1)
				sh.mu.Unlock()
				return nil, false
			}
			s = &sess{b: b, id: id}
			s.flow.Config = session.Config{Side: codec.Server, MaxInflight: b.lim.inflight}
			s.mu.Lock() // nobody else can have it yet
			sh.m[id] = s
			sh.mu.Unlock()
			return s, true
		}
		sh.mu.Unlock()
		s.mu.Lock()
		if !s.ended {
			return s, false
		}
		s.mu.Unlock()
		r.remove(s)
	}
}

func (r *registry) remove(s *sess) {
	sh := &r.shards[maphash.String(r.seed, s.id)%uint64(len(r.shards))]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.m[s.id] == s {
		delete(sh.m, s.id)
		r.count.Add(-1)
	}
}

// stopTimers stops what is scheduled for Sessions; the Broker is closing.
func (r *registry) stopTimers() {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		list := make([]*sess, 0, len(sh.m))
		for _, s := range sh.m {
			list = append(list, s)
		}
		sh.mu.Unlock()
		for _, s := range list {
			s.mu.Lock()
			s.stopTimers()
			s.mu.Unlock()
		}
	}
}

func (s *sess) stopTimers() {
	if s.willTimer != nil {
		s.willTimer.Stop()
		s.willTimer = nil
	}
	if s.expiryTimer != nil {
		s.expiryTimer.Stop()
		s.expiryTimer = nil
	}
}

// attach makes c the connection of its Session, taking over from an earlier one. greet
// appends the CONNACK; it runs before anything else can be sent. It reports false when there
// may be no more Sessions.
func (b *Broker) attach(sc *scratch, c *conn, id string, clean bool, expiry uint32, w *will, link *session.Link, greet func(present bool)) bool {
	for {
		s, created := b.sessions.obtain(b, id)
		if s == nil {
			return false
		}
		var fx effects
		old := s.conn.Load()
		if !created && (clean || old != nil && s.expiry == 0) { // [MQTT-3.1.2-4] [MQTT-3.1.2-6]
			s.end(&fx)
			s.mu.Unlock()
			b.apply(s, &fx)
			continue
		}
		s.takeOver(old, &fx)
		s.expiry, s.will, s.warned = expiry, w, false
		c.sess = s
		link.Present = !created
		greet(!created) // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
		s.conn.Store(c)
		sc.acts = s.flow.Step(session.Event[*delivery]{Kind: session.Connected, Link: link}, sc.now, sc.acts[:0])
		s.perform(sc, c, sc.acts)
		s.pump(sc, c)
		s.mu.Unlock()
		b.apply(s, &fx)
		return true
	}
}

// takeOver ends the previous connection's part in the Session, if there is one. mu is held.
func (s *sess) takeOver(old *conn, fx *effects) {
	s.epoch++
	s.stopTimers()
	if old == nil {
		s.will = nil // a delayed Will is not sent once the Session goes on [MQTT-3.1.3-9]
		return
	}
	fx.kick = old // [MQTT-3.1.4-2] [MQTT-3.1.4-3]
	s.conn.Store(nil)
	s.flow.Step(session.Event[*delivery]{Kind: session.Disconnected}, 0, nil)
	if s.will != nil && s.will.delay == 0 {
		fx.wills = append(fx.wills, s.will.publish(s.b.now()))
	}
	s.will = nil
	s.wakeWaiters()
}

// detach ends c's part in its Session: the connection is over.
func (s *sess) detach(c *conn) {
	var fx effects
	s.mu.Lock()
	if s.conn.Load() != c || s.ended {
		s.mu.Unlock()
		return
	}
	s.conn.Store(nil)
	s.epoch++
	s.flow.Step(session.Event[*delivery]{Kind: session.Disconnected}, 0, nil)
	s.wakeWaiters()
	switch {
	case s.expiry == 0:
		s.end(&fx)
	default:
		epoch := s.epoch
		if w := s.will; w != nil { // [MQTT-3.1.2-8]
			if w.delay == 0 {
				fx.wills = append(fx.wills, w.publish(s.b.now()))
				s.will = nil
			} else if s.expiry == neverExpires || w.delay < s.expiry {
				s.willTimer = s.b.after(time.Duration(w.delay)*time.Second, func() { s.willDue(epoch) })
			}
		}
		if s.expiry != neverExpires {
			s.expiryTimer = s.b.after(time.Duration(s.expiry)*time.Second, func() { s.expire(epoch) })
		}
	}
	s.mu.Unlock()
	s.b.apply(s, &fx)
}

// willDue publishes a Will whose delay has passed.
func (s *sess) willDue(epoch uint64) {
	var fx effects
	s.mu.Lock()
	if s.epoch == epoch && !s.ended && s.will != nil {
		fx.wills = append(fx.wills, s.will.publish(s.b.now()))
		s.will = nil
	}
	s.mu.Unlock()
	s.b.apply(s, &fx)
}

// expire ends a Session whose expiry has passed [MQTT-4.1.0-2].
func (s *sess) expire(epoch uint64) {
	var fx effects
	s.mu.Lock()
	if s.epoch == epoch && !s.ended {
		s.end(&fx)
	}
	s.mu.Unlock()
	s.b.apply(s, &fx)
}

// end discards the Session. mu is held.
func (s *sess) end(fx *effects) {
	s.ended = true
	s.epoch++
	s.stopTimers()
	if c := s.conn.Load(); c != nil {
		fx.kick = c
		s.conn.Store(nil)
	}
	if s.will != nil { // the end of the Session ends the delay as well
		fx.wills = append(fx.wills, s.will.publish(s.b.now()))
		s.will = nil
	}
	for filter := range s.subs {
		s.b.drop(s, filter)
	}
	s.subs = nil
	for _, a := range s.flow.Step(session.Event[*delivery]{Kind: session.End}, 0, nil) {
		// A QoS 2 message that was sent goes to no other member [MQTT-4.8.2-5].
		if a.Kind == session.Release && a.Cause == session.Lost && a.QoS == 1 && a.H != nil && a.H.share != nil {
			fx.lost = append(fx.lost, a.H)
		}
	}
	for s.queue.n > 0 {
		if w := s.queue.pop(); w.d.share != nil {
			fx.lost = append(fx.lost, w.d)
		}
	}
	s.wakeWaiters()
	fx.gone = true
}

// apply carries out what a Session's lock had to be released for.
func (b *Broker) apply(s *sess, fx *effects) {
	if fx.gone {
		b.sessions.remove(s)
	}
	if fx.kick != nil {
		fx.kick.kick(codec.SessionTakenOver, "another connection uses the same Client Identifier")
	}
	if len(fx.wills) == 0 && len(fx.lost) == 0 {
		return
	}
	select {
	case <-b.closing:
		return // there is nobody left to tell
	default:
	}
	b.own(func(sc *scratch) {
		for _, w := range fx.wills {
			sc.msg.set(w, sc.now)
			sc.msg.from = s
			b.route(sc, &sc.msg)
		}
		for _, d := range fx.lost {
			sc.msg.set(d.body, sc.now)
			b.share(sc, &sc.msg, d.share)
		}
	})
}

// own runs f with a scratch for messages that come from no batch.
func (b *Broker) own(f func(*scratch)) {
	sc := b.pool.Get().(*scratch)
	sc.begin(nil, b.now())
	f(sc)
	sc.flush()
	sc.settle()
	sc.msg.reset()
	b.pool.Put(sc)
}

// wakeWaiters lets publishers that are held back look again. mu is held.
func (s *sess) wakeWaiters() {
	s.stalled = 0
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// keeps reports whether a copy may be asked for again after this connection. mu is held.
func (s *sess) keeps() bool { return s.expiry != 0 }
