package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/transport"
)

// dial opens a connection that the Server has accepted.
func (c *Client) dial(ctx context.Context) (*link, error) {
	c.mu.Lock()
	id, again := c.clientID, c.everUp
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	// A session without memory on this side starts clean, so that a Server which resumes one breaks no rule of
	// ours [MQTT-3.2.2-4].
	clean := !again && (c.cfg.CleanStart || !c.cfg.persistent())
	if c.cfg.Version != codec.V5 && !c.cfg.persistent() {
		clean = true
	}
	if clean && c.cfg.Version != codec.V5 && c.cfg.persistent() {
		// Before version 5 a clean session ends with its connection: one connection to clear, another to stay.
		l, err := c.open(ctx, id, true)
		if err != nil {
			return nil, err
		}
		bye, _ := (&codec.Disconnect{}).AppendTo(nil, c.cfg.Version)
		_, err = l.nc.Write(bye)
		_ = l.nc.SetReadDeadline(time.Now().Add(time.Second))
		for err == nil { // the server closes, and only then its session is gone
			_, err = l.rd.Next()
		}
		_ = l.nc.Close()
		clean = false
	}
	return c.open(ctx, id, clean)
}

// open dials and exchanges CONNECT and CONNACK.
func (c *Client) open(ctx context.Context, id string, clean bool) (*link, error) {
	var nc net.Conn
	var err error
	if c.cfg.Dial != nil {
		nc, err = c.cfg.Dial(ctx)
	} else {
		d := transport.Dialer{TLS: c.cfg.TLS, Timeout: -1}
		nc, err = d.Dial(ctx, c.url)
	}
	if err != nil {
		return nil, err
	}
	l := newLink(c, nc)
	release := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = l.handshake(ctx, id, clean)
	if !release() && err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return l, nil
	}
	_ = nc.Close()
	var timeout net.Error
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		err = fmt.Errorf("%s did not answer CONNECT in time: %w", c.Target(), errors.Join(context.Cause(ctx)))
		if ctx.Err() == nil {
			err = fmt.Errorf("%s did not answer CONNECT in time: %w", c.Target(), context.DeadlineExceeded)
		}
	}
	return nil, err
}

// connectPacket is the CONNECT of this configuration.
func (c *Client) connectPacket(id string, clean bool) *codec.Connect {
	cfg := &c.cfg
	p := &codec.Connect{Version: cfg.Version, ClientID: id, CleanStart: clean}
	if cfg.KeepAlive > 0 {
		p.KeepAlive = uint16((cfg.KeepAlive + time.Second - 1) / time.Second)
	}
	if cfg.Username != "" {
		p.HasUsername, p.Username = true, cfg.Username
	}
	if cfg.Password != nil {
		p.HasPassword, p.Password = true, cfg.Password
	}
	if cfg.Will != nil {
		p.HasWill, p.Will = true, *cfg.Will
	}
	if cfg.Version != codec.V5 {
		return p
	}
	if s := cfg.expirySeconds(); s > 0 {
		p.Props.SetUint(codec.PropSessionExpiry, s)
	}
	p.Props.SetUint(codec.PropReceiveMaximum, uint32(cfg.ReceiveMaximum))
	if cfg.MaximumPacketSize > 0 {
		p.Props.SetUint(codec.PropMaximumPacketSize, cfg.MaximumPacketSize)
	}
	if cfg.TopicAliasMaximum > 0 {
		p.Props.SetUint(codec.PropTopicAliasMaximum, uint32(cfg.TopicAliasMaximum))
	}
	if cfg.RequestResponseInfo {
		p.Props.SetUint(codec.PropRequestResponseInfo, 1)
	}
	for _, u := range cfg.UserProperties {
		p.Props.AddUser(u.Name, u.Value)
	}
	return p
}

// handshake sends CONNECT and waits for CONNACK, with enhanced authentication in between.
func (l *link) handshake(ctx context.Context, id string, clean bool) error {
	cfg := &l.c.cfg
	p := l.c.connectPacket(id, clean)
	if a := cfg.Authenticator; a != nil {
		data, err := a.Start()
		if err != nil {
			return fmt.Errorf("start authentication by %s: %w", a.Method(), err)
		}
		setAuth(&p.Props, a.Method(), data)
	}
	if err := l.writeNow(p); err != nil {
		return err
	}
	for {
		frame, err := l.rd.Next()
		if err != nil {
			if ctx.Err() != nil {
				return err
			}
			if e, ok := errors.AsType[*codec.Error](err); ok {
				return &ProtocolError{e.Reason, e}
			}
			return fmt.Errorf("%s closed the connection without an answer to CONNECT: %w", l.c.Target(), err)
		}
		got, err := l.decode(frame)
		if err != nil {
			return err
		}
		switch got := got.(type) {
		case *codec.Auth:
			if err := l.continueAuth(got); err != nil {
				return err
			}
		case *codec.Connack:
			return l.accepted(got, id, clean)
		default:
			return protocolError(codec.ProtocolError, "%s came before CONNACK", got.Type())
		}
	}
}

// accepted takes what CONNACK says.
func (l *link) accepted(p *codec.Connack, id string, clean bool) error {
	cfg := &l.c.cfg
	if p.Reason != codec.Success {
		return refused(codec.TypeConnack, cfg.Version, p.Reason, &p.Props)
	}
	if p.SessionPresent && clean {
		return protocolError(codec.ProtocolError, "CONNACK says that a session is present, after a clean start")
	}
	l.session = Session{Present: p.SessionPresent, ClientID: id, Props: p.Props.Clone()}
	if cfg.Version == codec.V31 { // which does not tell; in flight is what was in flight
		l.session.Present = !clean
	}
	l.keepAlive = max(0, (cfg.KeepAlive+time.Second-1)/time.Second*time.Second)
	if cfg.Version != codec.V5 {
		return nil
	}
	if a := cfg.Authenticator; a != nil && p.Props.Has(codec.PropAuthData) {
		if _, err := a.Continue(p.Props.Bytes(codec.PropAuthData)); err != nil {
			return fmt.Errorf("the server failed to prove itself by %s: %w", a.Method(), err)
		}
	}
	props := &l.session.Props
	if s := props.Text(codec.PropAssignedClientID); s != "" {
		l.session.ClientID = s
	}
	if props.Has(codec.PropServerKeepAlive) { // [MQTT-3.1.2-21]
		l.keepAlive = time.Duration(props.Uint(codec.PropServerKeepAlive, 0)) * time.Second
	}
	l.maxPacket = props.Uint(codec.PropMaximumPacketSize, 0)
	l.maxQoS = codec.QoS(props.Uint(codec.PropMaximumQoS, 2))
	l.retain = props.Uint(codec.PropRetainAvailable, 1) == 1
	l.wildcards = props.Uint(codec.PropWildcardAvailable, 1) == 1
	l.subIDs = props.Uint(codec.PropSubscriptionIDsAvail, 1) == 1
	l.shared = props.Uint(codec.PropSharedSubscriptionsAvl, 1) == 1
	l.receiveMax = uint16(props.Uint(codec.PropReceiveMaximum, 65535))
	if !cfg.NoTopicAliases {
		l.aliasMax = uint16(props.Uint(codec.PropTopicAliasMaximum, 0))
	}
	return nil
}

// decode reads a packet of the Server's. A fault that the standard leaves to the receiver is let pass.
func (l *link) decode(frame []byte) (codec.Packet, error) {
	p, err := l.dec.Decode(frame)
	if p != nil {
		return p, nil
	}
	if e, ok := errors.AsType[*codec.Error](err); ok {
		return nil, &ProtocolError{e.Reason, e}
	}
	return nil, protocolError(codec.MalformedPacket, "a packet cannot be read: %w", err)
}

// writeNow writes a packet of the handshake, when no writer runs yet.
func (l *link) writeNow(p codec.Packet) error {
	b, err := p.AppendTo(nil, l.version)
	if err != nil {
		return fmt.Errorf("the configuration makes no valid %s: %w", p.Type(), err)
	}
	_, err = l.nc.Write(b)
	l.c.mu.Lock()
	l.c.stats.BytesSent += uint64(len(b))
	l.c.mu.Unlock()
	return err
}
