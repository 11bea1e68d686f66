package broker

import (
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
)

// subscribe processes a SUBSCRIBE (3.8).
func (c *conn) subscribe(sc *scratch, p *codec.Subscribe) error {
	var id uint32
	if c.version == codec.V5 && p.Props.Has(codec.PropSubscriptionID) {
		if c.b.cfg.SubscriptionIDsUnavailable {
			return &fault{reason: codec.SubscriptionIdentifiersNotSupported, rule: "P-3.2.2.3.12-subscription-identifiers-not-supported", msg: "Subscription Identifiers are not available"}
		}
		id = p.Props.Uint(codec.PropSubscriptionID, 0)
	}
	ack := codec.Suback{PacketID: p.PacketID, Reasons: make([]codec.ReasonCode, 0, len(p.Filters))} // [MQTT-3.8.4-2]
	// The replies are gathered first: SUBACK goes out before the retained messages.
	type pending struct {
		filter string
		o      topic.Options
	}
	var send []pending
	for i := range p.Filters { // [MQTT-3.8.4-5]
		f := &p.Filters[i]
		o := topic.Options{
			ID: id, QoS: min(f.QoS, c.b.lim.maxQoS),
			NoLocal: f.NoLocal, RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
		}
		reason, existed, err := c.subscribeOne(f, o)
		if err != nil {
			return err
		}
		if reason.Failed() && c.version < codec.V5 { // [MQTT-3.9.3-2]
			reason = codec.SubackFailure
		}
		ack.Reasons = append(ack.Reasons, reason) // [MQTT-3.8.4-6] [MQTT-3.9.3-1]
		if reason.Failed() || c.b.cfg.RetainUnavailable || c.isShared(f.Filter) {
			continue // a Shared Subscription gets no retained messages (4.8.2)
		}
		if o.RetainHandling == 0 || o.RetainHandling == 1 && !existed { // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
			send = append(send, pending{strings.Clone(f.Filter), o})
		}
	}
	c.send(sc, &ack, &ack.Props, "") // [MQTT-3.8.4-1]
	for _, s := range send {
		c.sendRetained(sc, s.filter, s.o)
	}
	return nil
}

// isShared reports whether a filter is that of a Shared Subscription: before version 5 there
// are none, and the prefix means nothing.
func (c *conn) isShared(filter string) bool {
	return c.version == codec.V5 && strings.HasPrefix(filter, "$share/")
}

// subscribeOne makes or replaces one Subscription. An error ends the connection.
func (c *conn) subscribeOne(f *codec.Subscription, o topic.Options) (reason codec.ReasonCode, existed bool, err error) {
	b, s := c.b, c.sess
	group, inner := "", f.Filter
	if c.isShared(f.Filter) {
		var err error
		if group, inner, _, err = topic.ParseShared(f.Filter); err != nil {
			return codec.TopicFilterInvalid, false, nil
		}
		if b.cfg.SharedUnavailable {
			return 0, false, &fault{reason: codec.SharedSubscriptionsNotSupported, rule: "P-3.2.2.3.13-shared-not-supported", msg: "Shared Subscriptions are not available"}
		}
	}
	if b.cfg.WildcardUnavailable && topic.IsWild(inner) {
		if c.version < codec.V5 { // [MQTT-3.8.3-2]
			return codec.SubackFailure, false, nil
		}
		return 0, false, &fault{reason: codec.WildcardSubscriptionsNotSupported, rule: "P-3.2.2.3.11-wildcard-not-supported", msg: "wildcard subscriptions are not available"}
	}
	if b.cfg.Authorize != nil && !b.allowed(c, Access{Action: Subscribe, Topic: f.Filter, QoS: f.QoS}) {
		b.stats.denied.Add(1)
		return codec.NotAuthorized, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn.Load() != c {
		return 0, false, errStopped
	}
	_, existed = s.subs[f.Filter]
	if !existed {
		if len(s.subs) >= b.lim.maxSubs {
			return codec.QuotaExceeded, false, nil
		}
		if s.subs == nil {
			s.subs = make(map[string]topic.Options, 1)
		}
	}
	s.subs[strings.Clone(f.Filter)] = o          // assigning may replace the key as well, which views the frame
	b.subs.Subscribe(group, inner, s, o)         // [MQTT-3.8.4-3]
	return codec.ReasonCode(o.QoS), existed, nil // [MQTT-3.8.4-7]
}

// unsubscribe processes an UNSUBSCRIBE (3.10).
func (c *conn) unsubscribe(sc *scratch, p *codec.Unsubscribe) error {
	s := c.sess
	ack := codec.Unsuback{PacketID: p.PacketID} // [MQTT-3.10.4-5]
	s.mu.Lock()
	if s.conn.Load() != c {
		s.mu.Unlock()
		return errStopped
	}
	for _, f := range p.Filters { // [MQTT-3.10.4-6]
		reason := codec.NoSubscriptionExisted
		if _, ok := s.subs[f]; ok { // [MQTT-3.10.4-1]
			c.b.drop(s, f)
			delete(s.subs, f)
			reason = codec.Success
		}
		if c.version == codec.V5 { // [MQTT-3.11.3-1]
			ack.Reasons = append(ack.Reasons, reason)
		}
	}
	if len(s.subs) == 0 {
		s.subs = nil
	}
	s.mu.Unlock()
	c.send(sc, &ack, &ack.Props, "")
	return nil
}

// drop removes a Subscription from the tree. A filter that a version 5 connection has given
// the share prefix stays shared, whatever version its Session is resumed with.
func (b *Broker) drop(s *sess, filter string) {
	if group, inner, shared, err := topic.ParseShared(filter); err == nil && shared && b.subs.Unsubscribe(group, inner, s) {
		return
	}
	b.subs.Unsubscribe("", filter, s)
}
