package loadgen

import (
	"crypto/tls"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/topic"
	"github.com/mqlab/mqlab/internal/transport"
	"github.com/mqlab/mqlab/scenarios"
)

// plan is a workload made ready: templates parsed, rates and schedules fixed. It does not change during the run.
type plan struct {
	cfg       *Config
	w         *scenarios.Workload
	run       string
	runID     uint32
	runDigits []byte // hexadecimal digits of runID
	seed      uint64
	profile   profile
	table     phaseTable
	phases    []scenarios.Phase
	groups    []*group
	clients   int
	counts    map[string]int
	sources   []netip.Addr

	closed bool // the model
	max    bool
	window int
	verify bool
	offers float64 // messages per second at factor 1
	notes  []string
	inText bool // some messages carry their proof in the text
	shares map[string]*shared

	began       time.Time // origin of the workers' clock
	wall        func() time.Time
	dialsAtOnce int
	named       bool  // phases name single clients
	start       int64 // when the first message was due, on the workers' clock
}

// group is a client group made ready.
type group struct {
	*scenarios.Group
	p         *plan
	index     int
	first     int // of its clients in the workload
	version   codec.Version
	clean     bool
	keepAlive int64

	clientID, username, password *scenarios.Template
	credentials                  []scenarios.Credential
	will                         *will
	connectProps                 propTemplates

	subs    []*subscription
	pubs    []*publication
	streams int // of each client

	target transport.Target
	url    string
	addrs  []netip.AddrPort
	path   string // of a unix socket that is dialled directly
	direct bool   // the worker does input and output itself
	tls    *tls.Config
	cert   [2]*scenarios.Template
	shared bool
}

type will struct {
	*scenarios.WillMessage
	topic, payload *scenarios.Template
	props          propTemplates
}

type subscription struct {
	*scenarios.Subscription
	filter *scenarios.Template
	qos    codec.QoS // the highest of all phases
}

// Where a message carries its proof.
type proofPlace uint8

const (
	proofNone proofPlace = iota
	proofHead
	proofProperty5
	proofInText
)

// publication is a publication of a group made ready.
type publication struct {
	*scenarios.Publication
	g       *group
	index   int
	ordinal int // in the workload
	topic   *scenarios.Template
	topics  int
	perMsg  bool // the topic differs from message to message
	levels  []uint8
	slot    [3]int     // place of a QoS in levels
	mix     [3]float64 // cumulative shares
	base    int        // first stream
	rate    float64    // of each client
	flood   bool       // no schedule: as the window allows
	arrival arrival
	shift   float64

	payload *scenarios.Template
	filler  []byte // of generated payloads, or the file's content
	place   proofPlace
	props   propTemplates
	request bool // has a Response Topic
	awaited bool // answers can be told, and may come to the publisher
}

// filler is what generated payloads hold behind the header: printable, and the same in every run.
func makeFiller(n int) []byte {
	const text = "mqlab load "
	b := make([]byte, n)
	for i := range b {
		b[i] = text[i%len(text)]
	}
	return b
}

// most is how many phases, and how many publications of a group, a timer can tell apart.
const most = 256

// newPlan prepares the workload, which has been resolved and validated.
func newPlan(cfg *Config) (*plan, error) {
	if cfg.Workload == nil {
		return nil, errors.New("a load run needs a workload")
	}
	w := cfg.Workload.Resolved()
	p := &plan{
		cfg: cfg, w: w, run: cfg.Run, seed: w.Seed, phases: w.Phases, closed: w.Model == "closed", max: cfg.Max,
		window: w.Window, verify: !cfg.NoVerify && !w.NoVerify, counts: map[string]int{}, wall: cfg.Now, sources: cfg.Sources,
	}
	if p.wall == nil {
		p.wall = time.Now
	}
	if p.run == "" {
		p.run = fmt.Sprintf("%06x", rand.Uint32()>>8)
	}
	if p.seed == 0 {
		p.seed = rand.Uint64()>>12 | 1
	}
	p.runID = crc32.Checksum([]byte(p.run), castagnoli)
	p.runDigits = fmt.Appendf(nil, "%08x", p.runID)
	if len(p.phases) == 0 {
		p.phases = []scenarios.Phase{{Name: "hold", Kind: "hold", For: 10 * time.Second}}
	}
	if p.max {
		p.closed = true
	}
	if p.closed && p.window == 0 {
		p.window = 20
	}
	if len(p.phases) > most {
		return nil, fmt.Errorf("the workload has %d phases, more than %d", len(p.phases), most)
	}
	p.profile, p.table = newProfile(p.phases), newPhaseTable(p.phases)
	for i := range w.Clients {
		p.counts[w.Clients[i].Name] = w.Clients[i].Count
	}
	for i := range w.Clients {
		g, err := p.group(&w.Clients[i], i)
		if err != nil {
			return nil, fmt.Errorf("group %q: %w", w.Clients[i].Name, err)
		}
		p.groups = append(p.groups, g)
		p.clients += g.Count
	}
	if p.clients == 0 {
		return nil, errors.New("the workload has no clients")
	}
	p.named = p.namesClients()
	return p, nil
}

// namesClients says that phases act on single clients.
func (p *plan) namesClients() bool {
	return slices.ContainsFunc(p.phases, func(ph scenarios.Phase) bool {
		return ph.Kind == "storm" || ph.Kind == "churn" || ph.Kind == "takeover"
	})
}

func (p *plan) group(sg *scenarios.Group, index int) (*group, error) {
	g := &group{Group: sg, p: p, index: index, first: p.clients}
	version := sg.MQTT
	if version == "" {
		version = p.w.MQTT
	}
	switch version {
	case "3.1":
		g.version = codec.V31
	case "5.0", "5":
		g.version = codec.V5
	default:
		g.version = codec.V4
	}
	g.clean = sg.CleanStart == nil || *sg.CleanStart
	g.keepAlive = int64(sg.KeepAlive)

	var parse templates
	id := sg.ClientID
	if id == "" {
		id = "{run}-{group}-{index}"
	}
	g.clientID = parse.one("client_id", id)
	g.username, g.password = parse.one("username", sg.Username), parse.one("password", sg.Password)
	if sg.Will != nil {
		g.will = &will{
			WillMessage: sg.Will, topic: parse.one("will.topic", sg.Will.Topic), payload: parse.one("will.payload", sg.Will.Payload),
			props: parse.properties("will.properties", sg.Will.Properties),
		}
	}
	g.connectProps = parse.properties("properties", sg.Properties)
	if sg.TLS != nil {
		g.cert = [2]*scenarios.Template{parse.one("tls.cert", sg.TLS.Cert), parse.one("tls.key", sg.TLS.Key)}
	}
	for i := range sg.Subscribe {
		s := &sg.Subscribe[i]
		text := s.Filter
		if s.Share != "" {
			text = "$share/" + s.Share + "/" + s.Filter
		}
		if _, _, shared, err := topic.ParseShared(text); err == nil && shared {
			g.shared = true
		}
		g.subs = append(g.subs, &subscription{
			Subscription: s, filter: parse.one("subscribe.filter", text), qos: codec.QoS(max(s.QoS, p.highestQoS())),
		})
	}
	if len(sg.Publish) > most {
		return nil, fmt.Errorf("it has %d publications, more than %d", len(sg.Publish), most)
	}
	for i := range sg.Publish {
		pub, err := p.publication(&parse, g, &sg.Publish[i], i)
		if err != nil {
			return nil, fmt.Errorf("publish %d: %w", i+1, err)
		}
		g.pubs = append(g.pubs, pub)
	}
	if parse.err != nil {
		return nil, parse.err
	}
	if sg.Credentials != "" {
		c, err := scenarios.LoadCredentials(p.w.Path(sg.Credentials))
		if err != nil {
			return nil, err
		}
		g.credentials = c
	}
	return g, p.where(g)
}

// highestQoS is the highest QoS that a phase sets for all, 0 where none does.
func (p *plan) highestQoS() uint8 {
	var q uint8
	for i := range p.phases {
		if o := p.phases[i].QoS; o != nil {
			q = max(q, *o)
		}
	}
	return q
}

func (p *plan) publication(parse *templates, g *group, sp *scenarios.Publication, index int) (*publication, error) {
	pub := &publication{Publication: sp, g: g, index: index, topics: max(1, sp.Topics), base: g.streams}
	for _, other := range p.groups {
		pub.ordinal += len(other.pubs)
	}
	pub.ordinal += index
	pub.topic = parse.one("topic", sp.Topic)
	if parse.err != nil {
		return pub, nil
	}
	pub.perMsg = pub.topic.Varies().Has(scenarios.VariesTopic) && pub.topics > 1

	pub.levels = p.levels(sp.QoS)
	for i, q := range pub.levels {
		pub.slot[q] = i
	}
	total := sp.QoS[0] + sp.QoS[1] + sp.QoS[2]
	if total == 0 {
		pub.mix = [3]float64{1, 1, 1}
	} else {
		sum := 0.0
		for q, share := range sp.QoS {
			sum += share
			pub.mix[q] = sum / total
		}
	}
	g.streams += pub.topics * len(pub.levels)
	if g.streams >= 1<<24 {
		return nil, fmt.Errorf("each client would publish to more than %d topics: lower topics", 1<<24)
	}

	switch {
	case p.closed:
		pub.flood = true
	case sp.GroupRate > 0:
		pub.rate = float64(sp.GroupRate) / float64(max(1, g.Count))
	default:
		pub.rate = float64(sp.Rate)
	}
	p.offers += pub.rate * float64(g.Count)
	switch sp.Arrival {
	case "poisson":
		pub.arrival = arrivePoisson
	case "together":
		pub.arrival = arriveTogether
	}
	pub.shift = p.profile.integral(sp.Start.Seconds())

	pub.props = parse.properties("properties", sp.Properties)
	pub.request = sp.Properties != nil && sp.Properties.ResponseTopic != nil
	pub.awaited = pub.request && sp.Properties.CorrelationData == nil && g.version == codec.V5 && len(g.Subscribe) > 0
	switch {
	case sp.Payload != "":
		pub.payload = parse.one("payload", sp.Payload)
		if parse.err != nil {
			return pub, nil
		}
		switch {
		case pub.payload.Varies().Has(scenarios.VariesProof):
			pub.place = proofInText
			p.inText = true
		case g.version == codec.V5:
			pub.place = proofProperty5
		}
	case sp.File != "":
		b, err := os.ReadFile(p.w.Path(sp.File))
		if err != nil {
			return nil, err
		}
		pub.filler = b
		if g.version == codec.V5 {
			pub.place = proofProperty5
		}
	default:
		pub.filler = makeFiller(largest(sp.Size))
		pub.place = proofHead
		switch {
		case smallest(sp.Size) >= proofSize || !p.verify:
		case g.version == codec.V5:
			pub.place = proofProperty5
		default:
			p.notes = append(p.notes, fmt.Sprintf(
				"messages of group %s to %s that are smaller than %d bytes carry no proof and are not verified", g.Name, sp.Topic, proofSize))
		}
	}
	if pub.place == proofNone && p.verify {
		p.notes = append(p.notes, fmt.Sprintf(
			"messages of group %s to %s carry the user's payload without {proof} and are not verified", g.Name, sp.Topic))
	}
	if !p.verify {
		pub.place = proofNone
	}
	return pub, nil
}

// levels are the QoS that messages of a publication can have.
func (p *plan) levels(m scenarios.QoSMix) []uint8 {
	var has [3]bool
	for i := range p.phases {
		if o := p.phases[i].QoS; o != nil {
			has[*o] = true
			continue
		}
		for q, share := range m {
			has[q] = has[q] || share > 0
		}
		has[0] = has[0] || m == scenarios.QoSMix{}
	}
	var out []uint8
	for q, h := range has {
		if h {
			out = append(out, uint8(q))
		}
	}
	return out
}

func smallest(s scenarios.Size) int {
	switch {
	case s.Max > 0:
		return s.Min
	case s.Mean > 0:
		return 0
	}
	return fixedSize(s)
}

func largest(s scenarios.Size) int {
	switch {
	case s.Max > 0:
		return s.Max
	case s.Mean > 0:
		return int(math.Min(s.Mean+8*s.Deviation, scenarios.MaximumSize))
	}
	return fixedSize(s)
}

func fixedSize(s scenarios.Size) int { return s.Fixed }

// size is the payload size of a message, by its random number.
func (pub *publication) size(x uint64) int {
	switch s := &pub.Size; {
	case s.Max > 0:
		return s.Min + int(x%uint64(s.Max-s.Min+1))
	case s.Mean > 0:
		return min(max(0, int(math.Round(s.Mean+s.Deviation*normal(x)))), len(pub.filler))
	default:
		return fixedSize(*s)
	}
}

// stream is the number of a stream among those of a client.
func (pub *publication) stream(topicIndex int, qos uint8) int {
	return pub.base + topicIndex*len(pub.levels) + pub.slot[qos]
}

// locate is the reverse of stream.
func (g *group) locate(stream int) (pub *publication, topicIndex int, qos uint8, ok bool) {
	for _, pub := range g.pubs {
		if i := stream - pub.base; i >= 0 && i < pub.topics*len(pub.levels) {
			return pub, i / len(pub.levels), pub.levels[i%len(pub.levels)], true
		}
	}
	return nil, 0, 0, false
}

// qosOf is the QoS of a message by its random number and its due instant.
func (pub *publication) qosOf(x uint64, phase int) uint8 {
	if o := pub.g.p.phases[phase].QoS; o != nil {
		return *o
	}
	if len(pub.levels) == 1 {
		return pub.levels[0]
	}
	switch u := unit(x); {
	case u < pub.mix[0]:
		return 0
	case u < pub.mix[1]:
		return 1
	}
	return 2
}

// windowOf bounds what a client may have under way in a phase; 0 is no bound.
func (p *plan) windowOf(phase int) int {
	if phase >= 0 && phase < len(p.phases) && p.phases[phase].Window > 0 {
		return p.phases[phase].Window
	}
	return p.window
}

// vars are what the placeholders of a client stand for.
func (g *group) vars(index int) *scenarios.Vars {
	return &scenarios.Vars{
		Run: g.p.run, Group: g.Name, Index: index, Client: g.first + index, Count: g.Count, Counts: g.p.counts,
	}
}

// expand is the text of a template for a client. What is random in it is the same whenever it is expanded.
func (g *group) expand(t *scenarios.Template, index, place int) string {
	if t == nil {
		return ""
	}
	if s, ok := t.Constant(); ok {
		return s
	}
	v := g.vars(index)
	if t.Varies().Has(scenarios.VariesRandom) {
		v.Rand = rand.New(rand.NewPCG(draw(g.p.seed, forText, uint64(v.Client), uint64(place)), 1))
	}
	return string(t.Append(nil, v))
}

// topicOf is the Topic Name of a client's publication.
func (pub *publication) topicOf(index, topicIndex int) string {
	if s, ok := pub.topic.Constant(); ok {
		return s
	}
	v := pub.g.vars(index)
	v.Topic = topicIndex
	if pub.topic.Varies().Has(scenarios.VariesRandom) {
		place := uint64(pub.ordinal)<<32 | uint64(topicIndex)
		v.Rand = rand.New(rand.NewPCG(draw(pub.g.p.seed, forTopic, uint64(v.Client), place), 1))
	}
	return string(pub.topic.Append(nil, v))
}

// templates parses templates and keeps the first fault.
type templates struct{ err error }

func (t *templates) one(field, text string) *scenarios.Template {
	tpl, err := scenarios.ParseTemplate(text)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("%s: %w", field, err)
	}
	return tpl
}
