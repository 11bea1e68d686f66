package conformance

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// featureProbe finds out one feature. An error leaves it unknown.
type featureProbe struct {
	name string
	ask  func(*inquiry, *Feature) error
}

// probes lists what is asked under the version.
func (in *inquiry) probes() []featureProbe {
	list := []featureProbe{
		{"retained messages", (*inquiry).retained},
		{"wildcard +", wildcard("+")},
		{"wildcard #", wildcard("#")},
		{"shared subscriptions", (*inquiry).shared},
	}
	if in.version == codec.V5 {
		list = append(list, []featureProbe{
			{"subscription identifiers", (*inquiry).subscriptionIDs},
			{"topic aliases from the client", (*inquiry).aliasIn},
			{"topic aliases from the server", (*inquiry).aliasOut},
			{"message expiry", (*inquiry).messageExpiry},
		}...)
	}
	if in.version != codec.V31 { // which has Client Identifiers of 1 to 23 characters
		list = append(list, []featureProbe{
			{"empty Client Identifier", (*inquiry).emptyID},
			{"Client Identifier length", (*inquiry).idLength},
		}...)
	}
	return append(list, []featureProbe{
		{"session kept", (*inquiry).session},
		{"Will", (*inquiry).will},
		{"ASCII Client Identifier", clientIDs(" !#$+-./:_")},
		{"Unicode Client Identifier", clientIDs("äπ漢🦊")},
		{"Topic Name length", (*inquiry).topicLength},
		{"payload size", (*inquiry).payloadSize},
		{"Keep Alive of 2 s", (*inquiry).keepAlive},
	}...)
}

// pair returns two connections, or the error that there are none.
func (in *inquiry) pair(edits ...func(*codec.Connect)) (a, b *peer.Conn, err error) {
	if a, _, err = in.connect(); err != nil {
		return nil, nil, err
	}
	if b, _, err = in.connect(edits...); err != nil {
		leave(a)
		return nil, nil, err
	}
	return a, b, nil
}

// settled sends PINGREQ and waits for the answer, so that what was sent before has been seen.
func (in *inquiry) settled(c *peer.Conn) error {
	if err := c.Send(&codec.Pingreq{}); err != nil {
		return err
	}
	_, err := c.Await(in.r.cfg.Timeout, ofType(codec.TypePingresp))
	return err
}

// shortWait is how long something that need not come is waited for.
const shortWait = time.Second

func (in *inquiry) retained(f *Feature) error {
	pub, sub, err := in.pair()
	if err != nil {
		return err
	}
	defer leave(sub)
	topic := in.topic()
	if err := pub.Send(&codec.Publish{Topic: topic, Retain: true, Payload: []byte("kept")}); err != nil {
		return err
	}
	if err := in.settled(pub); err != nil {
		_ = pub.Close()
		if errors.Is(err, peer.ErrClosed) {
			f.State, f.Detail = No, "a retained PUBLISH ends the connection"
			return nil
		}
		return err
	}
	defer leave(pub)
	defer func() { _ = pub.Send(&codec.Publish{Topic: topic, Retain: true}) }()
	if code, err := in.subscribe(sub, codec.Subscription{Filter: topic}); err != nil || code.Failed() {
		return errors.New(refusal("SUBSCRIBE", code, err))
	}
	if _, err := sub.Await(shortWait, withPayload(topic, "kept")); err != nil {
		f.State, f.Detail = No, "a new subscription gets nothing"
		return nil
	}
	f.State = Yes
	return nil
}

// reaches judges whether a filter gets the message on the topic.
func (in *inquiry) reaches(f *Feature, filter, topic string) error {
	pub, sub, err := in.pair()
	if err != nil {
		return err
	}
	defer leave(pub)
	defer leave(sub)
	code, err := in.subscribe(sub, codec.Subscription{Filter: filter})
	if err != nil && !errors.Is(err, peer.ErrClosed) {
		return err
	}
	if err != nil || code.Failed() {
		f.State, f.Detail = No, refusal("SUBSCRIBE", code, err)
		return nil
	}
	if err := pub.Send(&codec.Publish{Topic: topic, Payload: []byte("m")}); err != nil {
		return err
	}
	if _, err := sub.Await(shortWait, withPayload(topic, "m")); err != nil {
		f.State, f.Detail = No, "the filter is granted and gets nothing"
		return nil
	}
	f.State = Yes
	return nil
}

func wildcard(sign string) func(*inquiry, *Feature) error {
	return func(in *inquiry, f *Feature) error {
		topic := in.topic()
		return in.reaches(f, topic+"/"+sign, topic+"/x")
	}
}

func (in *inquiry) shared(f *Feature) error {
	topic := in.topic()
	return in.reaches(f, "$share/"+in.r.id+"/"+topic, topic)
}

func (in *inquiry) subscriptionIDs(f *Feature) error {
	c, _, err := in.connect()
	if err != nil {
		return err
	}
	defer leave(c)
	topic := in.topic()
	code, err := in.subscribe(c, codec.Subscription{Filter: topic}, func(p *codec.Subscribe) { p.Props.SetUint(codec.PropSubscriptionID, 7) })
	if err != nil || code.Failed() {
		f.State, f.Detail = No, refusal("SUBSCRIBE", code, err)
		return nil
	}
	e, err := in.pass(c, c, &codec.Publish{Topic: topic, Payload: []byte("m")})
	if err != nil {
		return err
	}
	if e.Packet.(*codec.Publish).Props.Uint(codec.PropSubscriptionID, 0) != 7 {
		f.State, f.Detail = No, "the message comes without the identifier"
		return nil
	}
	f.State = Yes
	return nil
}

func (in *inquiry) aliasIn(f *Feature) error {
	most := in.connack.Props.Uint(codec.PropTopicAliasMaximum, 0)
	if most == 0 {
		f.State, f.Detail = No, "Topic Alias Maximum is 0"
		return nil
	}
	c, _, err := in.connect()
	if err != nil {
		return err
	}
	defer leave(c)
	topic := in.topic()
	if code, err := in.subscribe(c, codec.Subscription{Filter: topic}); err != nil || code.Failed() {
		return errors.New(refusal("SUBSCRIBE", code, err))
	}
	for i, name := range []string{topic, ""} {
		p := &codec.Publish{Topic: name, Payload: fmt.Append(nil, "alias ", i)}
		p.Props.SetUint(codec.PropTopicAlias, 1)
		if _, err := in.pass(c, c, p); err != nil {
			f.State, f.Detail = No, "a PUBLISH with an alias does not arrive: "+err.Error()
			return nil
		}
	}
	f.State, f.Limit = Yes, int64(most)
	return nil
}

func (in *inquiry) aliasOut(f *Feature) error {
	c, _, err := in.connect(func(p *codec.Connect) { p.Props.SetUint(codec.PropTopicAliasMaximum, 8) })
	if err != nil {
		return err
	}
	defer leave(c)
	topic := in.topic()
	if code, err := in.subscribe(c, codec.Subscription{Filter: topic}); err != nil || code.Failed() {
		return errors.New(refusal("SUBSCRIBE", code, err))
	}
	for i := range 4 {
		payload := fmt.Sprint("message ", i)
		if err := c.Send(&codec.Publish{Topic: topic, Payload: []byte(payload)}); err != nil {
			return err
		}
		e, err := c.Await(in.r.cfg.Timeout, func(e *peer.Event) bool {
			p, ok := e.Packet.(*codec.Publish)
			return ok && string(p.Payload) == payload
		})
		if err != nil {
			return err
		}
		if e.Packet.(*codec.Publish).Props.Has(codec.PropTopicAlias) {
			f.State = Yes
			return nil
		}
	}
	f.State, f.Detail = No, "none of 4 messages on one topic uses an alias"
	return nil
}

// messageExpiry keeps a message for a second beyond its time.
func (in *inquiry) messageExpiry(f *Feature) error {
	if in.connack.Props.Uint(codec.PropRetainAvailable, 1) == 0 {
		return errors.New("not asked: retained messages are not available")
	}
	c, _, err := in.connect()
	if err != nil {
		return err
	}
	topics := [2]string{in.topic(), in.topic()}
	for i, seconds := range []uint32{1, 60} {
		p := &codec.Publish{Topic: topics[i], Retain: true, Payload: []byte("m")}
		p.Props.SetUint(codec.PropMessageExpiry, seconds)
		if err := c.Send(p); err != nil {
			return err
		}
	}
	err = in.settled(c)
	leave(c)
	if err != nil {
		return err
	}
	if err := in.pause(2500 * time.Millisecond); err != nil {
		return err
	}
	if c, _, err = in.connect(); err != nil {
		return err
	}
	defer leave(c)
	defer func() {
		for _, topic := range topics {
			_ = c.Send(&codec.Publish{Topic: topic, Retain: true})
		}
	}()
	for _, topic := range topics {
		if code, err := in.subscribe(c, codec.Subscription{Filter: topic}); err != nil || code.Failed() {
			return errors.New(refusal("SUBSCRIBE", code, err))
		}
	}
	e, err := c.Await(shortWait, onTopic(topics[1]))
	if err != nil {
		return errors.New("a message that has not expired does not arrive either")
	}
	if len(c.Pending(onTopic(topics[0]))) > 0 {
		f.State, f.Detail = No, "a message is delivered 1.5 s after it expired"
		return nil
	}
	f.State = Yes
	f.Detail = fmt.Sprintf("60 s had become %d s", e.Packet.(*codec.Publish).Props.Uint(codec.PropMessageExpiry, 0))
	return nil
}

func (in *inquiry) pause(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-in.ctx.Done():
		return in.ctx.Err()
	}
}

// session holds that a session and a message for it outlive the connection.
func (in *inquiry) session(f *Feature) error {
	id, topic := in.name("s"), in.topic()
	keep := func(p *codec.Connect) {
		p.ClientID, p.CleanStart = id, false
		if in.version == codec.V5 {
			p.Props.SetUint(codec.PropSessionExpiry, 60)
		}
	}
	c, ack, err := in.connect(keep)
	if err != nil {
		return err
	}
	code, err := in.subscribe(c, codec.Subscription{Filter: topic, QoS: 1})
	leave(c)
	if err != nil || code != 1 {
		return errors.New(refusal("SUBSCRIBE", code, err))
	}
	pub, _, err := in.connect()
	if err != nil {
		return err
	}
	defer leave(pub)
	if err := pub.Send(&codec.Publish{Topic: topic, QoS: 1, PacketID: 1, Payload: []byte("waits")}); err != nil {
		return err
	}
	if _, err := pub.Await(in.r.cfg.Timeout, lastAck(1, 1)); err != nil {
		return fmt.Errorf("PUBLISH is not acknowledged: %w", err)
	}
	back, again, err := in.connect(keep)
	if err != nil {
		return err
	}
	_, missing := back.Await(shortWait, withPayload(topic, "waits"))
	leave(back)
	if c, _, err := in.connect(func(p *codec.Connect) { p.ClientID = id }); err == nil {
		leave(c)
	}
	switch present := again.SessionPresent || in.version == codec.V31; {
	case present && missing == nil:
		f.State = Yes
	case missing == nil:
		f.State, f.Detail = Yes, "though CONNACK says that no session is present"
	case again.SessionPresent:
		f.State, f.Detail = No, "the session is present, but a message sent meanwhile is not delivered"
	default:
		f.State, f.Detail = No, "nothing of it is left"
	}
	if granted := ack.Props.Uint(codec.PropSessionExpiry, 60); granted != 60 {
		f.Detail = strings.TrimPrefix(f.Detail+"; the server sets the expiry to "+fmt.Sprint(granted)+" s", "; ")
	}
	return nil
}

func (in *inquiry) will(f *Feature) error {
	topic := in.topic()
	watcher, dying, err := in.pair(func(p *codec.Connect) {
		p.HasWill, p.Will = true, codec.Will{Topic: topic, Payload: []byte("last words")}
	})
	if err != nil {
		return err
	}
	defer leave(watcher)
	code, err := in.subscribe(watcher, codec.Subscription{Filter: topic})
	if err != nil || code.Failed() {
		_ = dying.Close()
		return errors.New(refusal("SUBSCRIBE", code, err))
	}
	began := time.Now()
	dying.Drop()
	e, err := watcher.Await(in.r.cfg.Timeout, withPayload(topic, "last words"))
	if err != nil {
		f.State, f.Detail = No, fmt.Sprintf("not published within %v of a reset connection", in.r.cfg.Timeout)
		return nil
	}
	f.State, f.Duration = Yes, e.At.Sub(began)
	return nil
}

func (in *inquiry) emptyID(f *Feature) error {
	c, ack, err := in.connect(func(p *codec.Connect) { p.ClientID = "" })
	if err != nil {
		if errors.Is(err, errRefused) || errors.Is(err, peer.ErrClosed) {
			f.State, f.Detail = No, err.Error()
			return nil
		}
		return err
	}
	leave(c)
	f.State = Yes
	if id := ack.Props.Text(codec.PropAssignedClientID); id != "" {
		f.Detail = fmt.Sprintf("the server assigns one of %d bytes", len(id))
	}
	return nil
}

func clientIDs(signs string) func(*inquiry, *Feature) error {
	return func(in *inquiry, f *Feature) error {
		ok, err := in.takesID(in.name("i") + signs)
		if err != nil && !ok {
			f.State, f.Detail = No, err.Error()
			return nil
		}
		f.State = Yes
		return nil
	}
}

func (in *inquiry) takesID(id string) (bool, error) {
	c, _, err := in.connect(func(p *codec.Connect) { p.ClientID = id })
	if err != nil {
		return false, err
	}
	leave(c)
	return true, nil
}

// largest finds the largest value up to most for which ok holds, if it holds up to some value
// and not beyond: doubling first, then halving the gap.
func (in *inquiry) largest(f *Feature, least, most int, ok func(int) bool) {
	good, bad := 0, 0
	for n := least; ; n = min(2*n, most) {
		if in.ctx.Err() != nil {
			return
		}
		if !ok(n) {
			bad = n
			break
		}
		if good = n; n == most {
			break
		}
	}
	for bad > 0 && good > 0 && bad-good > 1 && in.ctx.Err() == nil {
		mid := good + (bad-good)/2
		if ok(mid) {
			good = mid
		} else {
			bad = mid
		}
	}
	f.Limit, f.AtLeast = int64(good), bad == 0
	if f.State = Yes; good == 0 {
		f.State, f.Detail = No, fmt.Sprintf("not even %d", least)
	}
}

// packetLimit is what the target announces for a packet, or the protocol's own limit.
func (in *inquiry) packetLimit() int {
	return int(in.connack.Props.Uint(codec.PropMaximumPacketSize, codec.MaxPacketSize))
}

func (in *inquiry) idLength(f *Feature) error {
	base := in.name("l")
	most := min(codec.MaxStringLen, in.packetLimit()-len(in.r.cfg.Username)-len(in.r.cfg.Password)-32)
	in.largest(f, 23, max(23, most), func(n int) bool {
		ok, _ := in.takesID(base + strings.Repeat("x", max(0, n-len(base))))
		return ok
	})
	return nil
}

func (in *inquiry) topicLength(f *Feature) error {
	base := in.topic()
	most := min(codec.MaxStringLen, in.packetLimit()-32)
	in.largest(f, max(64, len(base)), max(64, most), func(n int) bool {
		return in.echo(base+strings.Repeat("x", max(0, n-len(base))), []byte("m"))
	})
	return nil
}

func (in *inquiry) payloadSize(f *Feature) error {
	topic := in.topic()
	most := min(in.maxPayload, in.packetLimit()-len(topic)-16)
	in.largest(f, min(64, most), most, func(n int) bool { return in.echo(topic, make([]byte, n)) })
	return nil
}

// echo reports whether a message comes back to its sender. PINGRESP ends the wait early, but for
// a moment that a slower path for messages is granted.
func (in *inquiry) echo(topic string, payload []byte) bool {
	c, _, err := in.connect()
	if err != nil {
		return false
	}
	defer leave(c)
	if code, err := in.subscribe(c, codec.Subscription{Filter: topic}); err != nil || code.Failed() {
		return false
	}
	if c.Send(&codec.Publish{Topic: topic, Payload: payload}) != nil || in.settled(c) != nil {
		return false
	}
	e, err := c.Await(shortWait, onTopic(topic))
	return err == nil && len(e.Packet.(*codec.Publish).Payload) == len(payload)
}

// keepAlive measures when a silent connection is ended.
func (in *inquiry) keepAlive(f *Feature) error {
	const seconds, patience = 2, 8 * time.Second
	c, ack, err := in.connect(func(p *codec.Connect) { p.KeepAlive = seconds })
	if err != nil {
		return err
	}
	defer c.Close()
	period := time.Duration(ack.Props.Uint(codec.PropServerKeepAlive, seconds)) * time.Second
	if period == 0 || period > 20*time.Second {
		f.Detail = fmt.Sprintf("the server sets the Keep Alive to %v", period)
		return nil
	}
	began := time.Now()
	if !c.Disturbed(period+patience, func(*peer.Event) bool { return false }) {
		f.State, f.Detail = No, fmt.Sprintf("still open after %v of silence", period+patience)
		return nil
	}
	end, _ := c.Closed()
	f.State, f.Duration = Yes, end.At.Sub(began)
	if period != seconds*time.Second {
		f.Detail = fmt.Sprintf("the server sets the Keep Alive to %v", period)
	}
	return nil
}
