package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// FeaturesFormat is the value of FeatureReport.Format.
const FeaturesFormat = "mqlab-features/1"

// FeatureReport says what a target can do, as it announces it and as a probe of each feature
// shows. Nothing in it is a verdict. It marshals to the documented JSON.
type FeatureReport struct {
	Format   string            `json:"format"` // FeaturesFormat
	Name     string            `json:"name,omitempty"`
	Target   string            `json:"target"`
	Started  time.Time         `json:"started"`
	Elapsed  time.Duration     `json:"elapsed_ns"`
	Versions []VersionFeatures `json:"versions"` // 3.1, 3.1.1 and 5.0
}

// VersionFeatures is what a target can do under one protocol version.
type VersionFeatures struct {
	Version   string      `json:"mqtt"`
	Served    bool        `json:"served"`
	Evidence  string      `json:"evidence,omitempty"`  // why it is not served
	Announced []Announced `json:"announced,omitempty"` // by the CONNACK of 5.0
	Features  []Feature   `json:"features,omitempty"`
}

// Announced is one property of CONNACK, or what its absence stands for.
type Announced struct {
	Name    string `json:"name"`
	Value   int64  `json:"value"`
	Default bool   `json:"default,omitempty"` // the property is absent
}

// State says whether a feature is there.
type State string

// The states. Unknown is what a probe could not find out.
const (
	Yes     State = "yes"
	No      State = "no"
	Unknown State = "unknown"
)

// Feature is what one probe found.
type Feature struct {
	Name     string        `json:"name"`
	State    State         `json:"state"`
	Limit    int64         `json:"limit,omitempty"`    // the largest value that worked
	AtLeast  bool          `json:"at_least,omitempty"` // nothing larger was tried
	Min      time.Duration `json:"min_ns,omitempty"`
	Median   time.Duration `json:"median_ns,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"` // how long what the feature is about took
	Detail   string        `json:"detail,omitempty"`
}

// DefaultMaxPayload bounds the payloads that a probe sends unless told otherwise.
const DefaultMaxPayload = 1 << 20

// Probe finds out what the target of the configuration can do, under all three versions. It
// sends legal packets only, and no payload longer than maxPayload; zero is DefaultMaxPayload.
func Probe(ctx context.Context, cfg Config, maxPayload int) (*FeatureReport, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if maxPayload <= 0 {
		maxPayload = DefaultMaxPayload
	}
	r := &run{cfg: cfg, id: runID(), features: map[Versions]*Features{}, numbers: map[jobKey]int{}}
	stopTarget, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stopTarget()
	rep := &FeatureReport{Format: FeaturesFormat, Name: cfg.Name, Target: r.describeTarget(), Started: time.Now().UTC()}
	nc, err := r.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	_ = nc.Close()
	var all []*inquiry
	for _, v := range []codec.Version{codec.V31, codec.V4, codec.V5} {
		in := &inquiry{ctx: ctx, r: r, version: v, maxPayload: maxPayload}
		in.found = VersionFeatures{Version: v.String()}
		in.greet()
		if in.found.Served {
			in.latencies() // while nothing else is going on
		}
		all = append(all, in)
	}
	var wg sync.WaitGroup
	for _, in := range all {
		if in.found.Served {
			wg.Go(in.rest)
		}
	}
	wg.Wait()
	for _, in := range all {
		rep.Versions = append(rep.Versions, in.found)
	}
	rep.Elapsed = time.Since(rep.Started)
	return rep, ctx.Err()
}

// inquiry probes one version.
type inquiry struct {
	ctx        context.Context
	r          *run
	version    codec.Version
	maxPayload int
	connack    *codec.Connack
	found      VersionFeatures
	ids        atomic.Int32
}

// errRefused reports a CONNECT that was answered with an error.
var errRefused = errors.New("CONNECT was refused")

// connect opens a connection and completes CONNECT.
func (in *inquiry) connect(edits ...func(*codec.Connect)) (*peer.Conn, *codec.Connack, error) {
	if err := in.ctx.Err(); err != nil {
		return nil, nil, err
	}
	p := &codec.Connect{Version: in.version, ClientID: in.name("c"), CleanStart: true}
	if u := in.r.cfg.Username; u != "" {
		p.HasUsername, p.Username = true, u
	}
	if pw := in.r.cfg.Password; pw != "" {
		p.HasPassword, p.Password = true, []byte(pw)
	}
	for _, edit := range edits {
		edit(p)
	}
	nc, err := in.r.dial(in.ctx)
	if err != nil {
		return nil, nil, err
	}
	c := peer.New(nc, peer.Config{Name: "probe", Version: in.version, AutoAck: true})
	if err = c.Send(p); err == nil {
		var e *peer.Event
		if e, err = c.Await(in.r.cfg.Timeout, ofType(codec.TypeConnack)); err == nil {
			ack := e.Packet.(*codec.Connack)
			if ack.Reason == codec.Success {
				return c, ack, nil
			}
			err = fmt.Errorf("%w: %s", errRefused, refusalCode(ack.Reason, in.version))
		}
	}
	_ = c.Close()
	return nil, nil, err
}

// refusalCode names the code of a CONNACK. A server that does not know 5.0 answers with a code of 3.1.1.
func refusalCode(code codec.ReasonCode, v codec.Version) string {
	if v == codec.V5 && !code.Failed() {
		v = codec.V4
	}
	return fmt.Sprintf("0x%02X %s", uint8(code), code.Name(codec.TypeConnack, v))
}

// name returns a word that nothing else uses, short enough for a Client Identifier.
func (in *inquiry) name(kind string) string {
	return in.r.cfg.ClientIDPrefix + in.r.id + strconv.Itoa(int(in.version)) + kind + strconv.Itoa(int(in.ids.Add(1)))
}

// topic returns a Topic Name that nothing else uses.
func (in *inquiry) topic() string { return in.r.cfg.TopicPrefix + in.r.id + "/" + in.name("t") }

// greet connects plainly and reads what is announced.
func (in *inquiry) greet() {
	c, ack, err := in.connect()
	if err != nil {
		in.found.Evidence = err.Error()
		return
	}
	defer leave(c)
	in.found.Served, in.connack = true, ack
	if in.version != codec.V5 {
		return
	}
	for _, p := range []struct {
		name    string
		id      codec.PropID
		without int64
	}{
		{"Maximum QoS", codec.PropMaximumQoS, 2},
		{"Retain Available", codec.PropRetainAvailable, 1},
		{"Wildcard Subscription Available", codec.PropWildcardAvailable, 1},
		{"Shared Subscription Available", codec.PropSharedSubscriptionsAvl, 1},
		{"Subscription Identifiers Available", codec.PropSubscriptionIDsAvail, 1},
		{"Topic Alias Maximum", codec.PropTopicAliasMaximum, 0},
		{"Receive Maximum", codec.PropReceiveMaximum, 65535},
		{"Maximum Packet Size", codec.PropMaximumPacketSize, codec.MaxPacketSize},
		{"Server Keep Alive", codec.PropServerKeepAlive, 0},
		{"Session Expiry Interval", codec.PropSessionExpiry, 0},
	} {
		a := Announced{Name: p.name, Value: p.without, Default: !ack.Props.Has(p.id)}
		if !a.Default {
			a.Value = int64(ack.Props.Uint(p.id, 0))
		}
		in.found.Announced = append(in.found.Announced, a)
	}
}

// leave ends a connection in order.
func leave(c *peer.Conn) {
	_ = c.Send(&codec.Disconnect{})
	c.AwaitClose(100 * time.Millisecond)
	_ = c.Close()
}

// roundTrips is how many messages a latency is taken from.
const roundTrips = 7

// latencies measures a message's way to the same client at each QoS.
func (in *inquiry) latencies() {
	for qos := range codec.QoS(3) {
		f := Feature{Name: fmt.Sprintf("QoS %d", qos), State: Unknown}
		in.latency(qos, &f)
		in.found.Features = append(in.found.Features, f)
	}
}

func (in *inquiry) latency(qos codec.QoS, f *Feature) {
	c, _, err := in.connect()
	if err != nil {
		f.Detail = err.Error()
		return
	}
	defer leave(c)
	topic := in.topic()
	granted, err := in.subscribe(c, codec.Subscription{Filter: topic, QoS: qos})
	if err != nil || granted != codec.ReasonCode(qos) {
		f.State, f.Detail = No, refusal("SUBSCRIBE", granted, err)
		return
	}
	var took []time.Duration
	for i := range roundTrips {
		began := time.Now()
		e, err := in.pass(c, c, &codec.Publish{Topic: topic, QoS: qos, PacketID: uint16(10+i) * uint16(min(qos, 1)), Payload: fmt.Append(nil, i)})
		if err != nil {
			if f.Detail = "a message did not come back: " + err.Error(); errors.Is(err, peer.ErrClosed) {
				f.State, f.Detail = No, "PUBLISH ends the connection"
			}
			return
		}
		if got := e.Packet.(*codec.Publish).QoS; got != qos {
			f.State, f.Detail = No, fmt.Sprintf("delivered with QoS %d", got)
			return
		}
		took = append(took, e.At.Sub(began))
		if qos > 0 { // the next message finds no exchange open
			_, _ = c.Await(in.r.cfg.Timeout, lastAck(qos, uint16(10+i)))
		}
	}
	slices.Sort(took)
	f.State, f.Min, f.Median = Yes, took[0], took[len(took)/2]
}

// lastAck matches the packet that completes the client's exchange.
func lastAck(qos codec.QoS, id uint16) func(*peer.Event) bool {
	want := codec.TypePuback
	if qos == 2 {
		want = codec.TypePubcomp
	}
	return func(e *peer.Event) bool {
		typ, got, _ := ackOf(e)
		return typ == want && got == id
	}
}

// subscribe asks for one filter and returns the code of the answer.
func (in *inquiry) subscribe(c *peer.Conn, s codec.Subscription, edits ...func(*codec.Subscribe)) (codec.ReasonCode, error) {
	p := &codec.Subscribe{PacketID: 1, Filters: []codec.Subscription{s}}
	for _, edit := range edits {
		edit(p)
	}
	if err := c.Send(p); err != nil {
		return 0, err
	}
	e, err := c.Await(in.r.cfg.Timeout, ofType(codec.TypeSuback))
	if err != nil {
		return 0, err
	}
	ack := e.Packet.(*codec.Suback)
	if len(ack.Reasons) != 1 {
		return 0, fmt.Errorf("SUBACK has %d codes for one filter", len(ack.Reasons))
	}
	return ack.Reasons[0], nil
}

// pass publishes on one connection and returns what arrives on the other.
func (in *inquiry) pass(from, to *peer.Conn, p *codec.Publish) (*peer.Event, error) {
	if err := from.Send(p); err != nil {
		return nil, err
	}
	topic := p.Topic
	return to.Await(in.r.cfg.Timeout, func(e *peer.Event) bool {
		got, ok := e.Packet.(*codec.Publish)
		return ok && (topic == "" || got.Topic == topic) && string(got.Payload) == string(p.Payload)
	})
}

// refusal says how a request was turned down.
func refusal(what string, code codec.ReasonCode, err error) string {
	switch {
	case errors.Is(err, peer.ErrClosed):
		return what + " ends the connection"
	case err != nil:
		return what + ": " + err.Error()
	case code.Failed():
		return fmt.Sprintf("%s is refused with 0x%02X", what, uint8(code))
	}
	return fmt.Sprintf("%s grants QoS %d", what, code)
}

// rest runs the probes that do not measure latency, side by side.
func (in *inquiry) rest() {
	probes := in.probes()
	out := make([]Feature, len(probes))
	var wg sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, p := range probes {
		wg.Go(func() {
			slots <- struct{}{}
			out[i] = Feature{Name: p.name, State: Unknown}
			if err := p.ask(in, &out[i]); err != nil {
				out[i].Detail = err.Error()
			}
			<-slots
		})
	}
	wg.Wait()
	in.found.Features = append(in.found.Features, out...)
}
