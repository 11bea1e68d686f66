package scenarios

import (
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/transport"
)

// The bounds of a workload.
const (
	maxClients   = 2_000_000
	maxList      = 1000 // groups, phases, streams of a group and so on
	maxRun       = 31 * 24 * time.Hour
	maxFactor    = 1e6
	maxTopics    = 1_000_000
	maxRate      = 1e8
	maxWindow    = 65_535
	leastCut     = 10 * time.Millisecond
	sampledIDs   = 2000
	maxSecs      = math.MaxUint32
	maxKeepAlive = 65_535 * time.Second
)

// groupName is also what client identifiers and labels of metrics are made of.
var groupName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

var (
	models     = []string{"open", "closed"}
	arrivals   = []string{"even", "poisson", "together"}
	phaseKinds = []string{"ramp", "hold", "step", "spike", "storm", "churn", "takeover", "idle"}
)

// workloadChecker collects the problems of a workload. r is the workload with its defaults.
type workloadChecker struct {
	checker
	w, r *Workload
}

// What the texts of a workload may depend on.
const (
	perClient  = VariesRun | VariesGroup | VariesClient | VariesRandom
	perTopic   = perClient | VariesTopic
	perMessage = perTopic | VariesMessage | VariesProof
)

// Validate reports every problem of the workload by the path of its field.
func (w *Workload) Validate() error {
	c := &workloadChecker{w: w, r: w.Resolved()}
	if w.Kind != KindWorkload {
		c.bad("kind", "%q is not a workload: write \"kind: workload\"", w.Kind)
	}
	if strings.TrimSpace(w.Title) == "" {
		c.bad("title", "it is missing: say in one line what is loaded, and how")
	}
	c.version("mqtt", w.MQTT)
	c.oneOf("model", w.Model, models)
	c.between("window", w.Window, 0, maxWindow)
	c.rate("connect_rate", w.ConnectRate)
	c.span("drain", w.Drain, maxWait)
	switch n := w.ClientCount(); {
	case len(w.Clients) == 0:
		c.bad("clients", "there are none: a workload needs at least one group")
	case n > maxClients:
		c.bad("clients", "%d clients are more than %d", n, maxClients)
	}
	c.length("clients", len(w.Clients))
	c.length("phases", len(w.Phases))
	c.length("thresholds", len(w.Thresholds))
	if len(c.errs) > 0 && max(len(w.Clients), len(w.Phases), len(w.Thresholds)) > maxList {
		return errors.Join(c.errs...)
	}
	names := map[string]bool{}
	for i := range w.Clients {
		path := fmt.Sprintf("clients[%d]", i)
		g := &w.Clients[i]
		switch {
		case !groupName.MatchString(g.Name):
			c.bad(path+".name", "%q is not a name: use up to 32 letters, digits, - and _", g.Name)
		case names[g.Name]:
			c.bad(path+".name", "%q is the name of an earlier group: names are used once", g.Name)
		}
		names[g.Name] = true
	}
	for i := range w.Clients {
		g := groupChecker{c, fmt.Sprintf("clients[%d]", i), &w.Clients[i], &c.r.Clients[i]}
		g.check()
	}
	if len(c.errs) == 0 {
		c.clientIDs()
	}
	c.phases()
	c.thresholds()
	return errors.Join(c.errs...)
}

func (c *workloadChecker) length(path string, n int) {
	if n > maxList {
		c.bad(path, "there are %d, more than %d", n, maxList)
	}
}

func (c *workloadChecker) version(path, s string) {
	if s != "" && versions[s] == 0 {
		c.bad(path, "%q is not a version: write 3.1, 3.1.1 or 5.0", s)
	}
}

func (c *workloadChecker) oneOf(path, s string, known []string) {
	if s == "" || slices.Contains(known, s) {
		return
	}
	if near := nearest(s, known); near != "" {
		c.bad(path, "%q is not known, did you mean %s?", s, near)
		return
	}
	c.bad(path, "%q is not known: write %s", s, strings.Join(known, ", "))
}

func (c *workloadChecker) between(path string, n, least, most int) {
	if n < least || n > most {
		c.bad(path, "%d is not between %d and %d", n, least, most)
	}
}

func (c *workloadChecker) rate(path string, r Rate) {
	if !(r >= 0 && r <= maxRate) {
		c.bad(path, "%s is not between 0 and %s", r, Rate(maxRate))
	}
}

func (c *workloadChecker) span(path string, d, most time.Duration) {
	if d < 0 || d > most {
		c.bad(path, "%v is not between 0 and %v", d, most)
	}
}

// seconds checks a duration that travels as a whole number of seconds.
func (c *workloadChecker) seconds(path string, d, most time.Duration) {
	switch {
	case d < 0 || d > most:
		c.bad(path, "%v is not between 0 and %v", d, most)
	case d%time.Second != 0:
		c.bad(path, "%v is not a whole number of seconds, in which MQTT counts it", d)
	}
}

func (c *workloadChecker) qos(path string, q uint8) {
	if q > 2 {
		c.bad(path, "%d is not 0, 1 or 2", q)
	}
}

// sample are variables such as a run has, of the first or the last client of a group.
func (c *workloadChecker) sample(g *Group, last bool) *Vars {
	v := &Vars{
		Run: "k3x9q7ab", Group: g.Name, Count: g.Count, Counts: c.r.Counts(), Time: time.Unix(1_700_000_000, 0),
		Proof: make([]byte, ProofSize),
	}
	if last {
		v.Index, v.Client, v.Seq = max(0, g.Count-1), max(0, c.r.ClientCount()-1), 999_999
	}
	return v
}

// template reads a template and checks what it depends on. nil means that there is a problem.
func (c *workloadChecker) template(path, s string, allowed Varies) *Template {
	t, err := ParseTemplate(s)
	if err != nil {
		c.bad(path, "%v", err)
		return nil
	}
	fine := true
	if extra := t.Varies() &^ allowed; extra != 0 {
		fine = false
		hint := "it is settled before the first message"
		if extra.Has(VariesMessage) && allowed.Has(VariesTopic) {
			hint = "topics are settled before the run: use {topic}, with topics for how many there are"
		}
		c.bad(path, "it cannot vary by %s: %s", extra, hint)
	}
	for _, name := range t.Groups() {
		if c.w.Counts()[name] == 0 {
			fine = false
			c.bad(path, "%s", c.unknownGroup(name))
		}
	}
	if !allowed.Has(VariesMessage) { // braces are part of many payloads, and of few names
		for _, s := range t.Suspects() {
			fine = false
			c.bad(path, "%s", s)
		}
	}
	if !fine {
		return nil
	}
	return t
}

func (c *workloadChecker) unknownGroup(name string) string {
	var known []string
	for i := range c.w.Clients {
		known = append(known, c.w.Clients[i].Name)
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("there is no group %q, did you mean %s?", name, near)
	}
	return fmt.Sprintf("there is no group %q: there are %s", name, strings.Join(known, ", "))
}

// file checks that a file is there.
func (c *workloadChecker) file(path, name string, most int64) bool {
	info, err := os.Stat(c.w.Path(name))
	switch {
	case err != nil:
		c.bad(path, "the file %s cannot be read: %v", c.w.Path(name), errors.Unwrap(err))
	case info.IsDir():
		c.bad(path, "%s is a folder", c.w.Path(name))
	case info.Size() > most:
		c.bad(path, "%s has %d bytes, more than %d", c.w.Path(name), info.Size(), most)
	default:
		return true
	}
	return false
}

// clientIDs finds two clients that would take each other's session. Of large groups the first clients and the last are
// looked at.
func (c *workloadChecker) clientIDs() {
	seen := map[string]string{}
	first := 0
	counts := c.r.Counts()
	for i := range c.r.Clients {
		g := &c.r.Clients[i]
		path := fmt.Sprintf("clients[%d].client_id", i)
		t, err := ParseTemplate(g.ClientID)
		if err != nil || t.Varies().Has(VariesRandom) {
			first += g.Count
			continue
		}
		v := Vars{Run: "k3x9q7ab", Group: g.Name, Count: g.Count, Counts: counts}
		var credentials []Credential
		if g.Credentials != "" {
			if credentials, err = LoadCredentials(c.w.Path(g.Credentials)); err != nil {
				c.bad(fmt.Sprintf("clients[%d].credentials", i), "%s: %v", g.Credentials, err)
				continue
			}
		}
		for n := 0; n < g.Count; n++ {
			if n == sampledIDs {
				n = g.Count - 1
			}
			v.Index, v.Client = n, first+n
			id := t.Expand(&v)
			if credentials != nil {
				if own := credentials[n%len(credentials)].ClientID; own != "" {
					id = own
				}
			}
			who := fmt.Sprintf("%s %d", g.Name, n)
			if other, taken := seen[id]; taken {
				c.bad(path, "%s and %s would both be %q and take each other's connection: use {index} and {group}", other, who, shorten(id, 60))
				break
			}
			seen[id] = who
		}
		first += g.Count
	}
}

func (c *workloadChecker) phases() {
	names := map[string]bool{}
	for i := range c.w.Phases {
		p, path := &c.w.Phases[i], fmt.Sprintf("phases[%d]", i)
		if p.Name != "" {
			if !groupName.MatchString(p.Name) {
				c.bad(path+".name", "%q is not a name: use up to 32 letters, digits, - and _", p.Name)
			}
			if names[p.Name] {
				c.bad(path+".name", "%q is the name of an earlier phase: names are used once", p.Name)
			}
			names[p.Name] = true
		}
		if p.Kind == "" {
			c.bad(path+".kind", "it is missing: write %s", strings.Join(phaseKinds, ", "))
			continue
		}
		if !slices.Contains(phaseKinds, p.Kind) {
			c.oneOf(path+".kind", p.Kind, phaseKinds)
			continue
		}
		c.phase(path, p)
	}
	if d := c.w.Duration(); d > maxRun {
		c.bad("phases", "they take %v together, more than %v", d, maxRun)
	}
}

func (c *workloadChecker) phase(path string, p *Phase) {
	if p.For <= 0 || p.For > maxRun {
		c.bad(path+".for", "say how long the phase lasts, up to %v", maxRun)
	}
	only := func(set bool, name string, kinds ...string) {
		if set && !slices.Contains(kinds, p.Kind) {
			c.bad(path+"."+name, "it means nothing for %s: it goes with %s", p.Kind, strings.Join(kinds, ", "))
		}
	}
	only(p.From != p.To && p.From != 0, "from", "ramp", "step", "spike")
	only(p.To != 0, "to", "ramp", "hold", "step", "spike", "storm", "churn", "takeover")
	only(p.Steps != 0, "steps", "step")
	only(len(p.Groups) > 0, "groups", "storm", "churn", "takeover")
	only(p.Share != 0, "share", "storm")
	only(p.Rate != 0, "rate", "storm", "churn", "takeover")
	only(p.Abrupt, "abrupt", "churn")
	c.factor(path+".from", p.From)
	c.factor(path+".to", p.To)
	if p.Steps != 0 {
		c.between(path+".steps", p.Steps, 2, 1000)
	}
	if !(p.Share >= 0 && p.Share <= 1) {
		c.bad(path+".share", "%v is not between 0 and 1", p.Share)
	}
	c.rate(path+".rate", p.Rate)
	if (p.Kind == "churn" || p.Kind == "takeover") && p.Rate == 0 {
		c.bad(path+".rate", "say how many clients per second, such as 50/s")
	}
	for i, name := range p.Groups {
		if c.w.Counts()[name] == 0 {
			c.bad(fmt.Sprintf("%s.groups[%d]", path, i), "%s", c.unknownGroup(name))
		}
	}
	if p.QoS != nil {
		c.qos(path+".qos", *p.QoS)
	}
	c.between(path+".window", p.Window, 0, maxWindow)
}

func (c *workloadChecker) factor(path string, f float64) {
	if !(f >= 0 && f <= maxFactor) {
		c.bad(path, "%v is not a factor between 0 and %v", f, maxFactor)
	}
}

func (c *workloadChecker) thresholds() {
	var phases []string
	for i := range c.r.Phases {
		phases = append(phases, c.r.Phases[i].Name)
	}
	for i, text := range c.w.Thresholds {
		path := fmt.Sprintf("thresholds[%d]", i)
		t, err := ParseThreshold(text)
		if err != nil {
			c.bad(path, "%v", err)
			continue
		}
		for _, term := range t.Terms() {
			if g, ok := term.Labels["group"]; ok && c.w.Counts()[g] == 0 {
				c.bad(path, "%s", c.unknownGroup(g))
			}
			if p, ok := term.Labels["phase"]; ok && !slices.Contains(phases, p) {
				c.bad(path, "there is no phase %q: there are %s", p, strings.Join(phases, ", "))
			}
		}
	}
}

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
			{"no_local", s.NoLocal}, {"retain_as_published", s.RetainAsPublished},
			{"retain_handling", s.RetainHandling != 0}, {"identifier", s.Identifier != 0},
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
