package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
)

// The states of a client.
type state uint8

const (
	stateAway        state = iota // no connection; perhaps a timer to dial
	stateWaiting                  // in the queue to dial
	stateDialing                  // the network connects
	stateConnecting               // CONNECT is sent
	stateSubscribing              // SUBSCRIBE is sent
	stateReady
	stateLeaving // DISCONNECT is sent
	stateGone    // will not come back
)

// client is one virtual client. While it idles it costs this struct, what its strings take, and a descriptor.
type client struct {
	g     *group
	index int32 // in the group
	place int32 // in its worker
	fd    int
	io    *stream // connection without a socket of the worker's, else nil
	gen   uint16  // of the connection: what belongs to an older one is not heeded
	state state

	queued      bool // in the worker's list of those with more to do
	unread      bool // the socket may hold more
	silent      bool // nothing passes: the connection is half open
	wanted      bool // its end is the run's wish
	counted     bool // among those that have become ready once
	subscribed  bool // the session has the subscriptions
	known       bool // a session may exist at the server
	pinging     bool
	refillWait  bool
	noRetain    bool
	maxQoS      uint8
	fails       uint16
	maxPacket   uint32
	receiveMax  uint16
	keepAlive   int64
	lastOut     int64
	pingAt      int64
	dialAt      int64 // when the connection was begun
	subscribeAt int64
	readyAt     int64 // since when messages can go out
	pause       int64 // fixed delay of the next dial; 0 uses the backoff

	sess     session.Session[message]
	partial  []byte // the beginning of a packet
	pending  []byte // what the socket did not take
	emitters []emitter
	recv     *receiver
	link     *link
	replies  *replies
	id       string // where the server assigned it
	orphan   *orphan
}

func (c *client) number() int { return c.g.first + int(c.index) }

func (c *client) choked() bool { return len(c.pending) > 1<<20 || c.link != nil && c.link.choked() }

// bound says that bytes wait for the network, so that nothing new is published.
func (c *client) bound() bool {
	return len(c.pending) > 0 || c.link != nil && c.link.full() || c.io != nil && c.io.full()
}

func (c *client) attached() bool { return c.fd >= 0 || c.io != nil }

// newClient makes the client of a group with the given place.
func (w *worker) newClient(g *group, index int) *client {
	c := &client{g: g, index: int32(index), place: int32(len(w.clients)), fd: -1}
	c.sess.Config.Side = codec.Client
	if len(g.subs) > 0 {
		c.recv = &receiver{}
	}
	if g.Link != nil {
		c.link = &link{spec: g.Link}
	}
	if len(g.pubs) > 0 {
		c.emitters = make([]emitter, len(g.pubs))
		for i, pub := range g.pubs {
			c.emitters[i].init(pub, c)
		}
	}
	w.clients = append(w.clients, c)
	return c
}

// queueDial puts the client in the line of those that connect.
func (w *worker) queueDial(c *client) {
	if w.quiet {
		return
	}
	c.state = stateWaiting
	w.dials = append(w.dials, c)
}

// dialMore lets clients connect, so many at a time that the server's backlog does not overflow.
func (w *worker) dialMore() {
	if w.quiet {
		return
	}
	for w.dialHead < len(w.dials) && w.dialing < w.p.dialsAtOnce {
		c := w.dials[w.dialHead]
		w.dials[w.dialHead] = nil
		w.dialHead++
		if c.state == stateWaiting {
			w.dial(c)
		}
	}
	if w.dialHead == len(w.dials) {
		w.dials, w.dialHead = w.dials[:0], 0
	}
}

// connectTimeout is how long a connection may take to be made, CONNACK included.
const connectTimeout = int64(10 * time.Second)

func (w *worker) dial(c *client) {
	w.tick()
	c.state = stateDialing
	c.gen++
	c.dialAt = w.now
	c.wanted, c.unread, c.pinging, c.silent = false, false, false, false
	w.dialing++
	w.timers.push(timer{at: w.now + connectTimeout, client: c.place, gen: c.gen, kind: timerDeadline})
	g := c.g
	if !g.direct {
		w.openStream(c)
		return
	}
	var to netip.AddrPort
	if len(g.addrs) > 0 {
		to = g.addrs[c.number()%len(g.addrs)]
	}
	fd, err := dialSocket(to, g.path, w.p.sourceOf(c.number()))
	if err != nil {
		w.broken(c, err)
		return
	}
	c.fd = fd
	if err := w.poll.add(fd, uint64(uint32(c.place))|uint64(c.gen)<<32); err != nil {
		w.broken(c, err)
	}
}

// dialled goes on when the socket is connected, or has failed to.
func (w *worker) dialled(c *client) {
	if err := socketError(c.fd); err != nil {
		w.broken(c, err)
		return
	}
	w.opened(c)
}

// opened sends CONNECT.
func (w *worker) opened(c *client) {
	c.state = stateConnecting
	if c.link != nil {
		c.link.open(w, c)
	}
	p := w.connectPacket(c)
	b, err := p.AppendTo(w.out[:0], c.g.version)
	if err != nil {
		w.fault(c, "connect", err.Error(), -1)
		c.fails = ^uint16(0)
		w.drop(c, false)
		return
	}
	w.out = b
	w.flush(c)
}

func (w *worker) connectPacket(c *client) *codec.Connect {
	g, index := c.g, int(c.index)
	p := &codec.Connect{
		Version: g.version, ClientID: c.id, CleanStart: g.clean, KeepAlive: uint16(min(65535, (g.keepAlive+int64(time.Second)-1)/int64(time.Second))),
	}
	if p.ClientID == "" {
		p.ClientID = g.expand(g.clientID, index, -1)
	}
	username, password := g.expand(g.username, index, -2), g.expand(g.password, index, -3)
	switch {
	case len(g.credentials) > 0:
		cr := g.credentials[index%len(g.credentials)]
		username, password = cr.Username, cr.Password
		if cr.ClientID != "" {
			p.ClientID = cr.ClientID
		}
	case g.Username == "" && g.Password == "":
		username, password = w.p.cfg.Username, w.p.cfg.Password
		if username == "" && g.target.Username != "" {
			username, password = g.target.Username, g.target.Password
		}
	}
	p.HasUsername, p.Username = username != "", username
	if password != "" {
		p.HasPassword, p.Password = true, []byte(password)
	}
	if g.will != nil {
		p.HasWill = true
		p.Will = codec.Will{Topic: g.expand(g.will.topic, index, -4), Payload: []byte(g.expand(g.will.payload, index, -5)), QoS: codec.QoS(g.will.QoS), Retain: g.will.Retain}
		if g.version == codec.V5 {
			v := g.vars(index)
			g.will.props.fill(&p.Will.Props, v, nil)
			if g.will.Delay > 0 {
				p.Will.Props = p.Will.Props.Clone()
				p.Will.Props.SetUint(codec.PropWillDelay, uint32(g.will.Delay/time.Second))
			}
		}
	}
	if g.version == codec.V5 {
		g.connectProps.fill(&p.Props, g.vars(index), nil)
		p.Props = p.Props.Clone()
		if g.SessionExpiry > 0 {
			p.Props.SetUint(codec.PropSessionExpiry, uint32(min(int64(g.SessionExpiry/time.Second), 1<<32-1)))
		} else if !g.clean && !p.Props.Has(codec.PropSessionExpiry) {
			p.Props.SetUint(codec.PropSessionExpiry, 3600)
		}
	}
	return p
}

// connack goes on when the server has answered CONNECT.
func (w *worker) connack(c *client, p *codec.Connack) {
	if c.state != stateConnecting {
		w.violated(c, "CONNACK came twice")
		return
	}
	if p.Reason != codec.Success {
		w.fault(c, "connect", p.Reason.Name(codec.TypeConnack, c.g.version), int(p.Reason))
		w.drop(c, false)
		return
	}
	g := c.g
	w.dialing--
	w.connected++
	w.count(c).Connects++
	w.st.record(metricConnect, anyQoS, g.index, w.phase, w.now-c.dialAt)
	c.fails = 0
	c.maxQoS, c.maxPacket, c.receiveMax, c.noRetain = 2, 0, 0, false
	c.keepAlive = g.keepAlive
	l := session.Link{Version: g.version, Present: p.SessionPresent && !g.clean}
	if g.version == codec.V31 && !g.clean {
		l.Present = c.known // 3.1 has no Session Present: its server keeps what the client asked it to keep
	}
	if g.version == codec.V5 {
		c.maxQoS = uint8(p.Props.Uint(codec.PropMaximumQoS, 2))
		c.maxPacket = p.Props.Uint(codec.PropMaximumPacketSize, 0)
		c.noRetain = p.Props.Uint(codec.PropRetainAvailable, 1) == 0
		c.keepAlive = int64(p.Props.Uint(codec.PropServerKeepAlive, uint32(min(65535, (c.keepAlive+1e9-1)/1e9)))) * 1e9
		if id := p.Props.Text(codec.PropAssignedClientID); id != "" {
			c.id = string([]byte(id))
		}
		l.SendMaximum = uint16(p.Props.Uint(codec.PropReceiveMaximum, 0))
		l.MaxPacket = c.maxPacket
	}
	c.known = !g.clean
	if !l.Present {
		c.subscribed = false
	}
	if c.recv != nil {
		c.recv.reconnected(l.Present, w.now)
	}
	w.startKeepAlive(c)
	w.step(c, session.Event[message]{Kind: session.Connected, Link: &l})
	if c.state != stateConnecting {
		return
	}
	if len(g.subs) > 0 && !c.subscribed {
		c.state = stateSubscribing
		c.subscribeAt = w.now
		w.step(c, session.Event[message]{Kind: session.Request})
		w.flush(c)
		return
	}
	w.makeReady(c)
}

func (w *worker) appendSubscribe(c *client, id uint16) {
	g := c.g
	p := codec.Subscribe{PacketID: id}
	for i, s := range g.subs {
		f := codec.Subscription{Filter: g.expand(s.filter, int(c.index), i), QoS: s.qos}
		if g.version == codec.V5 {
			f.NoLocal, f.RetainAsPublished, f.RetainHandling = s.NoLocal, s.RetainAsPublished, s.RetainHandling
			if s.Identifier != 0 {
				p.Props.Reset()
				p.Props.SetUint(codec.PropSubscriptionID, s.Identifier)
			}
		}
		p.Filters = append(p.Filters, f)
	}
	b, err := p.AppendTo(w.out, g.version)
	if err != nil {
		w.fault(c, "subscribe", err.Error(), -1)
		return
	}
	w.out = b
}

func (w *worker) suback(c *client, p *codec.Suback) {
	if c.state != stateSubscribing {
		return
	}
	g := c.g
	w.step(c, session.Event[message]{Kind: session.Response, ID: p.PacketID})
	w.st.record(metricSubscribe, anyQoS, g.index, w.phase, w.now-c.subscribeAt)
	c.subscribed = true
	c.recv.filters = c.recv.filters[:0]
	for i, s := range g.subs {
		if i >= len(p.Reasons) || p.Reasons[i] >= codec.UnspecifiedError {
			reason, code := "no answer for a Topic Filter", -1
			if i < len(p.Reasons) {
				reason, code = p.Reasons[i].Name(codec.TypeSuback, g.version), int(p.Reasons[i])
			}
			w.fault(c, "subscribe", reason, code)
			continue
		}
		c.recv.subscribe(w, c, g.expand(s.filter, int(c.index), i), uint8(p.Reasons[i]), s)
	}
	c.recv.settled(w.now, w.t0)
	w.makeReady(c)
}

// makeReady lets the client publish.
func (w *worker) makeReady(c *client) {
	c.state = stateReady
	c.readyAt = w.now
	if !c.counted {
		c.counted = true
		w.readyN++
	}
	if c.link != nil {
		c.link.ready(w, c)
	}
	w.pump(c)
}

// broken handles the end of a connection that this side did not want; err is nil where the server ended it in order.
func (w *worker) broken(c *client, err error) {
	if !c.wanted && c.state != stateLeaving {
		switch {
		case c.state == stateDialing || c.state == stateConnecting:
			if err == nil {
				err = errClosedEarly
			}
			w.fault(c, "connect", reasonOf(err), -1)
		default:
			if err == nil {
				err = errClosedByServer
			}
			w.fault(c, "disconnect", reasonOf(err), -1)
		}
	}
	w.drop(c, false)
}

var (
	errClosedEarly    = errors.New("the server closed the connection before CONNACK")
	errClosedByServer = errors.New("the server closed the connection")
)

// reasonOf is an error without what differs from one connection to the next.
func reasonOf(err error) string {
	var no syscall.Errno
	if errors.As(err, &no) {
		return no.Error()
	}
	return err.Error()
}

// violated ends a connection on which the server broke the protocol.
func (w *worker) violated(c *client, why string) {
	w.fault(c, "protocol", why, -1)
	w.drop(c, true)
}

// overdue ends a connection that did not come to be.
func (w *worker) overdue(c *client) {
	if was := c.state; was > stateDialing {
		if !w.readFirst(c) {
			return
		}
		if c.state != was {
			w.timers.push(timer{at: w.now + connectTimeout, client: c.place, gen: c.gen, kind: timerDeadline})
			return
		}
	}
	switch c.state {
	case stateDialing:
		w.fault(c, "connect", "the network did not connect within 10s", -1)
	case stateConnecting:
		w.fault(c, "connect", "no CONNACK within 10s", -1)
	case stateSubscribing:
		w.fault(c, "subscribe", "no SUBACK within 10s", -1)
	case stateLeaving:
	default:
		return
	}
	w.drop(c, true)
}

// readFirst takes what a client's socket holds, before its silence is held against the server: a worker that was late may
// not have come to it. It is false where the connection ended of it.
func (w *worker) readFirst(c *client) bool {
	if c.fd < 0 || c.silent {
		return true
	}
	gen := c.gen
	w.readSome(c, false)
	return c.gen == gen
}

// drop ends the client's connection, if any, and sees to what comes after.
func (w *worker) drop(c *client, reset bool) {
	was := c.state
	switch was {
	case stateGone, stateAway, stateWaiting:
		return
	case stateDialing, stateConnecting:
		w.dialing--
		if !c.wanted {
			w.count(c).ConnectFails++
			if c.fails < ^uint16(0) {
				c.fails++
			}
		}
	default:
		w.connected--
		if !c.wanted && was != stateLeaving {
			w.count(c).Disconnects++
		}
	}
	if c.fd >= 0 {
		closeSocket(c.fd, reset)
		c.fd = -1
	}
	if c.io != nil {
		c.io.close()
		c.io = nil
	}
	c.gen++
	c.state = stateAway
	c.partial, c.pending = nil, nil
	if c.link != nil {
		c.link.close()
	}
	w.out = w.out[:0]
	w.step(c, session.Event[message]{Kind: session.Disconnected})
	for i := range c.emitters {
		c.emitters[i].cut(was == stateLeaving)
	}
	if len(c.emitters) > 0 {
		w.blocked[c] = struct{}{}
	}
	if w.quiet || c.fails == ^uint16(0) || c.pause == 0 && c.g.Reconnect != nil && c.g.Reconnect.Never && was > stateConnecting {
		w.leave(c)
		return
	}
	w.timers.push(timer{at: w.now + w.backoff(c), client: c.place, gen: c.gen, kind: timerDial})
}

// leave gives the client up.
func (w *worker) leave(c *client) {
	c.state = stateGone
	w.lostN++
}

// backoff is the pause before the client dials again.
func (w *worker) backoff(c *client) int64 {
	if c.pause > 0 {
		p := c.pause
		c.pause = 0
		return p
	}
	first, most, jitter := int64(100*time.Millisecond), int64(5*time.Second), 0.0
	if r := c.g.Reconnect; r != nil {
		if r.After > 0 {
			first = int64(r.After)
		}
		if r.Max > 0 {
			most = int64(r.Max)
		}
		jitter = r.Jitter
	}
	p := first
	for range min(c.fails, 30) {
		p = min(2*p, max(most, first))
	}
	if jitter > 0 {
		p -= int64(float64(p) * jitter * unit(draw(w.p.seed, forBackoff, uint64(c.number()), uint64(c.gen))))
	}
	return p
}

// fault counts an error.
func (w *worker) fault(c *client, kind, reason string, code int) {
	k := errorKey{kind: kind, reason: reason, code: code}
	if _, has := w.st.errors[k]; !has && len(w.st.errors) >= errorKinds {
		k = errorKey{kind: kind, reason: "others", code: -1}
	}
	w.st.errors[k]++
}

// errorKinds bounds the different errors of a second.
const errorKinds = 200

// count is where events of the client that belong to no message are counted.
func (w *worker) count(c *client) *Counts { return w.st.at(w.phase, c.g.index) }

// The timer of Keep Alive runs at half of it.
func (w *worker) startKeepAlive(c *client) {
	c.lastOut = w.now
	c.pinging = false
	if c.keepAlive > 0 {
		w.timers.push(timer{at: w.now + c.keepAlive/2, client: c.place, gen: c.gen, kind: timerPing})
	}
}

func (w *worker) pingTimer(c *client) {
	if !c.attached() || c.state < stateSubscribing || c.keepAlive == 0 {
		return
	}
	if c.pinging && w.now-c.pingAt >= c.keepAlive && !w.readFirst(c) {
		return
	}
	next := c.lastOut + c.keepAlive/2
	switch {
	case c.pinging && w.now-c.pingAt >= c.keepAlive:
		w.fault(c, "disconnect", "no PINGRESP within the Keep Alive", -1)
		w.drop(c, true)
		return
	case c.pinging:
		next = c.pingAt + c.keepAlive
	case w.now >= next:
		w.out = append(w.out[:0], 0xC0, 0)
		c.pinging, c.pingAt = true, w.now
		w.count(c).Pings++
		w.flush(c)
		next = w.now + c.keepAlive/2
	}
	if c.attached() {
		w.timers.push(timer{at: max(next, w.now+1e6), client: c.place, gen: c.gen, kind: timerPing})
	}
}

// goodbye ends the connection in order.
func (w *worker) goodbye(c *client) {
	switch c.state {
	case stateReady, stateSubscribing:
		c.wanted = true
		w.out = append(w.out[:0], 0xE0, 0)
		w.flush(c)
		if c.state == stateReady || c.state == stateSubscribing {
			c.state = stateLeaving
		}
	case stateDialing, stateConnecting:
		c.wanted = true
	}
	w.drop(c, false)
}

func (g *group) tlsFor(index int) (*tls.Config, error) {
	if g.cert[0] == nil {
		return g.tls, nil
	}
	cfg := g.tls.Clone()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	dir := g.p.w
	pair, err := tls.LoadX509KeyPair(dir.Path(g.expand(g.cert[0], index, -6)), dir.Path(g.expand(g.cert[1], index, -7)))
	if err != nil {
		return nil, fmt.Errorf("certificate of client %d of group %s: %w", index, g.Name, err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	if cfg.ServerName == "" {
		cfg.ServerName = g.target.Host
	}
	return cfg, nil
}
