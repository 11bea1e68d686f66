package loadgen

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ledger"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/scenarios"
)

// message is what the session keeps of a message under way. What it looks like on the wire follows from k.
type message struct {
	due, sent int64
	k, seq    uint64
	emitter   uint16 // replyEmitter: an answer, kept under k
	qos       uint8
}

const replyEmitter = ^uint16(0)

// emitter is one client's publication: its place in the schedule, and what it has sent.
type emitter struct {
	pub     *publication
	sched   schedule
	due     int64 // of message sched.k, on the worker's clock; never: no more
	armed   int64 // when its timer fires; never: it has none
	freeAt  int64 // messages due until then were held back by window, network or connection
	topic   string
	streams []outStream
	marks   []mark // closed model: how far k had come at which time
}

// outStream is what was sent of one topic and QoS.
type outStream struct {
	issued uint64
	first  uint64 // on this connection
	plain  uint64 // sent without a proof where others of the stream have one
	fate   *fate
}

// fate says which messages of a stream nobody may wait for.
type fate struct {
	void, open ledger.Set
	cuts       []ledger.Span
}

// mark says which message came next at an instant.
type mark struct {
	at int64
	k  uint64
}

func (s *outStream) outcome() *fate {
	if s.fate == nil {
		s.fate = &fate{}
	}
	return s.fate
}

func (e *emitter) init(pub *publication, c *client) {
	*e = emitter{pub: pub, due: never, armed: never, sched: pub.schedule(c.g, int(c.index))}
	e.streams = make([]outStream, pub.topics*len(pub.levels))
	if !pub.perMsg {
		e.topic = pub.topicOf(int(c.index), 0)
	}
}

// schedule is that of a client of the group. Clients are spread evenly over an interval, publications apart from one
// another.
func (pub *publication) schedule(g *group, index int) schedule {
	s := schedule{rate: pub.rate, shift: pub.shift}
	switch pub.arrival {
	case arriveEven:
		_, apart := math.Modf(float64(pub.ordinal) * math.Phi)
		s.offset = (float64(index) + apart) / float64(max(1, g.Count))
	case arrivePoisson:
		s.acc = exponential(pub.gap(g.first+index, 0))
	}
	return s
}

func (pub *publication) gap(client int, k uint64) uint64 {
	if pub.arrival != arrivePoisson {
		return 0
	}
	return draw(pub.g.p.seed, forGap, uint64(client)<<16|uint64(pub.ordinal), k)
}

// begin computes the first instant, once the run's first one is fixed.
func (e *emitter) begin(w *worker) {
	if e.pub.flood {
		e.due = w.t0 + int64(e.pub.Start)
		return
	}
	e.due = e.next(w)
}

func (e *emitter) next(w *worker) int64 {
	if e.pub.Count > 0 && e.sched.k >= e.pub.Count {
		return never
	}
	d := e.sched.due(&w.p.profile)
	if d == never || w.t0+d > w.end {
		return never // an interrupted run ends before its profile does
	}
	return w.t0 + d
}

// left is how many messages from sched.k on are due before an instant since the first.
func (e *emitter) left(at int64) uint64 {
	n := e.sched.count(&e.pub.g.p.profile, at)
	if e.pub.Count > 0 {
		n = min(n, e.pub.Count-min(e.pub.Count, e.sched.k))
	}
	return n
}

// advance goes on to the next message.
func (e *emitter) advance(w *worker, c *client) {
	e.sched.advance(e.pub.arrival, e.pub.gap(c.number(), e.sched.k+1))
	if !e.pub.flood {
		e.due = e.next(w)
		return
	}
	if e.pub.Count > 0 && e.sched.k >= e.pub.Count {
		e.due = never
	}
}

// cut notes that the connection ended. What had been sent on it at QoS 0 may not have been read, unless the end was in
// order.
func (e *emitter) cut(inOrder bool) {
	e.freeAt = never
	if e.pub.levels[0] != 0 {
		return
	}
	for i := 0; i < len(e.streams); i += len(e.pub.levels) {
		s := &e.streams[i]
		if s.issued > s.first && !inOrder {
			f := s.outcome()
			f.cuts = append(f.cuts, ledger.Span{From: s.first, To: s.issued})
		}
		s.first = s.issued
	}
}

// room is how many QoS 1 and 2 messages the client may send now.
func (w *worker) room(c *client) int {
	n := c.sess.Free()
	if window := w.p.windowOf(w.phase); window > 0 {
		flight := c.sess.InFlight()
		if w.p.closed && window >= 4 {
			// A window that is refilled for each acknowledgement costs a system call for each message.
			if c.refillWait && flight > window/2 {
				return 0
			}
			c.refillWait = false
		}
		n = min(n, window-flight)
	}
	return n
}

// pump publishes what is due for the client and the network takes.
func (w *worker) pump(c *client) {
	if c.state != stateReady {
		return
	}
	held := false
	if w.t0 != never {
		for i := range c.emitters {
			if !w.emit(c, &c.emitters[i]) {
				held = true
			}
		}
	}
	w.flush(c)
	if held || c.bound() {
		w.blocked[c] = struct{}{}
	} else if len(w.blocked) > 0 {
		delete(w.blocked, c)
	}
}

// emit publishes what is due of one publication. It is false where something is due that may not go out yet.
func (w *worker) emit(c *client, e *emitter) bool {
	if e.due <= w.now && c.bound() {
		e.freeAt = never
		return false
	}
	for e.due <= w.now {
		if e.pub.flood {
			if !w.floodOpen(e) {
				break
			}
			if len(w.out) >= writeBatch {
				w.queueReady(c)
				return true
			}
		} else if len(w.out) >= writeBatch {
			w.flush(c)
			if c.state != stateReady {
				return false
			}
			if c.bound() {
				e.freeAt = never
				return false
			}
		}
		if !w.publishNext(c, e) {
			e.freeAt = never
			return false
		}
	}
	if e.freeAt == never {
		e.freeAt = w.now
	}
	if e.due != never && e.armed != e.due {
		e.armed = e.due
		w.timers.push(timer{at: e.due, client: c.place, kind: timerEmit, arg: uint8(e.pub.index)})
	}
	return true
}

// floodOpen says whether a publication without a schedule may publish now; if not, e.due is when it may.
func (w *worker) floodOpen(e *emitter) bool {
	if w.now >= w.end {
		e.due = never
		return false
	}
	if w.p.phases[w.phase].Kind == "idle" {
		e.due = w.t0 + w.p.table.ends[w.phase]
		return false
	}
	return true
}

// publishNext sends message k, or finds that it cannot be sent. It is false where it has to wait.
func (w *worker) publishNext(c *client, e *emitter) bool {
	pub, k := e.pub, e.sched.k
	due := e.due
	if pub.flood {
		due = w.now
	}
	phase := w.p.table.at(due - w.t0)
	qos := pub.qosOf(draw(w.p.seed, forQoS, uint64(c.number())<<16|uint64(pub.ordinal), k), phase)
	if qos > 0 && w.room(c) <= 0 {
		c.refillWait = true
		return false
	}
	counts := w.st.at(phase, c.g.index)
	counts.Scheduled++
	topicIndex := int(k % uint64(pub.topics))
	s := &e.streams[topicIndex*len(pub.levels)+pub.slot[qos]]
	seq := s.issued
	s.issued++
	if pub.flood {
		e.mark(w.now)
	}
	e.advance(w, c)

	switch {
	case qos == 0 && due < c.readyAt && !pub.flood:
		counts.Dropped++
		s.outcome().void.Add(seq, seq+1)
		return true
	case qos > c.maxQoS:
		w.fault(c, "publish", "the server's Maximum QoS is lower", int(codec.QoSNotSupported))
		fallthrough
	case pub.Retain && c.noRetain:
		if qos <= c.maxQoS {
			w.fault(c, "publish", "the server does not support retained messages", int(codec.RetainNotSupported))
		}
		counts.Dropped++
		s.outcome().void.Add(seq, seq+1)
		return true
	}
	m := message{due: due, sent: w.now, k: k, seq: seq, emitter: uint16(pub.index), qos: qos}
	from := len(w.out)
	at := w.appendPublish(c, e, &m, topicIndex, 0, false)
	size := len(w.out) - from
	if qos == 0 {
		if c.maxPacket != 0 && uint32(size) > c.maxPacket || at < 0 {
			w.out = w.out[:from]
			w.tooLarge(c, s, counts, seq, at)
			return true
		}
	} else if at < 0 || !w.accept(c, &m, at, size) {
		w.out = w.out[:from]
		w.tooLarge(c, s, counts, seq, at)
		return true
	}
	counts.Published++
	if pub.awaited {
		w.asked++
	}
	if due > e.freeAt && !pub.flood {
		w.st.record(metricOwnLag, int(qos), c.g.index, phase, w.now-due)
	}
	if !pub.flood {
		w.st.record(metricLag, int(qos), c.g.index, phase, w.now-due)
	}
	return true
}

func (e *emitter) mark(now int64) {
	if n := len(e.marks); n > 0 && now-e.marks[n-1].at < int64(time.Second) {
		return
	}
	e.marks = append(e.marks, mark{now, e.sched.k})
}

func (w *worker) tooLarge(c *client, s *outStream, counts *Counts, seq uint64, at int) {
	if at >= 0 {
		w.fault(c, "publish", "the message is larger than the server's Maximum Packet Size", int(codec.PacketTooLarge))
	}
	counts.Dropped++
	s.outcome().void.Add(seq, seq+1)
}

// accept gives the session a message that stands at the end of the output, and sets its Packet Identifier, which stands at
// the offset.
func (w *worker) accept(c *client, m *message, at, size int) bool {
	acts := c.sess.Step(session.Event[message]{Kind: session.Send, QoS: codec.QoS(m.qos), Size: uint32(size), H: *m}, session.Time(w.now), w.acts[:0])
	w.acts = acts
	if len(acts) != 1 || acts[0].Kind != session.SendPublish {
		return false
	}
	binary.BigEndian.PutUint16(w.out[at:], acts[0].ID)
	w.inflight++
	return true
}

// appendPublish appends a PUBLISH to the output and returns where its Packet Identifier stands, 0 at QoS 0, -1 where the
// message cannot be encoded.
func (w *worker) appendPublish(c *client, e *emitter, m *message, topicIndex int, id uint16, dup bool) int {
	pub := e.pub
	topic := e.topic
	if pub.perMsg {
		w.clientVars(c)
		w.vars.Topic = topicIndex
		if w.vars.Rand = nil; pub.topic.Varies().Has(scenarios.VariesRandom) {
			topic = pub.topicOf(int(c.index), topicIndex)
		} else {
			w.topic = pub.topic.Append(w.topic[:0], &w.vars)
			topic = viewString(w.topic)
		}
	}
	first := byte(0x30) | m.qos<<1
	if pub.Retain {
		first |= 1
	}
	if dup {
		first |= 8
	}
	n := 0
	payload := pub.filler
	header := &w.header
	place := pub.place
	if pub.payload != nil {
		payload = w.makeText(c, pub, m, header[:], topicIndex)
		n = len(payload)
	} else if pub.File != "" {
		n = len(payload)
	} else if n = pub.size(draw(w.p.seed, forSize, uint64(c.number())<<16|uint64(pub.ordinal), m.k)); n < proofSize && place == proofHead {
		// Receivers cannot tell it from others, so nobody may wait for it.
		place = proofNone
		s := &e.streams[topicIndex*len(pub.levels)+pub.slot[m.qos]]
		if s.outcome().void.Add(m.seq, m.seq+1); !dup {
			s.plain++
		}
	}
	payload = payload[:n]
	pr := proof{publisher: uint32(c.number()), stream: uint32(pub.stream(topicIndex, m.qos)), seq: m.seq, due: max(0, m.due-w.t0)}
	switch place {
	case proofProperty5:
		pr.put(header[:], w.p.runID)
		sealText(header[:], payload, -1, topic)
	case proofInText:
		pr.put(header[:], w.p.runID)
		w.sealInText(header[:], payload, topic)
	}
	var props []byte
	if c.g.version == codec.V5 {
		props = w.publishProps(c, pub, m, &pr, header[:], place, topicIndex)
	}

	remaining := 2 + len(topic) + n
	if m.qos > 0 {
		remaining += 2
	}
	if c.g.version == codec.V5 {
		remaining += codec.VarintSize(uint32(len(props))) + len(props)
	}
	if remaining > codec.MaxRemainingLength || len(topic) > codec.MaxStringLen {
		w.fault(c, "publish", "the message is larger than MQTT allows", -1)
		return -1
	}
	b := append(w.out, first)
	b = codec.AppendVarint(b, uint32(remaining))
	b = append(b, byte(len(topic)>>8), byte(len(topic)))
	b = append(b, topic...)
	at := 0
	if m.qos > 0 {
		at = len(b)
		b = append(b, byte(id>>8), byte(id))
	}
	if c.g.version == codec.V5 {
		b = codec.AppendVarint(b, uint32(len(props)))
		b = append(b, props...)
	}
	start := len(b)
	b = append(b, payload...)
	if place == proofHead {
		pr.put(b[start:], w.p.runID)
		sealPayload(b[start:], topic)
	}
	w.out = b
	return at
}

func (w *worker) clientVars(c *client) {
	w.vars.Group, w.vars.Index, w.vars.Client, w.vars.Count = c.g.Name, int(c.index), c.number(), c.g.Count
}

// messageVars sets what placeholders stand for in a message. Random values follow from the message, so that they are the
// same when it is sent again.
func (w *worker) messageVars(c *client, pub *publication, m *message, topicIndex int, proof []byte) {
	w.clientVars(c)
	w.vars.Seq, w.vars.Topic, w.vars.Proof = m.k, topicIndex, proof
	w.vars.Time = w.p.began.Add(time.Duration(m.due))
	w.pcg.Seed(draw(w.p.seed, forText, uint64(c.number())<<16|uint64(pub.ordinal), m.k), m.k)
	w.vars.Rand = w.rand
}

// makeText makes the payload of a template. The digits of a {proof} are those of an empty header behind the run's, which
// is how sealInText finds them.
func (w *worker) makeText(c *client, pub *publication, m *message, header []byte, topicIndex int) []byte {
	if s, ok := pub.payload.Constant(); ok {
		return viewBytes(s)
	}
	binary.BigEndian.PutUint32(header, w.p.runID)
	w.messageVars(c, pub, m, topicIndex, header)
	w.text = pub.payload.Append(w.text[:0], &w.vars)
	return w.text
}

func (w *worker) sealInText(header, payload []byte, topic string) {
	at := bytes.Index(payload, w.p.runDigits)
	if at < 0 || at+2*proofSize > len(payload) {
		return
	}
	sealText(header, payload, at, topic)
	hex.Encode(payload[at:], header)
}

// publishProps makes the properties of a PUBLISH.
func (w *worker) publishProps(c *client, pub *publication, m *message, pr *proof, header []byte, place proofPlace, topicIndex int) []byte {
	if pub.props.empty() && place != proofProperty5 {
		return nil
	}
	own := pub.request && !pub.props.fixed.Has(codec.PropCorrelationData)
	if len(pub.props.texts) == 0 && place != proofProperty5 && !own {
		return pub.props.fixed.Raw()
	}
	w.messageVars(c, pub, m, topicIndex, header)
	w.props.Reset()
	var made codec.Properties
	w.scratch = pub.props.fill(&made, &w.vars, w.scratch)
	for p, ok := range made.All() {
		if !ok {
			break
		}
		copyProperty(&w.props, &p)
	}
	if own && !w.props.Has(codec.PropCorrelationData) {
		var id [proofSize]byte
		pr.put(id[:], w.p.runID)
		w.props.SetBytes(codec.PropCorrelationData, id[:])
	}
	if place == proofProperty5 {
		var digits [2 * proofSize]byte
		hex.Encode(digits[:], header)
		w.props.AddUser(proofProperty, viewString(digits[:]))
	}
	return w.props.Raw()
}

// topicIndexOf is the place of a message's topic in the pool.
func (pub *publication) topicIndexOf(k uint64) int { return int(k % uint64(pub.topics)) }

// released settles a message that the session has let go.
func (w *worker) released(c *client, a *session.Action[message]) {
	m := &a.H
	if m.emitter == replyEmitter {
		c.replies.forget(m.k)
		return
	}
	if a.QoS == 0 && m.sent == 0 {
		return // a SUBSCRIBE
	}
	e := &c.emitters[m.emitter]
	s := &e.streams[e.pub.topicIndexOf(m.k)*len(e.pub.levels)+e.pub.slot[m.qos]]
	phase := w.p.table.at(m.due - w.t0)
	counts := w.st.at(phase, c.g.index)
	switch {
	case a.Cause == session.Done && a.Reason < codec.UnspecifiedError:
		counts.Acknowledged++
		w.st.record(metricService, int(m.qos), c.g.index, phase, w.now-m.sent)
		w.st.record(metricAck, int(m.qos), c.g.index, phase, w.now-m.due)
	case a.Cause == session.Done:
		counts.Refused++
		t := codec.TypePuback
		if m.qos == 2 {
			t = codec.TypePubrec
		}
		w.fault(c, "publish", a.Reason.Name(t, c.g.version), int(a.Reason))
		s.outcome().void.Add(m.seq, m.seq+1)
	default:
		s.outcome().open.Add(m.seq, m.seq+1)
	}
}
