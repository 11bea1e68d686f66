package loadgen

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// repliesLimit bounds the answers that wait for a client's window.
const repliesLimit = 10_000

// replies are a responder's answers: those that wait, and those whose handshake is under way.
type replies struct {
	waiting []answer
	under   map[uint64]answer
	next    uint64
}

type answer struct {
	topic         string
	payload, corr []byte
}

func (r *replies) forget(k uint64) { delete(r.under, k) }

// request queues the answer to a message that asks for one.
func (w *worker) request(c *client, _ string, props, payload []byte) {
	if len(props) == 0 {
		return
	}
	var p codec.Properties
	p.SetRaw(props)
	to := p.Text(codec.PropResponseTopic)
	if to == "" {
		return
	}
	if c.replies == nil {
		c.replies = &replies{under: map[uint64]answer{}}
	}
	if len(c.replies.waiting) >= repliesLimit {
		w.count(c).Dropped++
		return
	}
	a := answer{topic: string([]byte(to)), corr: append([]byte(nil), p.Bytes(codec.PropCorrelationData)...)}
	if s := c.g.Respond.Size; largest(s) > 0 {
		a.payload = makeFiller(largest(s))
	} else {
		a.payload = append([]byte(nil), payload...)
	}
	c.replies.waiting = append(c.replies.waiting, a)
}

// reply sends the answers that wait, as far as the window allows.
func (w *worker) reply(c *client) {
	r := c.replies
	qos := c.g.Respond.QoS
	for len(r.waiting) > 0 && c.state == stateReady {
		if qos > 0 && w.room(c) <= 0 {
			return
		}
		a := r.waiting[0]
		r.waiting = r.waiting[1:]
		m := message{due: w.now, sent: w.now, k: r.next, emitter: replyEmitter, qos: qos}
		r.next++
		if qos == 0 {
			w.appendAnswer(c, &a, 0, 0, false)
			w.count(c).Published++
			continue
		}
		r.under[m.k] = a
		before := c.sess.InFlight()
		w.step(c, session.Event[message]{Kind: session.Send, QoS: codec.QoS(qos), H: m})
		if c.sess.InFlight() > before {
			w.count(c).Published++
		}
	}
	if len(r.waiting) == 0 {
		r.waiting = nil
	}
}

// appendReply appends an answer that the session sends.
func (w *worker) appendReply(c *client, m *message, id uint16, dup bool) {
	if a, ok := c.replies.under[m.k]; ok {
		w.appendAnswer(c, &a, m.qos, id, dup)
	}
}

func (w *worker) appendAnswer(c *client, a *answer, qos uint8, id uint16, dup bool) {
	p := codec.Publish{Topic: a.topic, Payload: a.payload, QoS: codec.QoS(qos), PacketID: id, Dup: dup}
	if len(a.corr) > 0 {
		p.Props.SetBytes(codec.PropCorrelationData, a.corr)
	}
	b, err := p.AppendTo(w.out, c.g.version)
	if err != nil {
		w.fault(c, "publish", err.Error(), -1)
		return
	}
	w.out = b
}

// response takes the answer to a request of the client's own. It is false for anything else.
func (w *worker) response(c *client, props []byte) bool {
	if len(c.emitters) == 0 {
		return false
	}
	var p codec.Properties
	p.SetRaw(props)
	if p.Has(codec.PropResponseTopic) {
		return false
	}
	var pr proof
	if pr.read(p.Bytes(codec.PropCorrelationData), w.p.runID) != intact || int(pr.publisher) != c.number() {
		return false
	}
	pub, _, qos, ok := c.g.locate(int(pr.stream))
	if !ok || !pub.request {
		return false
	}
	w.answered++
	w.st.record(metricRequest, int(qos), c.g.index, w.p.table.at(pr.due), w.now-w.t0-pr.due)
	return true
}
