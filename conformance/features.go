package conformance

import (
	"context"
	"fmt"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// Features is what a target announced, or showed in a probe, under one version.
type Features struct {
	Version      Versions   `json:"mqtt"`
	Served       bool       `json:"served"`             // the target accepts connections of this version
	Evidence     string     `json:"evidence,omitempty"` // why it is not served
	Capabilities Capability `json:"capabilities,omitempty"`

	ReceiveMaximum    uint16 `json:"receive_maximum,omitempty"`     // 5.0
	TopicAliasMaximum uint16 `json:"topic_alias_maximum,omitempty"` // 5.0
	MaximumPacketSize uint32 `json:"maximum_packet_size,omitempty"` // 5.0; 0: no limit announced
	ServerKeepAlive   uint16 `json:"server_keep_alive,omitempty"`   // 5.0
	HasKeepAlive      bool   `json:"-"`                             // ServerKeepAlive was announced
	MaximumQoS        uint8  `json:"maximum_qos"`

	// Shown is what probes found missing where the version has no words to announce it.
	Shown []string `json:"shown,omitempty"`

	Connack *codec.Connack `json:"-"` // the answer to a plain CONNECT
}

// discover connects once for each version and reads what the target announces. A target that
// cannot be reached, or serves none of the versions, ends the run.
func (r *run) discover(ctx context.Context) error {
	served := false
	var why string
	for _, v := range r.cfg.Versions.Split() {
		f, err := r.probe(ctx, v)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		r.features[v] = f
		served = served || f.Served
		why = f.Evidence
	}
	if !served {
		return fmt.Errorf("%w as an MQTT %s server: %s", ErrUnreachable, r.cfg.Versions, why)
	}
	return nil
}

func (r *run) probe(ctx context.Context, v Versions) (*Features, error) {
	nc, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := peer.New(nc, peer.Config{Name: "probe", Version: wire(v)})
	defer c.Close()
	f := &Features{Version: v, MaximumQoS: 2, ReceiveMaximum: 65535}
	t := &T{run: r, version: v, check: &Check{Name: "probe"}}
	p := t.ConnectPacket()
	if v == MQTT5 {
		p.Props.SetUint(codec.PropSessionExpiry, 60)
	}
	if err := c.Send(p); err != nil {
		return nil, err
	}
	e, err := c.Await(r.cfg.Timeout, ofType(codec.TypeConnack))
	if err != nil {
		f.Evidence = fmt.Sprintf("a CONNECT of MQTT %s got no CONNACK: %v", v, err)
		return f, nil
	}
	f.Connack = e.Packet.(*codec.Connack)
	if f.Connack.Reason != codec.Success {
		f.Evidence = fmt.Sprintf("a CONNECT of MQTT %s was refused: %s", v, refusalCode(f.Connack.Reason, wire(v)))
		return f, nil
	}
	f.Served = true
	f.read(&f.Connack.Props)
	f.probeSubscribe(r, c)
	if v == MQTT311 {
		f.unannounced(ctx, r)
	}
	if r.cfg.WSTarget != "" || r.cfg.DialWS != nil {
		f.Capabilities |= CapWebSocket
	}
	if r.cfg.BadUsername != "" || r.cfg.BadPassword != "" {
		f.Capabilities |= CapBadLogin
	}
	if r.cfg.ForbiddenTopic != "" {
		f.Capabilities |= CapForbidden
	}
	if r.cfg.AuthMethod != "" {
		f.Capabilities |= CapAuthMethod
	}
	if r.server != nil {
		f.Capabilities |= CapRestart
	}
	_ = c.Send(&codec.Disconnect{})
	return f, nil
}

// read takes over what a CONNACK announces; before 5.0 there is nothing and everything counts as there.
func (f *Features) read(props *codec.Properties) {
	f.Capabilities = CapQoS1 | CapQoS2 | CapRetain | CapWildcard | CapShared | CapSubscriptionIDs | CapSessionExpiry
	f.MaximumQoS = uint8(props.Uint(codec.PropMaximumQoS, 2))
	f.ReceiveMaximum = uint16(props.Uint(codec.PropReceiveMaximum, 65535))
	f.TopicAliasMaximum = uint16(props.Uint(codec.PropTopicAliasMaximum, 0))
	f.MaximumPacketSize = props.Uint(codec.PropMaximumPacketSize, 0)
	f.ServerKeepAlive = uint16(props.Uint(codec.PropServerKeepAlive, 0))
	f.HasKeepAlive = props.Has(codec.PropServerKeepAlive)
	without := func(missing bool, c Capability) {
		if missing {
			f.Capabilities &^= c
		}
	}
	without(f.MaximumQoS < 1, CapQoS1)
	without(f.MaximumQoS < 2, CapQoS2)
	without(props.Uint(codec.PropRetainAvailable, 1) == 0, CapRetain)
	without(props.Uint(codec.PropWildcardAvailable, 1) == 0, CapWildcard)
	without(props.Uint(codec.PropSharedSubscriptionsAvl, 1) == 0, CapShared)
	without(props.Uint(codec.PropSubscriptionIDsAvail, 1) == 0, CapSubscriptionIDs)
	without(props.Uint(codec.PropSessionExpiry, 1) == 0, CapSessionExpiry)
	if f.TopicAliasMaximum > 0 {
		f.Capabilities |= CapTopicAlias
	}
	if f.Version == MQTT311 {
		f.Capabilities &^= CapShared | CapSubscriptionIDs | CapTopicAlias
	}
}

// probeSubscribe asks for QoS 2 and takes away what is not granted: a server may grant less
// than was asked for, and announces it only under 5.0.
func (f *Features) probeSubscribe(r *run, c *peer.Conn) {
	topic := r.cfg.TopicPrefix + r.id + "/probe"
	if c.Send(&codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{{Filter: topic, QoS: 2}}}) != nil {
		return
	}
	e, err := c.Await(r.cfg.Timeout, ofType(codec.TypeSuback))
	if err != nil {
		return
	}
	ack := e.Packet.(*codec.Suback)
	if len(ack.Reasons) != 1 || ack.Reasons[0].Failed() {
		return
	}
	if ack.Reasons[0] < 1 {
		f.Capabilities &^= CapQoS1
	}
	if ack.Reasons[0] < 2 {
		f.Capabilities &^= CapQoS2
	}
}
