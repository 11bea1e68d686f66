package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/session"
	"github.com/mqlab/mqlab/internal/transport"
)

// login is a CONNECT on its way to CONNACK. It holds copies: enhanced authentication outlives
// the packet.
type login struct {
	id       string
	assigned bool
	clean    bool
	keep     uint16
	expiry   uint32 // as asked for
	window   uint16 // the Client's Receive Maximum
	response bool   // Request Response Information
	method   string
	will     *will
	account  Login
}

// connect processes the first packet of a connection.
func (c *conn) connect(sc *scratch, frame []byte) error {
	sc.dec.Version = 0
	packet, err := sc.dec.Decode(frame)
	if err != nil && !tolerable(err) {
		return c.connectFault(sc, err, frame)
	}
	p, ok := packet.(*codec.Connect)
	if !ok {
		return &fault{silent: true, msg: "the first packet is not CONNECT"}
	}
	c.version = p.Version
	c.readConnect(p)
	l, err := c.newLogin(p)
	if err != nil {
		return c.refuse(sc, err)
	}
	if c.b.stats.connections.Load() > int64(c.b.lim.maxConns) {
		reason := codec.QuotaExceeded
		if c.b.cfg.ServerReference != "" {
			reason = codec.UseAnotherServer
		}
		return c.refuse(sc, &fault{reason: reason, msg: "the server has as many connections as it may have"})
	}
	if l.method != "" {
		c.login = l
		return c.beginAuth(sc, p.Props.Bytes(codec.PropAuthData))
	}
	if c.b.cfg.Authenticate != nil {
		if err := c.b.cfg.Authenticate(context.Background(), l.account); err != nil { // [MQTT-3.1.4-2]
			return c.refuse(sc, loginFault(err))
		}
	}
	return c.admit(sc, l, nil)
}

// maxAliasOut bounds the Topic Aliases used towards one Client, and with them the names kept.
const maxAliasOut = 256

// readConnect keeps what binds the Server's own packets, refusals included.
func (c *conn) readConnect(p *codec.Connect) {
	if c.version != codec.V5 {
		return
	}
	if p.Props.Has(codec.PropMaximumPacketSize) {
		c.maxPacket = int(min(p.Props.Uint(codec.PropMaximumPacketSize, 0), codec.MaxPacketSize))
	}
	c.noProblem = p.Props.Uint(codec.PropRequestProblemInfo, 1) == 0
	if !c.b.cfg.NoOutboundAliases {
		c.aliasMax = uint16(min(p.Props.Uint(codec.PropTopicAliasMaximum, 0), maxAliasOut)) // [MQTT-3.1.2-27]
	}
}

// newLogin judges a well-formed CONNECT by what the Server supports.
func (c *conn) newLogin(p *codec.Connect) (*login, error) {
	cfg := &c.b.cfg
	l := &login{id: strings.Clone(p.ClientID), clean: p.CleanStart, keep: p.KeepAlive, window: 65535}
	if l.id == "" {
		if cfg.EmptyClientIDRefused {
			return nil, &fault{reason: codec.ClientIDNotValid, rule: "MQTT-3.1.3-8", msg: "the server does not assign Client Identifiers"}
		}
		l.id, l.assigned = "mqlab-"+rand.Text(), true // [MQTT-3.1.3-6]
	}
	if p.HasWill {
		if c.version == codec.V5 {
			switch {
			case p.Will.QoS > c.b.lim.maxQoS:
				return nil, &fault{reason: codec.QoSNotSupported, rule: "MQTT-3.2.2-12", msg: "the Will exceeds the Maximum QoS"}
			case p.Will.Retain && cfg.RetainUnavailable:
				return nil, &fault{reason: codec.RetainNotSupported, rule: "MQTT-3.2.2-13", msg: "the Will is retained though retained messages are not available"}
			}
		}
		l.will = newWill(&p.Will)
		l.will.qos = min(l.will.qos, c.b.lim.maxQoS)
	}
	switch {
	case c.version == codec.V5:
		l.expiry = p.Props.Uint(codec.PropSessionExpiry, 0)
		l.window = uint16(p.Props.Uint(codec.PropReceiveMaximum, 65535))
		l.response = p.Props.Uint(codec.PropRequestResponseInfo, 0) == 1
		l.method = strings.Clone(p.Props.Text(codec.PropAuthMethod))
		if p.Props.Has(codec.PropAuthMethod) && c.b.methods[l.method] == nil { // [MQTT-4.12.0-1]
			return nil, &fault{reason: codec.BadAuthenticationMethod, rule: "MQTT-4.12.0-1", msg: "the Authentication Method is not supported"}
		}
	case !p.CleanStart:
		l.expiry = neverExpires
	}
	l.account = Login{
		ClientID: l.id, Version: c.version, Remote: c.nc.RemoteAddr(),
		Username: strings.Clone(p.Username), HasUsername: p.HasUsername,
		Password: append([]byte(nil), p.Password...), HasPassword: p.HasPassword,
	}
	if st, ok := transport.ConnectionState(c.nc); ok {
		l.account.TLS = &st
	}
	return l, nil
}

// connectFault answers a CONNECT that cannot be decoded. Before version 5 a malformed one gets
// no answer at all [MQTT-3.1.4-1], except for two faults that have a return code.
func (c *conn) connectFault(sc *scratch, err error, frame []byte) error {
	f := c.decodeFault(err).(*fault)
	level, known := sniffLevel(frame)
	switch {
	case f.reason == codec.UnsupportedProtocolVersion && known:
		c.version = codec.V4 // [MQTT-3.1.2-2]: the layout that every Client understands
	case known && level == codec.V5, f.reason == codec.ClientIDNotValid && known:
		c.version = level
	default:
		f.silent = true
		return f
	}
	return c.refuse(sc, f)
}

// sniffLevel returns the protocol level of a CONNECT; known says that the protocol name is
// one of MQTT's.
func sniffLevel(frame []byte) (v codec.Version, known bool) {
	_, n, err := codec.ParseHeader(frame)
	if err != nil || n == 0 {
		return 0, false
	}
	for _, name := range []string{"\x00\x04MQTT", "\x00\x06MQIsdp"} {
		if rest, ok := strings.CutPrefix(string(frame[n:min(len(frame), n+9)]), name); ok && rest != "" {
			return codec.Version(rest[0]), true
		}
	}
	return 0, false
}

// refuse answers CONNECT with a CONNACK that says why not, and ends the connection
// [MQTT-3.2.2-7].
func (c *conn) refuse(sc *scratch, err error) error {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{reason: codec.UnspecifiedError, msg: err.Error()}
	}
	k := codec.Connack{Reason: f.reason} // [MQTT-3.2.2-4] [MQTT-3.2.2-6]
	if c.version < codec.V5 {
		code, ok := returnCode(f.reason)
		if !ok { // [MQTT-3.2.2-6]
			f.silent = true
			return f
		}
		k.Reason = code
	} else if ref := c.b.cfg.ServerReference; ref != "" && (f.reason == codec.UseAnotherServer || f.reason == codec.ServerMoved) {
		k.Props.SetText(codec.PropServerReference, ref)
	}
	if b := c.encodeWithin(&k, &k.Props, f.Error(), true); b != nil {
		c.sendShort(sc, b)
	}
	f.silent = true // the CONNACK was the answer [MQTT-3.14.0-1]
	return f
}

// returnCode translates a Reason Code into a Connect Return code of 3.1.1.
func returnCode(r codec.ReasonCode) (codec.ReasonCode, bool) {
	switch r {
	case codec.UnsupportedProtocolVersion:
		return codec.ReturnUnacceptableVersion, true
	case codec.ClientIDNotValid:
		return codec.ReturnIdentifierRejected, true
	case codec.BadUserNameOrPassword, codec.BadAuthenticationMethod:
		return codec.ReturnBadCredentials, true
	case codec.NotAuthorized, codec.Banned:
		return codec.ReturnNotAuthorized, true
	case codec.ServerUnavailable, codec.ServerBusy, codec.QuotaExceeded, codec.UseAnotherServer, codec.ServerMoved, codec.ConnectionRateExceeded:
		return codec.ReturnServerUnavailable, true
	}
	return 0, false
}

// admit accepts a CONNECT: Session, CONNACK, and what waits for the Client.
func (c *conn) admit(sc *scratch, l *login, authData []byte) error {
	b := c.b
	c.username = l.account.Username
	c.login = nil
	if w := l.will; w != nil {
		denied := isSys(w.topic) || b.cfg.Authorize != nil && !b.cfg.Authorize(context.Background(), Access{
			ClientID: l.id, Username: c.username, Action: Publish, Topic: w.topic, QoS: w.qos, Retain: w.retain,
		})
		switch {
		case denied && c.version == codec.V5:
			return c.refuse(sc, &fault{reason: codec.NotAuthorized, msg: "the client may not publish its Will"})
		case denied:
			l.will = nil // 3.1.1 lets a server accept and drop what it does not authorize
		}
	}
	expiry := min(l.expiry, b.lim.expiryMax)
	keep := l.keep
	if k := b.cfg.ServerKeepAlive; k > 0 && c.version == codec.V5 {
		keep = uint16(k.Seconds()) // [MQTT-3.2.2-21]
	}
	link := session.Link{
		Version: c.version, SendMaximum: l.window, ReceiveMaximum: b.cfg.ReceiveMaximum,
	}
	var k codec.Connack
	if c.version == codec.V5 {
		c.announce(&k.Props, l, expiry, keep, authData)
	}
	// Nothing may be sent before CONNACK [MQTT-3.2.0-1], so a Client that cannot be sent one is not served.
	if k.Size(c.version) > c.maxPacket {
		return c.refuse(sc, &fault{reason: codec.PacketTooLarge, msg: "the client's Maximum Packet Size leaves no room for CONNACK"})
	}
	ok := b.attach(sc, c, l.id, l.clean, expiry, l.will, &link, func(present bool) {
		k.SessionPresent = present && c.version != codec.V31 // [MQTT-3.1.4-5] [MQTT-3.1.4-4]
		if data := c.encodeWithin(&k, &k.Props, "", true); data != nil {
			c.sendShort(sc, data)
		}
		c.accepted.Store(true)
	})
	if !ok {
		return c.refuse(sc, &fault{reason: codec.QuotaExceeded, msg: "the server has as many sessions as it may have"})
	}
	b.stats.connects.Add(1)
	c.keepAlive(keep)
	select {
	case <-b.closing: // Close may have looked before the CONNACK was there
		return &fault{reason: codec.ServerShuttingDown, msg: "the server is shutting down"}
	default:
	}
	return nil
}

// announce puts the Server's limits and choices into CONNACK.
func (c *conn) announce(p *codec.Properties, l *login, expiry uint32, keep uint16, authData []byte) {
	cfg, lim := &c.b.cfg, &c.b.lim
	flag := func(id codec.PropID, unavailable bool) {
		if unavailable {
			p.SetUint(id, 0)
		}
	}
	if l.assigned { // [MQTT-3.2.2-16]
		p.SetText(codec.PropAssignedClientID, l.id)
	}
	if expiry != l.expiry {
		p.SetUint(codec.PropSessionExpiry, expiry)
	}
	if cfg.ReceiveMaximum != 0 {
		p.SetUint(codec.PropReceiveMaximum, uint32(cfg.ReceiveMaximum))
	}
	if lim.maxQoS < 2 { // [MQTT-3.2.2-9]
		p.SetUint(codec.PropMaximumQoS, uint32(lim.maxQoS))
	}
	flag(codec.PropRetainAvailable, cfg.RetainUnavailable)
	if cfg.MaximumPacketSize != 0 {
		p.SetUint(codec.PropMaximumPacketSize, cfg.MaximumPacketSize)
	}
	if lim.aliasIn != 0 {
		p.SetUint(codec.PropTopicAliasMaximum, uint32(lim.aliasIn))
	}
	flag(codec.PropWildcardAvailable, cfg.WildcardUnavailable)
	flag(codec.PropSubscriptionIDsAvail, cfg.SubscriptionIDsUnavailable)
	flag(codec.PropSharedSubscriptionsAvl, cfg.SharedUnavailable)
	if keep != l.keep {
		p.SetUint(codec.PropServerKeepAlive, uint32(keep))
	}
	if l.response && cfg.ResponseInformation != "" { // [MQTT-3.1.2-28]
		p.SetText(codec.PropResponseInfo, cfg.ResponseInformation)
	}
	if l.method != "" { // [MQTT-4.12.0-5]
		p.SetText(codec.PropAuthMethod, l.method)
		if authData != nil {
			p.SetBytes(codec.PropAuthData, authData)
		}
	}
}
