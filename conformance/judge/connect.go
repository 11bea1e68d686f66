package judge

import (
	"fmt"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// hello is what the client's CONNECT says of the connection.
type hello struct {
	at         time.Time
	clientID   string // the assigned one once it is known
	emptyID    bool
	clean      bool
	keepAlive  uint16
	expiry     uint32
	authMethod string
	hasAuth    bool
	respInfo   bool
	noProblem  bool // Request Problem Information is 0
	vague      bool // CONNECT had faults
	maxSize    uint32
	recvMax    uint16
	aliasMax   uint16
}

// announcement is what CONNACK says of the server and of the session.
type announcement struct {
	seen     bool
	frame    int
	fresh    bool // the session began with this connection
	resumed  bool // the session is an older one
	present  bool // Session Present came with a clean start: the client has to leave
	expiry   uint32
	maxSize  uint32
	recvMax  uint16
	aliasMax uint16
	maxQoS   codec.QoS
	noRetain bool
	noWild   bool
	noShared bool
	noSubIDs bool
	override bool // Server Keep Alive was sent

	proved bool // the client has shown that it read CONNACK
}

// hear takes the version and the terms from the connection's first packet. It reports whether
// judging goes on.
func (c *Conn) hear(p *codec.Connect) bool {
	if p.ProtocolName != "" {
		// The name or level belongs to no version that is known here, and so do the answers.
		c.phase, c.rv, c.v = strange, 0, codec.V31
		return false
	}
	c.setVersion(p.Version)
	c.phase = awaiting
	if c.rv == 0 {
		return false
	}
	h := &c.hello
	h.at = c.at
	h.clean, h.keepAlive = p.CleanStart, p.KeepAlive
	h.clientID, h.emptyID = strings.Clone(p.ClientID), p.ClientID == ""
	h.recvMax = uint16(min(p.Props.Uint(codec.PropReceiveMaximum, 65535), 65535))
	h.maxSize = p.Props.Uint(codec.PropMaximumPacketSize, codec.MaxPacketSize)
	h.aliasMax = uint16(p.Props.Uint(codec.PropTopicAliasMaximum, 0))
	h.respInfo = p.Props.Uint(codec.PropRequestResponseInfo, 0) != 0
	h.noProblem = p.Props.Has(codec.PropRequestProblemInfo) && p.Props.Uint(codec.PropRequestProblemInfo, 1) == 0
	h.expiry = p.Props.Uint(codec.PropSessionExpiry, 0)
	if h.hasAuth = p.Props.Has(codec.PropAuthMethod); h.hasAuth {
		h.authMethod = strings.Clone(p.Props.Text(codec.PropAuthMethod))
	}
	c.announce.fresh = h.clean
	c.flows[client].init()
	c.flows[server].init()
	c.subs.known = h.clean
	c.keep(dFirstPacket, client)
	return true
}

// blur forgets the terms of a CONNECT with faults: another reader may take them otherwise.
func (h *hello) blur() {
	h.maxSize, h.aliasMax, h.recvMax = codec.MaxPacketSize, 65535, 65535
	h.respInfo, h.noProblem, h.emptyID = true, false, false
	h.vague = true
}

// fromClient judges a client's packet by what went before.
func (c *Conn) fromClient(p codec.Packet, frame []byte) {
	if c.phase == strange {
		return
	}
	c.clientSize(p)
	if c.phase == awaiting && c.hello.hasAuth && c.whole {
		switch p.Type() {
		case codec.TypeConnect:
		case codec.TypeAuth, codec.TypeDisconnect:
			c.keep(dOnlyAuthBeforeConnack, client)
		default: // [MQTT-3.1.2-30]
			c.breach(dOnlyAuthBeforeConnack, client, Fail, "AUTH or DISCONNECT until CONNACK", p.Type().String())
		}
	}
	if c.announce.present && c.knows() && c.v == codec.V5 && p.Type() != codec.TypeDisconnect {
		c.announce.present = false
		c.breach(dLeaveUnexpectedSession, client, Fail, "the client closes: it has no session", p.Type().String())
	}
	switch p := p.(type) {
	case *codec.Connect:
		if c.requests.connected {
			c.secondConnect()
		}
		c.requests.connected = true
		return
	case *codec.Publish:
		c.clientPublish(p)
	case *codec.Puback:
		c.puback(client, p.PacketID, p.Reason)
	case *codec.Pubrec:
		c.pubrec(client, p.PacketID, p.Reason)
	case *codec.Pubrel:
		c.pubrel(client, p.PacketID, p.Reason)
	case *codec.Pubcomp:
		c.pubcomp(client, p.PacketID)
	case *codec.Subscribe:
		c.subscribe(p, frame)
	case *codec.Unsubscribe:
		c.unsubscribe(p, frame)
	case *codec.Pingreq:
		c.pingreq()
	case *codec.Disconnect:
		c.clientDisconnect(p)
	case *codec.Auth:
		c.clientAuth(p)
	}
	c.requests.early = c.requests.early || c.phase != up
}

// knows reports whether the client certainly has read CONNACK by the packet at hand.
func (c *Conn) knows() bool {
	return c.phase == up && (c.announce.proved || c.at.Sub(c.timing.connack) >= settle && !c.timing.connack.IsZero())
}

// prove notes that the client answered something that came after CONNACK.
func (c *Conn) prove() {
	if c.phase == up {
		c.announce.proved = true
	}
}

// secondConnect is the client's breach; from here on the server is to close, and nothing else is
// asked of it.
func (c *Conn) secondConnect() {
	if c.can(server) && c.phase != refused {
		c.requests.doubled = true
		c.requests.pingsOld = c.requests.pingsOwed
	}
	c.excused[server] = true
}

func (c *Conn) clientDisconnect(p *codec.Disconnect) {
	c.left[client], c.leftAt[client] = true, c.at
	if c.v != codec.V5 {
		return
	}
	if p.Props.Has(codec.PropSessionExpiry) {
		n := p.Props.Uint(codec.PropSessionExpiry, 0)
		if !c.holds(dExpiryAfterZero, client, n == 0 || c.hello.expiry > 0) {
			c.breach(dExpiryAfterZero, client, Fail, "no Session Expiry Interval above 0 after one of 0 in CONNECT",
				fmt.Sprintf("Session Expiry Interval %d", n))
		}
		c.announce.expiry = n
	}
}

func (c *Conn) clientAuth(p *codec.Auth) {
	if c.v != codec.V5 {
		return
	}
	if !c.hello.hasAuth { // [MQTT-4.12.0-7]
		c.requests.auth = true
		c.breach(dAuthWithoutMethod, client, Fail, "no AUTH, as CONNECT named no Authentication Method", "AUTH")
		c.excused[server] = true
		return
	}
	if c.phase == awaiting && p.Reason.AllowedIn(codec.TypeAuth, codec.Client) {
		if !c.holds(dAuthContinueClient, client, p.Reason == codec.ContinueAuthentication) { // [MQTT-4.12.0-3]
			c.breach(dAuthContinueClient, client, Fail, "AUTH with code 0x18",
				fmt.Sprintf("code 0x%02X", uint8(p.Reason)))
		}
	}
	if !p.Props.Has(codec.PropAuthMethod) {
		return // the decoder's finding
	}
	d := dAuthMethodClient
	if p.Reason == codec.ReAuthenticate {
		d = dReauthMethod
	}
	method := p.Props.Text(codec.PropAuthMethod)
	if !c.holds(d, client, method == c.hello.authMethod) {
		c.breach(d, client, Fail, "the Authentication Method of CONNECT, "+quote(c.hello.authMethod),
			quote(method))
	}
	if method != c.hello.authMethod {
		c.excused[server] = true
	}
}

// fromServer judges a server's packet by what went before.
func (c *Conn) fromServer(p codec.Packet, frame []byte) {
	if c.v == codec.V5 {
		c.serverDisconnectTime(p)
	}
	if c.phase == strange {
		return
	}
	c.serverSize(p)
	c.problemInfo(p)
	switch c.phase {
	case awaiting:
		if p.Type() != codec.TypeConnack && c.whole {
			c.beforeConnack(p)
			if p.Type() != codec.TypeAuth {
				return
			}
		}
	case refused:
		c.afterRefusal(p)
		return
	}
	switch p := p.(type) {
	case *codec.Connack:
		c.connack(p, frame)
	case *codec.Publish:
		c.serverPublish(p)
	case *codec.Puback:
		c.puback(server, p.PacketID, p.Reason)
	case *codec.Pubrec:
		c.pubrec(server, p.PacketID, p.Reason)
	case *codec.Pubrel:
		c.pubrel(server, p.PacketID, p.Reason)
	case *codec.Pubcomp:
		c.pubcomp(server, p.PacketID)
	case *codec.Suback:
		c.suback(p)
	case *codec.Unsuback:
		c.unsuback(p)
	case *codec.Pingresp:
		c.pingresp()
	case *codec.Disconnect:
		if c.v == codec.V5 { // else it is not the server's to send
			c.left[server], c.leftAt[server] = true, c.at
		}
	case *codec.Auth:
		c.serverAuth(p)
	}
}

// serverDisconnectTime judges when the server sends DISCONNECT. That holds whatever the client did.
func (c *Conn) serverDisconnectTime(p codec.Packet) {
	if p.Type() != codec.TypeDisconnect || c.gapped && c.phase != refused {
		return
	}
	c.judge(dNoDisconnectBeforeConnack, server, c.phase == up, "no DISCONNECT without a CONNACK of success before it", "DISCONNECT")
}

func (c *Conn) beforeConnack(p codec.Packet) {
	if p.Type() == codec.TypeAuth && c.hello.hasAuth {
		return
	}
	c.breach(dConnackFirst, server, Fail, "CONNACK before any other packet", p.Type().String())
}

// afterRefusal judges what follows a CONNACK of refusal: nothing may.
func (c *Conn) afterRefusal(p codec.Packet) {
	if !c.whole {
		return
	}
	c.requests.served = true
	c.breach(dRefusalEnds, server, Fail, "the end of the connection after a refusing CONNACK", p.Type().String())
	switch p.Type() {
	case codec.TypeSuback, codec.TypeUnsuback, codec.TypePuback, codec.TypePubrec, codec.TypePubcomp:
		c.breach(dRefusalIgnoresRest, server, Fail, "nothing done for packets after a refused CONNECT", p.Type().String())
	}
}

// otherVersion reports whether the answer to CONNECT is that of a server which does not speak the
// version at all: it answers in a form of its own, which the rules of the version do not cover.
func (c *Conn) otherVersion(frame []byte) bool {
	if frame[0] != 0x20 || len(frame) < 4 {
		return false
	}
	if c.v == codec.V5 {
		return len(frame) == 4 && frame[1] == 2 && codec.ReasonCode(frame[3]) == codec.ReturnUnacceptableVersion
	}
	return codec.ReasonCode(frame[3]) == codec.UnsupportedProtocolVersion
}

func (c *Conn) connack(p *codec.Connack, frame []byte) {
	if c.phase == up {
		c.repeatedConnack(p)
		return
	}
	a := &c.announce
	*a = announcement{
		seen: true, frame: c.frame, maxQoS: 2, expiry: c.hello.expiry,
		recvMax: 65535, maxSize: codec.MaxPacketSize,
	}
	c.keep(dConnackFirst, server)
	c.keep(dConnackOnce, server)
	if p.Reason != codec.Success {
		c.phase = refused
		return
	}
	c.phase = up
	c.timing.begin(c)
	if c.hello.clean {
		ok := !p.SessionPresent
		if c.v == codec.V4 && len(frame) > 2 {
			ok = frame[2] == 0 // in 3.1.1 the reserved bits have no other rule
		}
		if c.can(server) {
			c.judge(dCleanSessionPresent, server, ok, "Session Present 0 for a clean session", "Session Present or reserved bits set")
		}
		a.present = p.SessionPresent
	}
	a.fresh = c.hello.clean || !p.SessionPresent
	a.resumed = !a.fresh
	if c.v == codec.V5 {
		c.connackProps(p)
	}
	c.meet(p.SessionPresent)
}

// connackProps takes the server's terms and judges the properties that depend on CONNECT.
func (c *Conn) connackProps(p *codec.Connack) {
	a, h, pr := &c.announce, &c.hello, &p.Props
	a.recvMax = uint16(min(pr.Uint(codec.PropReceiveMaximum, 65535), 65535))
	a.maxSize = pr.Uint(codec.PropMaximumPacketSize, codec.MaxPacketSize)
	a.aliasMax = uint16(pr.Uint(codec.PropTopicAliasMaximum, 0))
	a.maxQoS = codec.QoS(min(pr.Uint(codec.PropMaximumQoS, 2), 2))
	a.noRetain = pr.Has(codec.PropRetainAvailable) && pr.Uint(codec.PropRetainAvailable, 1) == 0
	a.noWild = pr.Has(codec.PropWildcardAvailable) && pr.Uint(codec.PropWildcardAvailable, 1) == 0
	a.noShared = pr.Has(codec.PropSharedSubscriptionsAvl) && pr.Uint(codec.PropSharedSubscriptionsAvl, 1) == 0
	a.noSubIDs = pr.Has(codec.PropSubscriptionIDsAvail) && pr.Uint(codec.PropSubscriptionIDsAvail, 1) == 0
	if pr.Has(codec.PropSessionExpiry) {
		a.expiry = pr.Uint(codec.PropSessionExpiry, 0)
	}
	if pr.Has(codec.PropServerKeepAlive) {
		a.override = true
		c.timing.keepAlive = uint16(pr.Uint(codec.PropServerKeepAlive, 0))
	}
	id := pr.Text(codec.PropAssignedClientID)
	switch {
	case h.emptyID:
		if c.can(server) {
			c.judge(dAssignedID, server, id != "", "an Assigned Client Identifier for an empty Client Identifier", "none")
		}
		h.clientID = strings.Clone(id)
	case h.vague:
	case pr.Has(codec.PropAssignedClientID):
		if !c.holds(dAssignedIDUnasked, server, id == h.clientID) {
			c.breach(dAssignedIDUnasked, server, Fail, "the client's own identifier "+quote(h.clientID),
				quote(id))
		}
	default:
		c.keep(dAssignedIDUnasked, server)
	}
	if !h.respInfo { // [MQTT-3.1.2-28]
		c.judge(dResponseInfo, server, !pr.Has(codec.PropResponseInfo), "no Response Information, as none was requested", "Response Information")
	}
	if pr.Has(codec.PropResponseInfo) {
		c.subs.own = true // it may come with topics that need no SUBSCRIBE
	}
	switch {
	case h.vague:
	case !h.hasAuth: // [MQTT-4.12.0-6]
		c.judge(dAuthUnasked, server, !pr.Has(codec.PropAuthMethod), "no Authentication Method, as CONNECT named none", "Authentication Method in CONNACK")
	case c.can(server): // [MQTT-4.12.0-5]
		method := pr.Text(codec.PropAuthMethod)
		if method == "" && !c.requests.authed {
			break // a server that knows no methods at all: accepting CONNECT was its breach
		}
		if !c.holds(dAuthMethodServer, server, method == h.authMethod) {
			c.breach(dAuthMethodServer, server, Fail, "the Authentication Method of CONNECT, "+quote(h.authMethod),
				quote(method))
		}
	}
}

// repeatedConnack judges a second CONNACK.
func (c *Conn) repeatedConnack(p *codec.Connack) {
	if !c.whole {
		return
	}
	c.breach(dConnackOnce, server, Fail, "one CONNACK on a connection", "a further CONNACK")
	if c.requests.doubled && p.Reason == codec.Success {
		c.requests.doubled = false
		c.breach(dSecondConnect, server, Fail, "the end of the connection after a second CONNECT", "a second CONNACK of success")
	}
}

func (c *Conn) serverAuth(p *codec.Auth) {
	if c.v != codec.V5 {
		return
	}
	if !c.hello.hasAuth {
		if !c.excused[server] {
			c.breach(dAuthUnasked, server, Fail, "no AUTH, as CONNECT named no Authentication Method", "AUTH")
		}
		return
	}
	c.requests.authed = true
	if !c.can(server) {
		return
	}
	if c.phase == awaiting && p.Reason.AllowedIn(codec.TypeAuth, codec.Server) {
		if !c.holds(dAuthContinueServer, server, p.Reason == codec.ContinueAuthentication) { // [MQTT-4.12.0-2]
			c.breach(dAuthContinueServer, server, Fail, "AUTH with code 0x18 before CONNACK",
				fmt.Sprintf("code 0x%02X", uint8(p.Reason)))
		}
	}
	if p.Props.Has(codec.PropAuthMethod) {
		method := p.Props.Text(codec.PropAuthMethod)
		if !c.holds(dAuthMethodServer, server, method == c.hello.authMethod) {
			c.breach(dAuthMethodServer, server, Fail, "the Authentication Method of CONNECT, "+quote(c.hello.authMethod),
				quote(method))
		}
	}
}

// problemInfo judges what Request Problem Information 0 bars.
func (c *Conn) problemInfo(p codec.Packet) {
	if !c.hello.noProblem {
		return
	}
	props := properties(p)
	switch p.Type() {
	case codec.TypePublish, codec.TypeConnack, codec.TypeDisconnect, codec.TypePingresp:
		return
	}
	if props == nil {
		return
	}
	ok := !props.Has(codec.PropReasonString) && !props.Has(codec.PropUserProperty)
	if !c.holds(dProblemInfo, server, ok) {
		c.breach(dProblemInfo, server, Fail, "no Reason String and no User Property, as Request Problem Information is 0",
			p.Type().String()+" with one of them")
	}
}

// properties returns the properties of a packet that has some in every form of it.
func properties(p codec.Packet) *codec.Properties {
	switch p := p.(type) {
	case *codec.Connack:
		return &p.Props
	case *codec.Publish:
		return &p.Props
	case *codec.Puback:
		return &p.Props
	case *codec.Pubrec:
		return &p.Props
	case *codec.Pubrel:
		return &p.Props
	case *codec.Pubcomp:
		return &p.Props
	case *codec.Suback:
		return &p.Props
	case *codec.Unsuback:
		return &p.Props
	case *codec.Disconnect:
		return &p.Props
	case *codec.Auth:
		return &p.Props
	}
	return nil
}

// judgeEnd judges who ended the connection, where that is known, and counts what was at stake until
// the end and never broken.
func (c *Conn) judgeEnd(by codec.Side) {
	if c.rv == 0 || c.phase == strange {
		return
	}
	r := &c.requests
	for s := client; s <= server; s++ {
		if c.left[s] && !c.late[s] {
			c.keep(dAfterDisconnect, s)
		}
		if f := &c.flows[s]; len(f.stale) > 0 && !f.revived && c.can(s) {
			if c.hello.clean {
				c.keep(dStaleAfterClean, s)
			} else if s == client {
				c.keep(dStaleAfterLoss, s)
			}
		}
	}
	if c.v == codec.V5 && c.whole && !c.hello.hasAuth && !r.auth {
		c.keep(dAuthWithoutMethod, client)
	}
	switch by {
	case codec.Client:
		if c.announce.present && c.phase == up {
			c.keep(dLeaveUnexpectedSession, client)
		}
	case codec.Server:
		c.serverEnds()
	default:
		return
	}
	for s := client; s <= server; s++ {
		switch {
		case !c.left[s] || c.left[s.other()]:
		case by == s.wire():
			c.keep(dCloseAfterDisconnect, s)
		case c.at.Sub(c.leftAt[s]) >= patience:
			c.breach(dCloseAfterDisconnect, s, Fail, "the sender of DISCONNECT closes the connection",
				fmt.Sprintf("open for %v until the other side closed it", c.at.Sub(c.leftAt[s])))
		}
	}
}

// serverEnds counts what a server does right by ending the connection.
func (c *Conn) serverEnds() {
	r := &c.requests
	c.timedOut()
	if r.doubled && c.whole {
		c.keep(dSecondConnect, server)
	}
	if c.phase == refused && !c.left[client] && !r.served {
		c.keep(dRefusalEnds, server)
		if r.early {
			c.keep(dRefusalIgnoresRest, server)
		}
	}
	for _, x := range excessDuties {
		if r.over&x.bit != 0 {
			c.keep(x.duty, server)
		}
	}
}

// quote returns a string for display, cut where it is long.
func quote(s string) string {
	if len(s) > 64 {
		return fmt.Sprintf("%q...", s[:64])
	}
	return fmt.Sprintf("%q", s)
}
