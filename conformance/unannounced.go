package conformance

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// MQTT 3.1.1 has no words for what a server does not support: it refuses a filter or ends the
// connection. Each probe here asks for one feature next to a control that asks for nothing
// special, and takes the feature away only where the target plainly turned it down.

// unannounced is one probe: what it found missing, with the evidence, or "".
type unannounced struct {
	cap   Capability
	probe func(*prober) string
}

var unannouncedProbes = []unannounced{
	{CapQoS1, func(p *prober) string { return p.publish("a PUBLISH with QoS 1", &codec.Publish{QoS: 1, PacketID: 1}) }},
	{CapQoS2, func(p *prober) string { return p.publish("a PUBLISH with QoS 2", &codec.Publish{QoS: 2, PacketID: 1}) }},
	{CapRetain, func(p *prober) string { return p.publish("a retained PUBLISH", &codec.Publish{Retain: true}) }},
	{CapWildcard, (*prober).wildcards},
	{CapSessionExpiry, (*prober).sessions},
}

// prober opens connections to one target under one version, beside any check.
type prober struct {
	ctx   context.Context
	r     *run
	t     *T
	topic string
}

// unannounced takes away what the target turns down. The probes run side by side: together they
// cost a few round trips.
func (f *Features) unannounced(ctx context.Context, r *run) {
	t := &T{run: r, version: f.Version, check: &Check{Name: "probe"}}
	var wg sync.WaitGroup
	evidence := make([]string, len(unannouncedProbes))
	for i, u := range unannouncedProbes {
		if f.Capabilities&u.cap == 0 {
			continue
		}
		wg.Go(func() {
			p := &prober{ctx: ctx, r: r, t: t, topic: fmt.Sprintf("%s%s/probe%d", r.cfg.TopicPrefix, r.id, i)}
			evidence[i] = u.probe(p)
		})
	}
	wg.Wait()
	for i, why := range evidence {
		if why != "" {
			f.Capabilities &^= unannouncedProbes[i].cap
			f.Shown = append(f.Shown, why)
		}
	}
}

// connect returns a connection whose CONNECT was accepted, or nil.
func (p *prober) connect(edits ...func(*codec.Connect)) *peer.Conn {
	nc, err := p.r.dial(p.ctx)
	if err != nil {
		return nil
	}
	c := peer.New(nc, peer.Config{Name: "probe", Version: p.t.Version(), AutoAck: true})
	if c.Send(p.t.ConnectPacket(edits...)) == nil {
		e, err := c.Await(p.r.cfg.Timeout, ofType(codec.TypeConnack))
		if err == nil && e.Packet.(*codec.Connack).Reason == codec.Success {
			return c
		}
	}
	_ = c.Close()
	return nil
}

// survives reports whether the connection still serves after the packets, and whether that can
// be told: a target that neither answers nor ends leaves it open.
func (p *prober) survives(c *peer.Conn, sent ...codec.Packet) (alive, known bool) {
	for _, x := range append(sent, &codec.Pingreq{}) {
		if c.Send(x) != nil {
			break
		}
	}
	_, err := c.Await(p.r.cfg.Timeout, ofType(codec.TypePingresp))
	return err == nil, err == nil || errors.Is(err, peer.ErrClosed)
}

// publish says that the packet ends the connection where a plain PUBLISH does not, twice.
func (p *prober) publish(what string, packet *codec.Publish) string {
	packet.Topic = p.topic
	for range 2 {
		if ended := p.publishEnds(packet); !ended {
			return ""
		}
	}
	if p.publishEnds(&codec.Publish{Topic: p.topic}) {
		return "" // the topic is what the target minds
	}
	return what + " ends the connection"
}

func (p *prober) publishEnds(packet *codec.Publish) bool {
	c := p.connect()
	if c == nil {
		return false
	}
	defer c.Close()
	alive, known := p.survives(c, packet)
	return known && !alive
}

// wildcards says that filters with wildcards are refused where the plain one is granted.
func (p *prober) wildcards() string {
	if !p.grants(p.topic) || p.grants(p.topic+"/#") || p.grants(p.topic+"/+") {
		return ""
	}
	return "filters with wildcards are refused"
}

// grants reports whether the filter is granted, or that cannot be told.
func (p *prober) grants(filter string) bool {
	c := p.connect()
	if c == nil {
		return true
	}
	defer c.Close()
	if c.Send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: filter}}}) != nil {
		return true
	}
	e, err := c.Await(p.r.cfg.Timeout, ofType(codec.TypeSuback))
	if err != nil {
		return !errors.Is(err, peer.ErrClosed)
	}
	ack := e.Packet.(*codec.Suback)
	return len(ack.Reasons) != 1 || !ack.Reasons[0].Failed()
}

// sessions says that nothing is left of a session after an orderly end of its connection: not
// announced as present, no subscription, no message kept.
func (p *prober) sessions() string {
	id := p.t.ClientID()
	keep := func(x *codec.Connect) { x.ClientID, x.CleanStart = id, false }
	c := p.connect(keep)
	if c == nil {
		return ""
	}
	defer c.Close()
	if c.Send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: p.topic, QoS: 1}}}) != nil {
		return ""
	}
	if _, err := c.Await(p.r.cfg.Timeout, ofType(codec.TypeSuback)); err != nil {
		return ""
	}
	_ = c.Send(&codec.Disconnect{})
	if _, ended := c.AwaitClose(p.r.cfg.Timeout); !ended {
		return ""
	}
	pub := p.connect()
	if pub == nil {
		return ""
	}
	defer pub.Close()
	if alive, _ := p.survives(pub, &codec.Publish{Topic: p.topic, QoS: 1, PacketID: 1}); !alive {
		return ""
	}
	nc, err := p.r.dial(p.ctx)
	if err != nil {
		return ""
	}
	back := peer.New(nc, peer.Config{Name: "probe", Version: p.t.Version(), AutoAck: true})
	defer back.Close()
	if back.Send(p.t.ConnectPacket(keep)) != nil {
		return ""
	}
	e, err := back.Await(p.r.cfg.Timeout, ofType(codec.TypeConnack))
	if err != nil || e.Packet.(*codec.Connack).Reason != codec.Success || e.Packet.(*codec.Connack).SessionPresent {
		p.forget(id)
		return ""
	}
	// A second message tells a subscription that is still there from one that is not.
	_ = pub.Send(&codec.Publish{Topic: p.topic, QoS: 1, PacketID: 2})
	_, _ = pub.Await(p.r.cfg.Timeout, func(e *peer.Event) bool { _, n, _ := ackOf(e); return n == 2 })
	alive, _ := p.survives(back)
	kept := len(back.Pending(onTopic(p.topic))) > 0
	p.forget(id)
	if !alive || kept {
		return ""
	}
	return "nothing is kept of a session with CleanSession 0 once its connection has ended"
}

// forget removes the session.
func (p *prober) forget(id string) {
	if p.r.cfg.Ephemeral {
		return
	}
	if c := p.connect(func(x *codec.Connect) { x.ClientID = id }); c != nil {
		_ = c.Send(&codec.Disconnect{})
		_ = c.Close()
	}
}

// lacks ends the check as not applicable where the stage could not be set for want of a feature
// that the target is known not to have.
func (t *T) lacks(c Capability) {
	f := t.Target()
	if f == nil {
		return
	}
	if why := c.missing(f.Capabilities); why != "" {
		t.NotApplicable("%s", why)
	}
}

// lacksQoS is lacks for the QoS of a message or subscription.
func (t *T) lacksQoS(q codec.QoS) {
	switch {
	case q >= 2:
		t.lacks(CapQoS1 | CapQoS2)
	case q == 1:
		t.lacks(CapQoS1)
	}
}

// fitting ends the check as not applicable where it would have to send a packet that is larger
// than the target takes, which a client must not do [MQTT-3.2.2-15].
func (t *T) fitting(size int) {
	if f := t.Target(); f != nil && f.MaximumPacketSize != 0 && size > int(f.MaximumPacketSize) {
		t.NotApplicable("the check needs a packet of %d bytes, and the target takes %d", size, f.MaximumPacketSize)
	}
}

// notKept ends the check where a session was needed that the target did not keep, which only
// decides something where it keeps sessions at all.
func (t *T) notKept(c *Conn) {
	t.lacks(CapSessionExpiry)
	t.Inconclusive("%s: the session was not kept", c.Name())
}
