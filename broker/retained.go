package broker

import (
	"sync"

	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/topic"
)

// retained holds the retained messages by topic.
type retained struct {
	store topic.Store[*body]

	mu    sync.Mutex // guards bytes and makes set atomic
	bytes int64
}

func (r *retained) len() (n int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.store.Len(), r.bytes
}

// set makes m the retained message of its topic [MQTT-3.3.1-5], or removes the one there is
// where m is empty [MQTT-3.3.1-6] [MQTT-3.3.1-7].
func (r *retained) set(b *Broker, m *message) {
	if b.cfg.RetainUnavailable {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, had := r.store.Get(m.topic)
	if len(m.payload) == 0 {
		if had {
			r.bytes -= int64(old.size())
			r.store.Delete(m.topic)
		}
		return
	}
	d := m.detach()
	after := r.bytes + int64(d.size())
	if had {
		after -= int64(old.size())
	}
	if !had && r.store.Len() >= b.lim.maxRetained || after > b.lim.retainedBytes {
		if had { // the former message is replaced in any case
			r.bytes -= int64(old.size())
			r.store.Delete(m.topic)
		}
		b.stats.refused.Add(1)
		b.log.Warn("retained message not kept: the store is full", "topic", d.topic)
		return
	}
	r.bytes = after
	r.store.Set(d.topic, d)
}

// matching returns the retained messages that a filter matches and that have not expired.
func (r *retained) matching(filter string, now session.Time) []*body {
	var list []*body
	for _, e := range r.store.AppendMatching(nil, filter) {
		if e.Value.expired(now) {
			r.forget(e.Value)
			continue
		}
		list = append(list, e.Value)
	}
	return list
}

func (r *retained) forget(d *body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cur, ok := r.store.Get(d.topic); ok && cur == d {
		r.bytes -= int64(d.size())
		r.store.Delete(d.topic)
	}
}

// sendRetained sends what is retained for a new or repeated Subscription, with RETAIN set
// [MQTT-3.3.1-8] whatever Retain As Published says.
func (c *conn) sendRetained(sc *scratch, filter string, o topic.Options) {
	var ids []uint32
	if o.ID != 0 {
		ids = []uint32{o.ID}
	}
	for _, d := range c.b.retained.matching(filter, sc.now) {
		m := &sc.msg
		m.set(d, sc.now)
		if qos := min(d.qos, o.QoS); qos > 0 {
			c.b.sendQoS(sc, m, c.sess, qos, true, ids, nil)
		} else {
			c.b.sendQoS0(sc, m, c, true, ids)
		}
	}
}
