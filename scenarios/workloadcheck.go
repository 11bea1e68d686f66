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
	sampledBytes = 16 << 20 // of all client identifiers that are compared
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
	first, budget := 0, sampledBytes
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
			if budget -= len(id); budget < 0 {
				return
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
