package loadgen

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ledger"
	"github.com/mqlab/mqlab/internal/topic"
)

// receiver is what a client that subscribes has got, by stream. Where it is a member of a shared subscription, the account
// is the group's: which member gets a message is the server's choice.
type receiver struct {
	filters []filter
	account
	rows  [3]LedgerRow // what cannot be ascribed to a stream, by QoS of arrival
	mixed bool         // shared and other filters match the same messages: which of them a copy is for cannot be told
}

// filter is a granted subscription.
type filter struct {
	text    string // without the share prefix
	qos     uint8  // granted
	noLocal bool
	asSent  bool // Retain As Published
	shared  *shared
}

// shared is the account of a shared subscription. Its members are all on one worker.
type shared struct {
	name string // with the filter
	account
	text string
	qos  uint8
}

// The kinds of entitlement: QoS 0 ends with the connection, QoS 1 and 2 with the session.
const (
	ofConnection = iota
	ofSession
)

// account keeps the streams of a receiver. When a connection or a session ended, an epoch ends: what was sent between the
// last arrival before and the new beginning is nobody's promise.
type account struct {
	index   map[uint64]int32
	entries []entry
	last    uint64 // key of the entry found last
	lastAt  int32
	epoch   [2]uint32
	since   [2]int64 // when the epoch began; never: it has not
	begun   bool
}

// entry is one stream at one receiver.
type entry struct {
	ledger.Stream
	key    uint64
	epoch  uint32
	qos    uint8
	copies uint8 // 0: nobody asked for it
	loose  []loose
}

// loose is a stretch that may have gone with the epoch before: from the number that was next when it ended, up to what was
// due when the next one began.
type loose struct {
	from  uint64
	until int64
}

func streamKey(publisher, stream uint32) uint64 { return uint64(publisher)<<24 | uint64(stream) }

// reconnected notes that a connection is made.
func (r *receiver) reconnected(present bool, now int64) {
	r.eachAccount(func(a *account) { a.reconnected(present, now) })
}

func (a *account) reconnected(present bool, now int64) {
	if !a.begun {
		return
	}
	a.renew(ofConnection, now)
	if !present {
		a.renew(ofSession, never) // until its SUBACK
	}
}

func (a *account) renew(kind int, at int64) {
	a.epoch[kind]++
	a.since[kind] = at
}

func (r *receiver) eachAccount(f func(*account)) {
	f(&r.account)
	for i := range r.filters {
		if s := r.filters[i].shared; s != nil {
			f(&s.account)
		}
	}
}

// settled notes that the server has answered SUBSCRIBE. Before the run's first message that is all; later on, what was
// sent before is not for this receiver.
func (r *receiver) settled(now, t0 int64) {
	r.eachAccount(func(a *account) {
		if a.begun || t0 != never && now > t0 {
			if !a.begun {
				a.renew(ofConnection, now)
				a.renew(ofSession, now)
			}
			for k := range a.since {
				a.since[k] = now
			}
		}
		a.begun = true
	})
}

// gone notes that the receiver is not there at the end of the run.
func (r *receiver) gone() {
	r.eachAccount(func(a *account) {
		a.renew(ofConnection, never)
		a.renew(ofSession, never)
	})
}

func (r *receiver) subscribe(w *worker, c *client, text string, granted uint8, s *subscription) {
	f := filter{text: text, qos: min(granted, uint8(s.qos)), noLocal: s.NoLocal, asSent: s.RetainAsPublished}
	if _, inner, isShared, err := topic.ParseShared(text); err == nil && isShared && c.g.version == codec.V5 || s.Share != "" {
		if err != nil || !isShared {
			inner = s.Filter
		}
		f.shared = w.p.share(text, inner, f.qos)
		f.text = inner
	}
	r.filters = append(r.filters, f)
}

// find returns the entry of a stream, nil where nothing of it has arrived.
func (a *account) find(key uint64) *entry {
	if a.last == key && len(a.entries) > 0 {
		return &a.entries[a.lastAt]
	}
	i, ok := a.index[key]
	if !ok {
		return nil
	}
	a.last, a.lastAt = key, i
	return &a.entries[i]
}

func (a *account) add(key uint64) *entry {
	if a.index == nil {
		a.index = map[uint64]int32{}
	}
	a.lastAt, a.last = int32(len(a.entries)), key
	a.index[key] = a.lastAt
	a.entries = append(a.entries, entry{key: key})
	return &a.entries[a.lastAt]
}

// bytes is the memory that the account takes.
func (a *account) bytes() int64 {
	const entrySize, share = 80, 24 // with its share of the index
	emptyStream := new(ledger.Stream).Bytes()
	n := int64(cap(a.entries)) * entrySize
	for i := range a.entries {
		n += share + int64(a.entries[i].Bytes()-emptyStream) + int64(cap(a.entries[i].loose))*16
	}
	return n
}

// matched says how a topic matches the receiver's filters.
type matched struct {
	copies uint8
	qos    uint8
	shared *shared
	mixed  bool
}

func (r *receiver) match(name string, own bool) matched {
	var m matched
	for i := range r.filters {
		f := &r.filters[i]
		if f.noLocal && own || !topic.Match(f.text, name) {
			continue
		}
		if f.shared != nil {
			if m.shared != nil && m.shared != f.shared || m.copies > 0 {
				m.mixed = true
			}
			m.shared = f.shared
			continue
		}
		if m.shared != nil {
			m.mixed = true
		}
		m.copies++
		m.qos = max(m.qos, f.qos)
	}
	if m.shared != nil && !m.mixed {
		m.copies, m.qos = 1, m.shared.qos
	}
	return m
}

// arrived takes a message that was delivered to the client: what it says of its journey, and whether it was to come.
func (w *worker) arrived(c *client, name string, props, payload []byte, qos uint8, retained bool) {
	w.count(c).Received++
	if c.g.Respond != nil {
		w.request(c, name, props, payload)
	}
	if c.recv == nil {
		return
	}
	if len(props) > 0 && w.response(c, props) {
		return
	}
	rows := &c.recv.rows
	var pr proof
	what := w.proofOf(c, name, props, payload, &pr)
	switch what {
	case unproven, foreign:
		rows[qos].Unverified++
		if what == unproven {
			w.plain++
		}
		return
	case destroyed:
		rows[qos].Corrupted++
		return
	}
	if retained && !w.live(c, name) {
		rows[qos].Unverified++ // kept by the server: an older message once more
		return
	}
	key := streamKey(pr.publisher, pr.stream)
	e := c.recv.find(key)
	if e == nil || e.copies == 0 {
		var ok bool
		if e, ok = w.meet(c, key, &pr, name, qos); !ok {
			return
		}
	}
	if what == damaged {
		rows[e.qos].Corrupted++
	}
	a := &c.recv.account
	if e.copies == viaShared {
		m := c.recv.match(name, int(pr.publisher) == c.number())
		if a = &m.shared.account; m.shared == nil {
			return
		}
		if e = a.find(key); e == nil {
			e = a.add(key)
			e.qos, e.copies = min(m.qos, w.p.qosOfStream(pr.publisher, pr.stream)), 1
		}
	}
	if retained && e.Seen(pr.seq) {
		rows[qos].Unverified++ // with Retain As Published, too, this may be the server's older message once more
		return
	}
	w.record(c, a, e, &pr)
}

// viaShared stands for copies in the entry of a member whose account is the shared subscription's.
const viaShared = ^uint8(0)

func (w *worker) record(c *client, a *account, e *entry, pr *proof) {
	kind := ofConnection
	if e.qos > 0 {
		kind = ofSession
	}
	if e.epoch != a.epoch[kind] {
		e.epoch = a.epoch[kind]
		// A server may keep some of what came meanwhile, and what it keeps need not be the oldest: the first arrival does
		// not end the stretch, its time does.
		if since := a.since[kind]; pr.seq > e.Next() || w.t0+pr.due <= since {
			e.loose = append(e.loose, loose{e.Next(), since})
		}
	}
	before := e.Missing()
	switch e.Record(pr.seq, int(e.copies)) {
	case ledger.Duplicate:
		if e.qos != 1 {
			w.doubled++
		}
		return
	case ledger.Copy:
		return
	}
	w.missing += e.Missing() - before
	w.delivered++
	w.st.record(metricEnd, int(e.qos), c.g.index, w.p.table.at(pr.due), w.now-w.t0-pr.due)
}

// live says that a message with the RETAIN flag was not kept by the server but passed on as it was published.
func (w *worker) live(c *client, name string) bool {
	for i := range c.recv.filters {
		if f := &c.recv.filters[i]; f.asSent && topic.Match(f.text, name) {
			return true
		}
	}
	return false
}

// meet makes the entry of a stream at its first arrival.
func (w *worker) meet(c *client, key uint64, pr *proof, name string, qos uint8) (*entry, bool) {
	sent := w.p.qosOfStream(pr.publisher, pr.stream)
	m := c.recv.match(name, int(pr.publisher) == c.number())
	switch {
	case m.mixed:
		c.recv.mixed = true
		c.recv.rows[qos].Unverified++
		return nil, false
	case m.copies == 0 || sent > 2:
		c.recv.rows[qos].Unexpected++
		return nil, false
	}
	e := c.recv.add(key)
	e.copies, e.qos = m.copies, min(m.qos, sent)
	if m.shared != nil {
		e.copies = viaShared
	}
	return e, true
}

// proofOf finds and reads the proof of an arrival.
func (w *worker) proofOf(c *client, name string, props, payload []byte, pr *proof) finding {
	if !w.p.verify {
		return unproven
	}
	if f := pr.readPayload(payload, name, w.p.runID); f != unproven {
		return f
	}
	if len(props) > 0 {
		if digits := userProperty(props); digits != nil {
			return pr.readText(digits, payload, name, w.p.runID, w.p.runDigits)
		}
	}
	if w.p.inText {
		return pr.readText(nil, payload, name, w.p.runID, w.p.runDigits)
	}
	return unproven
}

// userProperty returns the value of the proof's User Property.
func userProperty(raw []byte) []byte {
	var p codec.Properties
	p.SetRaw(raw)
	for pr, ok := range p.All() {
		if !ok {
			return nil
		}
		if pr.ID == codec.PropUserProperty && pr.Key == proofProperty {
			return pr.Value
		}
	}
	return nil
}

// groupOf is the group of a client by its number.
func (p *plan) groupOf(number uint32) *group {
	for i := len(p.groups) - 1; i >= 0; i-- {
		if g := p.groups[i]; int(number) >= g.first {
			if int(number) < g.first+g.Count {
				return g
			}
			return nil
		}
	}
	return nil
}

// qosOfStream is the QoS at which a stream's messages were published, 3 where there is no such stream.
func (p *plan) qosOfStream(publisher, stream uint32) uint8 {
	if g := p.groupOf(publisher); g != nil {
		if _, _, qos, ok := g.locate(int(stream)); ok {
			return qos
		}
	}
	return 3
}
