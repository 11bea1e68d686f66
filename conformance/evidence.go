package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/broker"
	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/scenarios"
)

// evidence is what anybody can replay and look at to see a breach.
type evidence struct {
	exchange *scenarios.Exchange // nil where the check cannot be written as one
	capture  []byte              // pcapng
	why      string              // there is no exchange, or replaying it tells nothing
}

// maxReplays is how many breaches are replayed at the same time.
const maxReplays = 8

// collectEvidence works out the evidence of every breach. An exchange is what the check does on
// the baseline broker, where it passes, with expectations as strict as it takes to tell the
// target from the baseline; both are tried before it is believed.
func (r *run) collectEvidence(ctx context.Context, checks []*CheckResult) {
	if !r.cfg.Evidence {
		return
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, min(maxReplays, r.cfg.Parallel))
	for _, c := range checks {
		if c.script == nil || c.Verdict < Warn || c.Verdict == Errored {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			c.evidence = r.evidenceOf(ctx, c)
			<-slots
		})
	}
	wg.Wait()
	for _, c := range checks {
		c.script = nil
	}
}

func (r *run) evidenceOf(ctx context.Context, c *CheckResult) *evidence {
	t := c.script
	e := &evidence{capture: t.capture(c)}
	switch {
	case t.check.exchange != nil:
		e.exchange = t.check.exchange
		return e
	case t.past:
		e.why = "the check writes WebSocket frames of its own, for which an exchange has no words"
		return e
	case ctx.Err() != nil:
		e.why = "the run was interrupted before an exchange was worked out"
		return e
	}
	var why string
	for _, cfg := range []broker.Config{r.cfg.Broker, r.likeTarget(t.version)} {
		ref, err := r.reference(ctx, t, cfg)
		if err != nil {
			why = err.Error()
			continue
		}
		if x, err := r.tellApart(ctx, c, ref, cfg); err == nil {
			e.exchange, e.why = x, ""
			return e
		} else if x != nil && e.exchange == nil {
			e.exchange, e.why = x, err.Error()
		} else if x == nil {
			why = err.Error()
		}
	}
	if e.exchange == nil {
		e.why = why
	}
	return e
}

// likeTarget is a configuration of the baseline broker that announces what the target does.
func (r *run) likeTarget(v Versions) broker.Config {
	cfg, f := r.cfg.Broker, r.features[v]
	if f == nil {
		return cfg
	}
	like := cfg
	switch f.MaximumQoS {
	case 0:
		like.MaximumQoS = broker.UpToQoS0
	case 1:
		like.MaximumQoS = broker.UpToQoS1
	}
	like.RetainUnavailable = f.Capabilities&CapRetain == 0
	like.WildcardUnavailable = f.Capabilities&CapWildcard == 0
	if v == MQTT5 {
		like.SharedUnavailable = f.Capabilities&CapShared == 0
		like.SubscriptionIDsUnavailable = f.Capabilities&CapSubscriptionIDs == 0
		// What a target leaves out of CONNACK is not to be announced in its place.
		if like.MaximumPacketSize = f.MaximumPacketSize; f.ReceiveMaximum < 65535 {
			like.ReceiveMaximum = f.ReceiveMaximum
		}
		like.ServerKeepAlive = time.Duration(f.ServerKeepAlive) * time.Second
		if like.TopicAliasMaximum = int(f.TopicAliasMaximum); like.TopicAliasMaximum == 0 {
			like.TopicAliasMaximum = -1
		}
	}
	if like.Validate() != nil {
		return cfg
	}
	return like
}

// baseline starts a baseline broker that refuses what the user said that the target refuses.
func (r *run) baseline(cfg broker.Config) *broker.Broker {
	own := r.cfg
	if cfg.Authenticate == nil && (own.BadUsername != "" || own.BadPassword != "") {
		cfg.Authenticate = func(_ context.Context, l broker.Login) error {
			if l.Username == own.BadUsername && string(l.Password) == own.BadPassword {
				return broker.ErrBadCredentials
			}
			return nil
		}
	}
	if cfg.Authorize == nil && own.ForbiddenTopic != "" {
		cfg.Authorize = func(_ context.Context, a broker.Access) bool {
			return a.Action != broker.Publish || a.Topic != own.ForbiddenTopic
		}
	}
	return broker.New(cfg)
}

func dialOf(b *broker.Broker) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) { return b.Dial() }
}

// reference runs the check once more, with the same names, on the baseline broker.
func (r *run) reference(ctx context.Context, t *T, cfg broker.Config) (*T, error) {
	b := r.baseline(cfg)
	defer b.Close()
	rr := &run{cfg: r.cfg, id: r.id, dial: dialOf(b), features: r.features, numbers: r.numbers}
	rr.cfg.Evidence, rr.cfg.Ephemeral, rr.cfg.Transcripts = true, true, false
	rr.after = func(t *T) { t.drain(b) }
	res := rr.attempt(ctx, job{t.check, t.version}, t.attempt)
	if res.Verdict != Pass {
		return nil, fmt.Errorf("the check has no reference: on the baseline broker it is %s: %s", res.Verdict, res.Reason)
	}
	return res.script, nil
}

// drain waits at the end of the script until all that the baseline broker sends has arrived: what
// it would still have sent must not be held against a target that sent it sooner.
//
// The broker answers PINGREQ behind everything that it sent before, and behind what the packets
// before it brought others. So each round of PINGREQ on all connections takes whatever is under
// way one step further, and when two bring nothing new there is nothing.
func (t *T) drain(b *broker.Broker) {
	t.over.Store(true)
	limit := time.Now().Add(min(t.Timeout(), maxDrain))
	pingresp := ofType(codec.TypePingresp)
	for seen, quiet := -1, 0; quiet < 2 && time.Now().Before(limit); {
		acts, _ := t.transcript.Acts()
		accepted, news := map[string]bool{}, 0
		for _, a := range acts {
			if a.Kind == peer.ActArrived && a.Event.Packet != nil {
				ack, ok := a.Event.Packet.(*codec.Connack)
				accepted[a.Conn] = accepted[a.Conn] || ok && ack.Reason == codec.Success
			}
			if a.Kind == peer.ActArrived && !pingresp(a.Event) || a.Kind == peer.ActOver {
				news++
			}
		}
		open := 0
		var served []*Conn
		for _, c := range t.conns {
			if _, ended := c.Closed(); ended {
				continue
			}
			open++
			if !accepted[c.Name()] {
				continue
			}
			for len(c.Pending(pingresp)) > 0 {
				_, _ = c.Await(0, pingresp)
			}
			if c.Conn.SendRaw([]byte{byte(codec.TypePingreq) << 4, 0}) == nil {
				served = append(served, c)
			}
		}
		for _, c := range served {
			_, _ = c.Await(time.Until(limit), pingresp)
		}
		// A connection that the script has cut off may leave a Will Message.
		gone := b.Stats().Connections <= open
		if !gone {
			select {
			case <-time.After(time.Millisecond):
			case <-t.ctx.Done():
				return
			}
		}
		if news == seen && gone {
			quiet++
		} else {
			quiet = 0
		}
		seen = news
	}
}

const maxDrain = 2 * time.Second

// levels of strictness of an exchange: what the standard settles; every field in which the
// target differed and that a breach may be about.
const levels = 2

// tellApart returns the most lenient exchange that the baseline follows and the target does not.
// With an error the exchange, if any, tells nothing by itself.
func (r *run) tellApart(ctx context.Context, c *CheckResult, ref *T, cfg broker.Config) (*scenarios.Exchange, error) {
	var first *scenarios.Exchange
	var tried string
	why := errors.New("replaying it does not tell the target from the baseline broker: the breach shows in what no exchange expresses, or only sometimes")
	for level := range levels {
		x, err := r.script(c, ref, level)
		if err != nil {
			return first, err
		}
		text, err := x.Marshal()
		if err != nil {
			return first, err
		}
		s, err := scenarios.Parse(text) // what is tried is what is written
		if err != nil {
			return first, fmt.Errorf("the check cannot be written as an exchange: %w", err)
		}
		if string(text) == tried {
			continue
		}
		tried = string(text)
		x = s.(*scenarios.Exchange)
		b := r.baseline(cfg)
		good, err := scenarios.Run(ctx, x, r.replay(dialOf(b)))
		_ = b.Close()
		if err != nil {
			return first, err
		}
		if !good.Followed {
			d := good.Departure()
			why = fmt.Errorf("the baseline broker does not follow it either, at step %d: %s", d.Number, d.Detail)
			continue
		}
		if first == nil {
			first = x
		}
		if c.Verdict == BrokerDied {
			return x, nil // there is nobody to try it on
		}
		bad, err := scenarios.Run(ctx, x, r.replay(r.dial))
		if err != nil {
			return first, err
		}
		if d := bad.Departure(); d != nil {
			x.About += fmt.Sprintf("Replayed: the baseline broker follows it to the end, the target departs at step %d:\n%s\n", d.Number, redactText(d.Detail, r.cfg.secrets()))
			return x, nil
		}
	}
	return first, why
}

func redactText(s string, secrets []string) string {
	for _, x := range secrets {
		if x != "" {
			s = strings.ReplaceAll(s, x, strings.Repeat("*", len(x)))
		}
	}
	return s
}

// replay is how an exchange is tried.
func (r *run) replay(dial func(context.Context) (net.Conn, error)) scenarios.RunConfig {
	c := r.cfg
	return scenarios.RunConfig{
		Dial: dial, Timeout: c.Timeout, Username: c.Username, Password: c.Password,
		BadUsername: c.BadUsername, BadPassword: c.BadPassword, Leave: c.Ephemeral,
	}
}

// EvidenceFile is the evidence of one breach on disk.
type EvidenceFile struct {
	Check    string
	Version  Versions
	Scenario string // path of the exchange; empty where there is none
	Capture  string // path of the capture
	Why      string // why there is no exchange, or what is to be known about it
}

// WriteEvidence writes the evidence of every breach into the folder, which it makes where it is
// missing: an exchange that can be replayed, and a capture that dissectors open.
func (r *Report) WriteEvidence(dir string) ([]EvidenceFile, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("write evidence: %w", err)
	}
	var out []EvidenceFile
	for _, c := range r.Checks {
		e := c.evidence
		if e == nil {
			continue
		}
		f := EvidenceFile{Check: c.Name, Version: c.Version, Why: e.why}
		base := filepath.Join(dir, c.Version.String()+"-"+strings.NewReplacer("/", "-", "\\", "-").Replace(c.Name))
		f.Capture = base + ".pcapng"
		if err := os.WriteFile(f.Capture, e.capture, 0o644); err != nil {
			return out, fmt.Errorf("write evidence: %w", err)
		}
		if e.exchange != nil {
			x := *e.exchange
			if e.why != "" {
				x.About += "Beware: " + e.why + ".\n"
			}
			text, err := x.Marshal()
			if err != nil {
				return out, fmt.Errorf("write evidence of %s: %w", c.Name, err)
			}
			f.Scenario = base + ".yaml"
			if err := os.WriteFile(f.Scenario, text, 0o644); err != nil {
				return out, fmt.Errorf("write evidence: %w", err)
			}
		}
		out = append(out, f)
	}
	return out, nil
}

// costly are the findings that cost the target something.
func (c *CheckResult) costly() []Finding {
	var out []Finding
	for _, f := range c.Findings {
		if !f.OK && f.Grade != GradeNote {
			out = append(out, f)
		}
	}
	return out
}

// about says what was found.
func (c *CheckResult) about(target string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Check %s under MQTT %s: %s on %s.\n", c.Name, c.Version, c.Verdict, target)
	for _, f := range c.costly() {
		fmt.Fprintf(&b, "%s: expected %s; got %s.\n", f.Rule, f.Expected, f.Actual)
	}
	if c.Verdict == BrokerDied {
		fmt.Fprintf(&b, "%s.\n", c.Reason)
	}
	return b.String()
}

// done returns the number of acts up to the end of the script.
func done(acts []peer.Act) int {
	for i, a := range acts {
		if a.Kind == peer.ActClose && a.Conn == "" {
			return i
		}
	}
	return len(acts)
}

// describeFrame is the packet in words in which what a server chooses freely does not show.
func describeFrame(e *peer.Event, v codec.Version, strict bool) string {
	if e.Packet == nil {
		return fmt.Sprintf("% X", e.Frame)
	}
	p, expires := codec.Clone(e.Packet), false
	switch p := p.(type) {
	case *codec.Publish:
		p.PacketID = min(p.PacketID, 1)
		expires = strict && p.Props.Has(codec.PropMessageExpiry)
		p.Props.Remove(codec.PropMessageExpiry)
	case *codec.Pubrel:
		p.PacketID = 1
	case *codec.Connack:
		if !strict {
			p.Props.Reset()
		}
	case *codec.Disconnect:
		if !strict {
			*p = codec.Disconnect{}
		}
	}
	text := codec.Describe(p, v)
	if expires {
		text += " that expires" // when exactly is a matter of the moment
	}
	if len(e.Faults) > 0 {
		text += " malformed"
	}
	return text
}
