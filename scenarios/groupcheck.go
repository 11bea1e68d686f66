package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/transport"
)

// groupChecker checks one group: g as it is written, r with its defaults.
type groupChecker struct {
	*workloadChecker
	path string
	g, r *Group
}

func (c groupChecker) check() {
	g := c.g
	if g.Count < 1 || g.Count > maxClients {
		c.bad(c.path+".count", "%d is not between 1 and %d", g.Count, maxClients)
		return // nothing can be expanded
	}
	c.version(c.path+".mqtt", g.MQTT)
	if c.r.Version() == 0 {
		c.r.MQTT = "5.0" // the problem is reported where it stands, and hides no other
	}
	c.five(g.SessionExpiry != 0, "session_expiry")
	c.five(g.Properties != nil, "properties")
	c.five(g.Respond != nil, "respond")
	c.seconds(c.path+".session_expiry", g.SessionExpiry, maxSecs*time.Second)
	c.seconds(c.path+".keep_alive", g.KeepAlive, maxKeepAlive)
	if g.SessionExpiry != 0 && g.Properties != nil && g.Properties.SessionExpiry != nil {
		c.bad(c.path+".properties.session_expiry_interval", "session_expiry says it already")
	}
	if g.Target != "" {
		if _, err := transport.Parse(g.Target); err != nil {
			c.bad(c.path+".target", "%v", err)
		}
	}
	c.length(c.path+".subscribe", len(g.Subscribe))
	c.length(c.path+".publish", len(g.Publish))
	c.credentials()
	c.connect()
	c.subscriptions()
	for i := range g.Publish {
		p := publicationChecker{c, fmt.Sprintf("%s.publish[%d]", c.path, i), &g.Publish[i], &c.r.Publish[i]}
		p.check()
	}
	if g.Respond != nil {
		c.qos(c.path+".respond.qos", g.Respond.QoS)
		c.size(c.path+".respond.size", g.Respond.Size)
	}
	c.link()
	if r := g.Reconnect; r != nil {
		path := c.path + ".reconnect"
		if r.Never && *r != (Reconnect{Never: true}) {
			c.bad(path, "clients that never come back have no pauses: leave out the rest")
		}
		c.span(path+".after", r.After, maxWait)
		c.span(path+".max", r.Max, maxWait)
		if r.Max != 0 && r.Max < c.r.Reconnect.After {
			c.bad(path+".max", "%v is less than the first pause, %v", r.Max, c.r.Reconnect.After)
		}
		if !(r.Jitter >= 0 && r.Jitter <= 1) {
			c.bad(path+".jitter", "%v is not between 0 and 1", r.Jitter)
		}
	}
}

// five refuses what only 5.0 has.
func (c groupChecker) five(set bool, name string) {
	if set && c.r.Version() != codec.V5 {
		c.bad(c.path+"."+name, "MQTT %s has none: it needs mqtt: 5.0", c.r.MQTT)
	}
}

func (c groupChecker) credentials() {
	g := c.g
	if g.Credentials != "" {
		if g.Username != "" || g.Password != "" {
			c.bad(c.path+".credentials", "user name and password come from the file: leave out username and password")
		}
		if c.file(c.path+".credentials", g.Credentials, MaximumSize) {
			list, err := LoadCredentials(c.w.Path(g.Credentials))
			switch {
			case err != nil:
				c.bad(c.path+".credentials", "%s: %v", g.Credentials, err)
			case len(list) < g.Count && slices.ContainsFunc(list, func(c Credential) bool { return c.ClientID != "" }):
				c.bad(c.path+".credentials", "%s names %d clients, and the group has %d", g.Credentials, len(list), g.Count)
			}
		}
	}
	if t := g.TLS; t != nil {
		for _, f := range []struct{ name, value string }{{"cert", t.Cert}, {"key", t.Key}} {
			path := c.path + ".tls." + f.name
			if f.value == "" {
				c.bad(path, "it is missing: a certificate and its key go together")
				continue
			}
			if t := c.template(path, f.value, perClient&^VariesRandom&^VariesRun); t != nil {
				for _, last := range []bool{false, true}[:min(2, g.Count)] {
					if !c.file(path, t.Expand(c.sample(c.r, last)), 1<<20) {
						break
					}
				}
			}
		}
	}
}

// connect checks everything that travels in CONNECT, by encoding one.
func (c groupChecker) connect() {
	g, before := c.r, len(c.errs)
	id := c.template(c.path+".client_id", g.ClientID, perClient)
	user := c.template(c.path+".username", g.Username, perClient)
	password := c.template(c.path+".password", g.Password, perClient)
	c.texts(c.path+".properties", g.Properties, perClient)
	var topicT, payload *Template
	if w := g.Will; w != nil {
		path := c.path + ".will"
		c.qos(path+".qos", w.QoS)
		c.five(w.Delay != 0, "will.delay")
		c.five(w.Properties != nil, "will.properties")
		c.seconds(path+".delay", w.Delay, maxSecs*time.Second)
		if w.Delay != 0 && w.Properties != nil && w.Properties.WillDelay != nil {
			c.bad(path+".properties.will_delay_interval", "delay says it already")
		}
		topicT = c.template(path+".topic", w.Topic, perClient)
		payload = c.template(path+".payload", w.Payload, perClient)
		c.texts(path+".properties", w.Properties, perClient)
		if topicT != nil {
			c.topicName(path+".topic", topicT)
		}
	}
	if len(c.errs) > before {
		return
	}
	for _, last := range []bool{false, true} {
		v := c.sample(g, last)
		p := &codec.Connect{
			Version: g.Version(), ClientID: id.Expand(v), CleanStart: g.CleanStart == nil || *g.CleanStart,
			Username: user.Expand(v), HasUsername: g.Username != "", Password: []byte(password.Expand(v)), HasPassword: g.Password != "",
		}
		if err := g.Properties.Append(&p.Props, expander(v)); err != nil {
			return // reported as a problem of the texts
		}
		if w := g.Will; w != nil {
			p.HasWill = true
			p.Will = codec.Will{Topic: topicT.Expand(v), Payload: []byte(payload.Expand(v)), QoS: codec.QoS(w.QoS), Retain: w.Retain}
			if err := w.Properties.Append(&p.Will.Props, expander(v)); err != nil {
				return
			}
		}
		if p.Version == codec.V31 && len(p.ClientID) > 23 {
			c.bad(c.path+".client_id", "%q has more than the 23 characters that MQTT 3.1 allows", shorten(p.ClientID, 60))
			return
		}
		if _, err := p.AppendTo(nil, p.Version); err != nil {
			c.bad(c.path, "its CONNECT is not legal: %v", err)
			return
		}
	}
}

// expander expands texts that were checked before.
func expander(v *Vars) func(string) string {
	return func(s string) string {
		t, err := ParseTemplate(s)
		if err != nil {
			return s
		}
		return t.Expand(v)
	}
}

// texts checks the templates of properties.
func (c groupChecker) texts(path string, p *Properties, allowed Varies) {
	if p == nil {
		return
	}
	c.properties(path, p)
	for _, t := range p.texts() {
		c.template(path+"."+t.path, t.text, allowed)
	}
}

func (c groupChecker) topicName(path string, t *Template) bool {
	for _, last := range []bool{false, true} {
		name := t.Expand(c.sample(c.r, last))
		if err := topic.CheckName(name, c.r.Version()); err != nil {
			c.bad(path, "%q is not a Topic Name: %v", shorten(name, 60), err)
			return false
		}
	}
	return true
}

func (c groupChecker) subscriptions() {
	seen := map[[2]string]bool{}
	for i := range c.g.Subscribe {
		s, path := &c.g.Subscribe[i], fmt.Sprintf("%s.subscribe[%d]", c.path, i)
		c.qos(path+".qos", s.QoS)
		key := [2]string{s.Share, s.Filter}
		if seen[key] {
			c.bad(path+".filter", "%q is subscribed to already: a second SUBSCRIBE would replace the first", s.Filter)
		}
		seen[key] = true
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"no_local", s.NoLocal},
			{"retain_as_published", s.RetainAsPublished},
			{"retain_handling", s.RetainHandling != 0},
			{"identifier", s.Identifier != 0},
		} {
			if f.set && c.r.Version() != codec.V5 {
				c.bad(path+"."+f.name, "MQTT %s has none: it needs mqtt: 5.0", c.r.MQTT)
			}
		}
		if s.RetainHandling > 2 {
			c.bad(path+".retain_handling", "%d is not 0, 1 or 2", s.RetainHandling)
		}
		if s.Identifier > 268_435_455 {
			c.bad(path+".identifier", "%d is greater than 268435455", s.Identifier)
		}
		if s.Share != "" && strings.ContainsAny(s.Share, "/+#") {
			c.bad(path+".share", "%q holds one of / + #, which no share name may", s.Share)
			continue
		}
		if s.Share != "" && s.NoLocal {
			c.bad(path+".no_local", "it is a protocol error with a shared subscription")
		}
		share := c.template(path+".share", s.Share, perClient&^VariesRandom&^VariesClient)
		filter := c.template(path+".filter", s.Filter, perClient&^VariesRandom)
		if filter == nil || share == nil {
			continue
		}
		for _, last := range []bool{false, true} {
			v := c.sample(c.r, last)
			text := filter.Expand(v)
			if s.Share != "" {
				text = "$share/" + share.Expand(v) + "/" + text
			}
			if err := topic.CheckFilter(text, c.r.Version()); err != nil {
				c.bad(path+".filter", "%q is not a Topic Filter: %v", shorten(text, 60), err)
				break
			}
		}
	}
}

func (c groupChecker) size(path string, s Size) {
	least, most := s.Range()
	if least < 0 || most > MaximumSize || least > most || !(s.Mean >= 0) || !(s.Deviation >= 0) {
		c.bad(path, "%s is not a size from 1 to %d", s, MaximumSize)
	}
}

func (c groupChecker) link() {
	l := c.g.Link
	if l == nil {
		return
	}
	path := c.path + ".link"
	for _, f := range []struct {
		name string
		b    Bandwidth
	}{{"up", l.Up}, {"down", l.Down}} {
		if f.b != 0 && !(f.b >= 1 && f.b <= 1e12) {
			c.bad(path+"."+f.name, "%s is not between 1B/s and 1000GB/s", f.b)
		}
	}
	c.span(path+".delay", l.Delay, time.Hour)
	c.span(path+".jitter", l.Jitter, time.Hour)
	c.span(path+".cut_every", l.CutEvery, maxRun)
	c.span(path+".cut_for", l.CutFor, maxWait)
	c.span(path+".half_open", l.HalfOpen, maxWait)
	if l.CutEvery == 0 {
		for _, f := range []struct {
			name string
			d    time.Duration
		}{{"cut_for", l.CutFor}, {"half_open", l.HalfOpen}, {"cut_jitter", l.CutJitter}} {
			if f.d != 0 {
				c.bad(path+"."+f.name, "it means nothing without cut_every")
			}
		}
		return
	}
	if l.CutEvery < leastCut {
		c.bad(path+".cut_every", "%v is less than %v", l.CutEvery, leastCut)
	}
	if l.CutJitter < 0 || l.CutJitter > l.CutEvery {
		c.bad(path+".cut_jitter", "%v is not between 0 and cut_every, %v", l.CutJitter, l.CutEvery)
	}
}

// publicationChecker checks one stream of messages: p as it is written, r with its defaults.
type publicationChecker struct {
	groupChecker
	path string
	p, r *Publication
}

func (c publicationChecker) check() {
	p := c.p
	c.between(c.path+".topics", p.Topics, 0, maxTopics)
	if t := c.template(c.path+".topic", p.Topic, perTopic); t != nil && c.topicName(c.path+".topic", t) {
		if p.Topics > 1 && !t.Varies().Has(VariesTopic|VariesRandom) {
			c.bad(c.path+".topics", "all %d topics are the same: the topic needs {topic}", p.Topics)
		}
		if p.Topics == 0 && strings.Contains(p.Topic, "{topic") && t.Varies().Has(VariesTopic) && len(t.Groups()) == 0 {
			c.bad(c.path+".topics", "it is missing: say how many values {topic} takes")
		}
	}
	for _, s := range p.QoS {
		if !(s >= 0) || math.IsInf(s, 0) {
			c.bad(c.path+".qos", "%v is not a share", s)
		}
	}
	c.rates()
	c.oneOf(c.path+".arrival", p.Arrival, arrivals)
	c.span(c.path+".start", p.Start, maxRun)
	c.payload()
}

func (c publicationChecker) rates() {
	p := c.p
	c.rate(c.path+".rate", p.Rate)
	c.rate(c.path+".group_rate", p.GroupRate)
	switch {
	case c.w.Model == "closed":
		if p.Rate != 0 || p.GroupRate != 0 {
			c.bad(c.path+".rate", "in the closed model there is none: messages are published as the window has room")
		}
	case p.Rate != 0 && p.GroupRate != 0:
		c.bad(c.path+".group_rate", "rate says it already: write one of them")
	case p.Rate == 0 && p.GroupRate == 0:
		c.bad(c.path+".rate", "it is missing: write rate, of each client, or group_rate, of all together")
	case c.r.Rate*Rate(c.g.Count) > maxRate:
		c.bad(c.path+".rate", "%s for each of %d clients is more than %s", c.r.Rate, c.g.Count, Rate(maxRate))
	}
}

func (c publicationChecker) payload() {
	p, five := c.p, c.groupChecker.r.Version() == codec.V5
	given := 0
	for _, set := range []bool{!p.Size.IsZero(), p.Payload != "", p.File != ""} {
		if set {
			given++
		}
	}
	if given > 1 {
		c.bad(c.path+".payload", "size, payload and file each say what the payload is: write one of them")
	}
	c.size(c.path+".size", p.Size)
	if least, _ := c.r.Size.Range(); c.r.Payload == "" && c.r.File == "" && c.r.Size.Deviation == 0 && least < ProofSize && !five && !c.w.NoVerify {
		c.bad(c.path+".size", "%s is too small for the %d bytes that prove a message: make it larger, use mqtt: 5.0, where a User Property carries them, or set no_verify", p.Size, ProofSize)
	}
	if p.File != "" {
		c.file(c.path+".file", p.File, MaximumSize)
	}
	payload := c.template(c.path+".payload", p.Payload, perMessage)
	if p.Properties == nil {
		return
	}
	if !five {
		c.bad(c.path+".properties", "MQTT %s has none: it needs mqtt: 5.0", c.groupChecker.r.MQTT)
		return
	}
	before := len(c.errs)
	c.texts(c.path+".properties", p.Properties, perMessage)
	if p.Properties.TopicAlias != nil {
		c.bad(c.path+".properties.topic_alias", "an alias belongs to one connection and one topic: it cannot be fixed")
	}
	if p.Properties.SubscriptionID != nil {
		c.bad(c.path+".properties.subscription_identifier", "a client must not send it")
	}
	if len(c.errs) > before || payload == nil {
		return
	}
	v := c.sample(c.groupChecker.r, true)
	q := &codec.Publish{Topic: "t", Payload: payload.Append(nil, v)}
	if err := p.Properties.Append(&q.Props, expander(v)); err != nil {
		return
	}
	if _, err := q.AppendTo(nil, codec.V5); err != nil {
		c.bad(c.path+".properties", "its PUBLISH is not legal: %v", err)
	}
}
