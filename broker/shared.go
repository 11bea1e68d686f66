package broker

import (
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

// share gives a message to one member of a Shared Subscription (4.8.2): in turn to those that
// can take it at once, else to one that is away but whose Session is kept.
func (b *Broker) share(sc *scratch, m *message, sh *topic.Share[*sess]) bool {
	turn := sh.Turn()
	var away *topic.Subscription[*sess]
	for i := range sh.Len() {
		t, ok := sh.At(turn + uint32(i))
		if !ok {
			break
		}
		switch t.Subscriber.state() {
		case memberReady:
			if b.serveMember(sc, m, sh, t) {
				return true
			}
		case memberAway:
			if away == nil && min(m.qos, t.Options.QoS) > 0 {
				away = &t
			}
		}
	}
	return away != nil && b.serveMember(sc, m, sh, *away)
}

// serveMember sends the message at the QoS granted to the member [MQTT-4.8.2-3].
func (b *Broker) serveMember(sc *scratch, m *message, sh *topic.Share[*sess], t topic.Subscription[*sess]) bool {
	var ids []uint32
	if t.Options.ID != 0 {
		ids = []uint32{t.Options.ID}
	}
	retain := m.retain && t.Options.RetainAsPublished
	qos := min(m.qos, t.Options.QoS)
	if qos == codec.QoS(0) {
		return b.sendQoS0(sc, m, t.Subscriber.conn.Load(), retain, ids)
	}
	return b.sendQoS(sc, m, t.Subscriber, qos, retain, ids, sh)
}

// memberState says whether a member of a group can be served.
type memberState uint8

const (
	memberAway  memberState = iota // not connected, or its window or queue is full
	memberReady                    // connected and able to take a message
)

func (s *sess) state() memberState {
	c := s.conn.Load()
	if c == nil || c.stopped.Load() {
		return memberAway
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.n > 0 || s.flow.Free() == 0 {
		return memberAway
	}
	return memberReady
}
