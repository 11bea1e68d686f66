package judge

import (
	"fmt"
	"hash/maphash"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// maxOpen bounds the exchanges that are followed at a time, each way.
const maxOpen = 1024

// hashSeed is one per process: hashes of messages are compared within it only.
var hashSeed = maphash.MakeSeed()

// stage is how far the exchange of one PUBLISH has come, as seen here.
type stage uint8

const (
	published stage = iota
	received        // PUBREC of success seen
	released        // PUBREL seen
	declined        // PUBREC of 0x80 or above seen: the id is free, but no PUBREL may follow
)

// exchange is the delivery of one message above QoS 0.
type exchange struct {
	hash     uint64 // of topic and payload
	hashed   bool
	qos      codec.QoS
	stage    stage
	here     bool   // PUBLISH was sent on this connection
	relHere  bool   // PUBREL was sent on this connection
	counted  bool   // against the receiver's Receive Maximum
	recs     uint8  // PUBREC packets seen on this connection
	order    uint32 // of the PUBLISH on this connection
	original uint32 // of the first PUBLISH, on whichever connection it was
	recOrder uint32 // of the PUBREC on this connection
	over     excess
	frame    int // of the packet that an answer is due to
	at       time.Time
	due      bool
}

// excess says which announced limit a client's PUBLISH is beyond.
type excess uint8

const (
	overQoS excess = 1 << iota
	overRetain
	overSize
)

// flow follows the messages above QoS 0 that one side sends.
type flow struct {
	open map[uint16]*exchange
	used idSet // ids of PUBLISH packets on this connection
	odd  idSet // ids whose exchanges can no longer be told apart
	off  bool  // more was open than is followed

	inFlight int
	acked    bool // anything was acknowledged on this connection
	orders   uint32
	original uint32
	recs     uint32

	lastPuback, lastPubrec, lastPubrel, lastResend uint32

	revived bool                 // something of stale was sent
	stale   map[uint16]*exchange // what an ended session left open, from the Book
	spare   *exchange
}

func (f *flow) init() { f.open = make(map[uint16]*exchange) }

// take returns a zero exchange under the id.
func (f *flow) take(id uint16) *exchange {
	e := f.spare
	f.spare = nil
	if e == nil {
		e = new(exchange)
	}
	*e = exchange{}
	f.open[id] = e
	return e
}

// finish ends an exchange.
func (f *flow) finish(id uint16, e *exchange) {
	f.uncount(e)
	f.acked = true
	delete(f.open, id)
	f.spare = e
}

func (f *flow) uncount(e *exchange) {
	if e.counted {
		e.counted = false
		f.inFlight--
	}
}

// blur gives up telling apart what happens under the id. An exchange that is not certain to be
// open is never counted against anybody.
func (f *flow) blur(id uint16) {
	f.odd.add(id)
	if e := f.open[id]; e != nil {
		f.uncount(e)
		delete(f.open, id)
	}
}

// follows reports whether exchanges of the sender s can be judged.
func (c *Conn) follows(s side) bool { return c.whole && !c.flows[s].off && c.flows[s].open != nil }

// publish follows one PUBLISH above QoS 0 and judges its id and its DUP flag.
func (c *Conn) publish(s side, p *codec.Publish, topic string) {
	f := &c.flows[s]
	id := p.PacketID
	if !c.follows(s) || id == 0 || p.QoS > 2 {
		return
	}
	if f.odd.has(id) {
		f.used.add(id)
		return
	}
	hashed := topic != ""
	hash := uint64(0)
	if hashed {
		hash = message(topic, p.Payload)
	}
	e := f.open[id]
	if e != nil && e.stage == declined {
		delete(f.open, id)
		e = nil
	}
	var ok bool
	if e == nil {
		ok = c.firstSend(s, p, hash, hashed)
	} else {
		ok = c.secondSend(s, p, e, hash, hashed)
	}
	f.used.add(id)
	if !ok {
		f.blur(id)
		return
	}
	if e == nil {
		if len(f.open) >= maxOpen {
			f.off = true
			f.open = map[uint16]*exchange{}
			c.limit("exchanges: more open at a time than are followed; ids, order and quotas are not judged any more")
			return
		}
		e = f.take(id)
		e.hash, e.hashed, e.qos = hash, hashed, p.QoS
		f.original++
		e.original = f.original
	}
	f.orders++
	e.order, e.here = f.orders, true
	e.frame, e.at, e.due = c.frame, c.at, true
	if !e.counted {
		e.counted = true
		f.inFlight++
		c.quota(s)
	}
}

// message identifies an Application Message by topic and payload.
func message(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(hashSeed)
	h.WriteString(topic)
	h.WriteByte(0)
	h.Write(payload)
	return h.Sum64()
}

// firstSend judges a PUBLISH whose id is not open. It reports whether the exchange can be followed.
func (c *Conn) firstSend(s side, p *codec.Publish, hash uint64, hashed bool) bool {
	f := &c.flows[s]
	id := p.PacketID
	inUse := dIDInUseServer
	if s == client {
		inUse = dIDInUseClient
		if c.requests.has(id) {
			if c.can(s) {
				c.breach(dIDInUseClient, s, Fail, "an id that is not in use", fmt.Sprintf("PUBLISH with id %d, which an unanswered request has", id))
			}
			return false
		}
	}
	if old := f.stale[id]; old != nil && p.Dup && hashed && old.hashed && old.hash == hash && c.can(s) {
		f.revived = true
		switch {
		case c.hello.clean:
			c.breach(dStaleAfterClean, s, Fail, "nothing of the former session", fmt.Sprintf("its PUBLISH with id %d again", id))
		case s == client && c.knows():
			c.breach(dStaleAfterLoss, s, Fail, "nothing of a session that the server no longer has", fmt.Sprintf("its PUBLISH with id %d again", id))
		}
		return false
	}
	if p.Dup {
		switch {
		case f.used.has(id):
			// Either a repetition that crossed its acknowledgement, or a new message that must
			// not have DUP: nobody can tell.
			return false
		case !c.surelyFirst(s):
			return true
		}
		c.breachFirstDup(s, p)
		return true
	}
	if c.can(s) {
		c.keep(inUse, s)
		if p.QoS == 1 {
			c.keep(dIDInUseQoS1, s)
		} else {
			c.keep(dIDInUseQoS2, s)
		}
		if c.surelyFirst(s) {
			if s == server {
				c.keep(dDupFirstServer, s)
			}
			c.keep(dupFirst(p.QoS), s)
		}
	}
	return true
}

// surelyFirst reports whether a message under an id that was not used on this connection cannot
// have been sent before: no earlier connection belongs to the session, and it is not a message
// that another member of a shared subscription may have been offered.
func (c *Conn) surelyFirst(s side) bool {
	if !c.can(s) || c.subs.special && s == server {
		return false
	}
	return c.hello.clean || s == server && c.announce.fresh
}

func dupFirst(q codec.QoS) duty {
	if q == 1 {
		return dDupFirstQoS1
	}
	return dDupFirstQoS2
}

func (c *Conn) breachFirstDup(s side, p *codec.Publish) {
	const expected = "DUP 0 when a message is sent for the first time"
	actual := fmt.Sprintf("DUP 1 in the session's first PUBLISH with id %d", p.PacketID)
	if s == server {
		c.breach(dDupFirstServer, s, Fail, expected, actual)
	}
	c.breach(dupFirst(p.QoS), s, Fail, expected, actual)
}

// secondSend judges a PUBLISH whose id is open. It reports whether the exchange can be followed.
func (c *Conn) secondSend(s side, p *codec.Publish, e *exchange, hash uint64, hashed bool) bool {
	f := &c.flows[s]
	if !c.can(s) {
		return false
	}
	known := hashed && e.hashed
	same := known && e.hash == hash && e.qos == p.QoS
	v5 := c.v == codec.V5
	switch {
	case e.stage == released:
		switch {
		case !known:
		case same:
			c.breach(dPublishAfterPubrel, s, Fail, "no PUBLISH once its PUBREL was sent", fmt.Sprintf("PUBLISH with id %d again", p.PacketID))
		case e.here || e.relHere:
			c.breachInUse(s, p, e)
		}
		return false
	case !e.here: // begun on an earlier connection
		switch {
		case same && p.Dup:
			c.keep(dDupResend, s)
			if s == client {
				c.keep(dIDKeptClient, s)
			} else {
				c.keep(dIDKeptServer, s)
			}
			if s == client {
				if !c.holds(dResendOrder, s, e.original > f.lastResend) {
					c.breach(dResendOrder, s, Fail, "re-sent messages in their original order",
						fmt.Sprintf("the message with id %d after one that was first sent later", p.PacketID))
				}
				f.lastResend = max(f.lastResend, e.original)
			}
			return true
		case same:
			c.breach(dDupResend, s, Fail, "DUP 1 when a message is sent again", fmt.Sprintf("DUP 0 in the repeated PUBLISH with id %d", p.PacketID))
		case known && !v5: // in 5.0 the message may have expired meanwhile
			d := dIDKeptServer
			if s == client {
				if !c.knows() {
					return false
				}
				d = dIDKeptClient
			}
			c.breach(d, s, Fail, "an id that no unacknowledged message has", fmt.Sprintf("another message with id %d", p.PacketID))
		}
		return false
	case same:
		if !c.holds(dDupResend, s, p.Dup) {
			c.breach(dDupResend, s, Fail, "DUP 1 when a message is sent again",
				fmt.Sprintf("DUP 0 in the repeated PUBLISH with id %d", p.PacketID))
		}
		fallthrough
	case !known && p.Dup:
		if v5 {
			c.breach(dLiveResend, s, Fail, "no message sent again on the same connection", fmt.Sprintf("PUBLISH with id %d again", p.PacketID))
		}
		return false
	case known:
		c.breachInUse(s, p, e)
	}
	return false
}

func (c *Conn) breachInUse(s side, p *codec.Publish, e *exchange) {
	const expected = "an id that is not in use"
	actual := fmt.Sprintf("another message with id %d before the first was acknowledged", p.PacketID)
	d := dIDInUseServer
	if s == client {
		d = dIDInUseClient
		c.excused[server] = true
	}
	c.breach(d, s, Fail, expected, actual)
	if p.QoS == 1 {
		c.breach(dIDInUseQoS1, s, Fail, expected, actual)
	} else {
		c.breach(dIDInUseQoS2, s, Fail, expected, actual)
	}
}

// quota judges the number of unacknowledged messages after one more was sent.
func (c *Conn) quota(s side) {
	if c.v != codec.V5 || !c.can(s) {
		return
	}
	f := &c.flows[s]
	limit, d := int(c.hello.recvMax), dReceiveMaximumServer
	if s == client {
		if !c.knows() {
			return
		}
		limit, d = int(c.announce.recvMax), dReceiveMaximumClient
	}
	if limit == 65535 || limit == 0 {
		return
	}
	ok := f.inFlight <= limit
	expected := "at most the receiver's Receive Maximum of unacknowledged messages"
	actual := ""
	if !ok {
		actual = fmt.Sprintf("%d open, Receive Maximum %d", f.inFlight, limit)
	}
	c.judge(d, s, ok, expected, actual)
	if !f.acked {
		c.judge(dInitialQuota, s, ok, expected, actual)
	}
	if c.announce.resumed && !f.acked { // later, a wrong count of answers may be the reason
		c.judge(dQuotaPerConnection, s, ok, expected, actual)
	}
	if !ok && s == client {
		c.excused[server] = true
	}
}

// clientPublish judges a client's PUBLISH.
func (c *Conn) clientPublish(p *codec.Publish) {
	topic := c.resolve(client, p)
	var over excess
	if c.v == codec.V5 && c.phase == up {
		over = c.beyond(p)
	}
	if p.QoS == 0 {
		return
	}
	c.publish(client, p, topic)
	if e := c.flows[client].open[p.PacketID]; e != nil {
		e.over = over
	}
}

// beyond judges a client's PUBLISH by what CONNACK announced, once the client knows it.
func (c *Conn) beyond(p *codec.Publish) (over excess) {
	a := &c.announce
	knows := c.knows()
	if a.maxQoS < 2 && p.QoS <= 2 {
		if p.QoS > a.maxQoS {
			over |= overQoS
		}
		if knows {
			if !c.holds(dMaximumQoS, client, p.QoS <= a.maxQoS) {
				c.breach(dMaximumQoS, client, Fail, fmt.Sprintf("QoS %d at most", a.maxQoS),
					fmt.Sprintf("QoS %d", p.QoS))
			}
		}
	}
	if a.noRetain {
		if p.Retain {
			over |= overRetain
		}
		if knows {
			c.judge(dRetainAvailable, client, !p.Retain, "RETAIN 0, as Retain Available is 0", "RETAIN 1")
		}
	}
	if uint64(c.size) > uint64(a.maxSize) {
		over |= overSize
	}
	if over != 0 {
		c.requests.over |= over
		c.excused[server] = true
	}
	return over
}
