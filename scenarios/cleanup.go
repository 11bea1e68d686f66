package scenarios

import (
	"context"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// cleanTimeout bounds each answer that is waited for while a server is left as it was found.
const cleanTimeout = time.Second

// track remembers what a run leaves behind.
func (r *runner) track(p codec.Packet, v codec.Version) {
	switch p := p.(type) {
	case *codec.Connect:
		r.login, r.version = p, v
		if p.ClientID != "" && (!p.CleanStart || p.Props.Has(codec.PropSessionExpiry)) {
			r.connects = append(r.connects, p)
		}
		if p.HasWill && p.Will.Retain {
			r.retained[p.Will.Topic] = true
		}
	case *codec.Publish:
		if p.Retain && len(p.Payload) > 0 && codec.ValidTopicName(p.Topic) {
			r.retained[p.Topic] = true
		}
	}
}

// cleanUp removes retained messages and sessions of the run. It is done on interrupt too.
func (r *runner) cleanUp() {
	if len(r.connects) == 0 && len(r.retained) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 5*time.Second)
	defer cancel()
	seen := map[string]bool{}
	for _, p := range r.connects {
		if seen[p.ClientID] {
			continue
		}
		seen[p.ClientID] = true
		if c := r.enter(ctx, p, p.ClientID); c != nil {
			leave(c)
		}
	}
	if len(r.retained) == 0 || r.login == nil {
		return
	}
	c := r.enter(ctx, r.login, "mqlab"+randomText(10))
	if c == nil {
		return
	}
	for topic := range r.retained {
		_ = c.Send(&codec.Publish{Topic: topic, Retain: true})
	}
	_ = c.Send(&codec.Pingreq{})
	_, _ = c.Await(cleanTimeout, func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypePingresp })
	leave(c)
}

// enter connects with a clean session and the credentials of an earlier CONNECT.
func (r *runner) enter(ctx context.Context, login *codec.Connect, id string) *peer.Conn {
	nc, err := r.cfg.Dial(ctx)
	if err != nil {
		return nil
	}
	c := peer.New(nc, peer.Config{Name: "cleanup", Version: r.version, AutoAck: true})
	err = c.Send(&codec.Connect{
		Version: r.version, ClientID: id, CleanStart: true,
		HasUsername: login.HasUsername, Username: login.Username, HasPassword: login.HasPassword, Password: login.Password,
	})
	if err == nil {
		_, err = c.Await(cleanTimeout, func(e *peer.Event) bool {
			ack, ok := e.Packet.(*codec.Connack)
			return ok && ack.Reason == codec.Success
		})
	}
	if err != nil {
		_ = c.Close()
		return nil
	}
	return c
}

func leave(c *peer.Conn) {
	_ = c.Send(&codec.Disconnect{})
	c.AwaitClose(100 * time.Millisecond)
	_ = c.Close()
}
