package conformance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net"
	"runtime/debug"
	"slices"
	"sort"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/transport"
)

// ErrUnreachable reports that the target does not accept connections or speaks none of the versions.
var ErrUnreachable = errors.New("the target cannot be reached")

// Event tells a listener what a run is doing. Done is nil when a check begins.
type Event struct {
	Check   string
	Version Versions
	Done    *CheckResult
	Number  int // checks finished so far
	Total   int
}

// run is one execution of the suite.
type run struct {
	cfg      Config
	id       string
	dial     func(context.Context) (net.Conn, error)
	features map[Versions]*Features
	jobs     []job
	numbers  map[jobKey]int
	server   *server       // not nil where the suite starts the target
	client   *clientTarget // not nil where the target is a client

	salted saltedKeys
	after  func(*T) // if set, is called at the end of every script, before its connections are closed

	died atomic.Pointer[string] // why no further check can run: the target died
}

type job struct {
	check   *Check
	version Versions
}

type jobKey struct {
	name    string
	version Versions
	attempt int
}

// Run checks the target and returns the report. The error is about the run itself: a target
// that cannot be reached, or a configuration that makes no sense. When ctx ends, what was found
// so far is reported with Interrupted set, and the target is still left as it was found.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, id: runID(), features: map[Versions]*Features{}, numbers: map[jobKey]int{}}
	stopTarget, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer stopTarget()
	started := time.Now()
	if err := r.discover(ctx); err != nil {
		return nil, err
	}
	r.plan()
	results := r.execute(ctx)
	r.collectEvidence(ctx, results)
	return r.report(ctx, started, results), nil
}

func runID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	id := make([]byte, 5)
	for i := range id {
		n, err := rand.Int(rand.Reader, big.NewInt(36))
		if err != nil {
			panic("conformance: no randomness: " + err.Error())
		}
		id[i] = letters[n.Int64()]
	}
	return string(id)
}

// Select returns the checks that the configuration asks for, each with its version, in the
// order in which they start: those that wait longest first.
func (c Config) Select() []Selected {
	c = c.withDefaults()
	var out []Selected
	for _, ck := range c.Checks {
		for _, v := range ck.Versions.Split() {
			if !c.Versions.Has(v) || c.Fast && ck.Slow > 0 || c.NoGlobalFilters && ck.Global || !c.wants(ck, v) {
				continue
			}
			out = append(out, Selected{ck, v})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Check.Slow > out[j].Check.Slow })
	return out
}

// Selected is one check under one version.
type Selected struct {
	Check   *Check
	Version Versions
}

// wants matches the globs with the check's name and the ids of its rules.
func (c *Config) wants(ck *Check, v Versions) bool {
	if len(c.Run) == 0 {
		return true
	}
	for _, g := range c.Run {
		if rules.Match(g, ck.Name) || slices.ContainsFunc(ck.RulesFor(v), func(id string) bool { return rules.Match(g, id) }) {
			return true
		}
	}
	return false
}

func (r *run) plan() {
	for _, s := range r.cfg.Select() {
		r.jobs = append(r.jobs, job{s.Check, s.Version})
		for attempt := range 2 * r.repetitions(s.Check) {
			r.numbers[jobKey{s.Check.Name, s.Version, attempt}] = len(r.numbers) + 1 // 0 is the probe's
		}
	}
}

func (r *run) checkNumber(c *Check, v Versions, attempt int) int {
	return r.numbers[jobKey{c.Name, v, attempt}]
}

// runCheck runs one check as often as it takes to believe what it says.
func (r *run) runCheck(ctx context.Context, j job) *CheckResult {
	if res := r.skip(j); res != nil {
		return res
	}
	started := time.Now()
	res := r.repeat(ctx, j)
	res.Elapsed = max(time.Since(started), 1)
	return res
}

// repetitions is how often a check runs.
func (r *run) repetitions(c *Check) int { return max(1, c.Races, r.cfg.Repeat) }

// repeat runs the check as often as it takes to see a race, and reports the worst outcome with
// the breaches of all. One that fails twice at once is no race, and is not repeated further.
func (r *run) repeat(ctx context.Context, j job) *CheckResult {
	n := r.repetitions(j.check)
	worst := r.settled(ctx, j, 0)
	if n == 1 {
		return worst
	}
	failed, ran := 0, 0
	if worst.Verdict >= Warn {
		failed = 1
	}
	for ran = 1; ran < n && (failed < 2 || failed < ran) && ctx.Err() == nil && worst.Verdict != Errored && worst.Verdict != BrokerDied; ran++ {
		res := r.settled(ctx, j, ran)
		if res.Verdict >= Warn {
			failed++
		}
		if res.Verdict > worst.Verdict {
			res, worst = worst, res
		}
		worst.merge(res)
	}
	worst.Attempts, worst.Failed = ran, failed
	if failed > 0 {
		worst.Reason = fmt.Sprintf("%d of %d attempts failed: %s", failed, ran, worst.Reason)
	}
	return worst
}

// merge takes over what another attempt saw: its breaches of rules that are not broken here, and
// what the passive judge counted.
func (c *CheckResult) merge(o *CheckResult) {
	own := c.Findings
	for _, f := range o.Findings {
		if !f.OK && f.Grade != GradeNote && !slices.ContainsFunc(own, func(g Finding) bool { return !g.OK && g.Rule == f.Rule && g.Grade <= f.Grade }) {
			c.Findings = append(c.Findings, f)
		}
	}
	for id, n := range o.seen {
		c.seen[id] += n
	}
}

// settled runs one attempt, and another with settle pauses where its only breaches depend on
// one connection's act being visible on another, or with more time where that may settle it.
func (r *run) settled(ctx context.Context, j job, repetition int) *CheckResult {
	res := r.attempt(ctx, j, 2*repetition)
	switch {
	case ctx.Err() != nil:
	case res.again:
		return r.attempt(ctx, j, 2*repetition+1)
	case res.crossing:
		first := res
		res = r.attempt(ctx, j, 2*repetition+1)
		res.Attempts, res.Failed = 2, 1
		if res.Verdict >= Warn {
			res.Failed = 2
		} else if res.Reason == "" {
			res.Reason = "a first attempt without settle pauses failed: " + first.Reason
		}
	}
	return res
}

// gone reports whether the target, which did accept connections, refuses several in a row.
func (r *run) gone(ctx context.Context) bool {
	for range 3 {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return false
		}
		if nc, err := r.dial(ctx); err == nil {
			_ = nc.Close()
			return false
		}
	}
	return ctx.Err() == nil
}

// skip returns the verdict of a check that cannot run on this target.
func (r *run) skip(j job) *CheckResult {
	res := &CheckResult{Name: j.check.Name, Version: j.version, Rules: j.check.RulesFor(j.version), Axis: j.check.AxisFor(j.version), Verdict: NotApplicable}
	f := r.features[j.version]
	if !f.Served {
		res.Reason = f.Evidence
		return res
	}
	if why := j.check.Needs.missing(f.Capabilities); why != "" {
		res.Reason = why
		return res
	}
	if during := r.died.Load(); during != nil {
		res.Verdict, res.Reason = Inconclusive, "the target died earlier: "+*during
		return res
	}
	return nil
}

// newT returns what an attempt of the check acts through.
func (r *run) newT(ctx context.Context, j job, attempt int) *T {
	return &T{
		run: r, check: j.check, version: j.version, attempt: attempt, ctx: ctx, began: time.Now(),
		transcript: peer.NewTranscript(r.cfg.secrets()...),
		retained:   map[string]bool{}, sessions: map[string]bool{},
	}
}

func (r *run) attempt(ctx context.Context, j job, attempt int) *CheckResult {
	t := r.newT(ctx, j, attempt)
	ended := t.call()
	t.transcript.Act(peer.Act{Kind: peer.ActClose}) // of no connection: the end of the script
	if r.after != nil {
		r.after(t)
	}
	t.leave()
	for _, c := range t.launched {
		if how := c.died(); how != "" {
			ended = &stop{BrokerDied, how + c.says()}
		}
	}
	if !r.cfg.Ephemeral {
		t.cleanUp()
	}
	res := t.result(ended)
	if r.cfg.Evidence {
		res.script = t
	}
	return res
}

// call runs the check and returns how it ended early, if it did.
func (t *T) call() (ended *stop) {
	defer func() {
		switch e := recover().(type) {
		case nil:
		case stop:
			ended = &e
		default:
			ended = &stop{Errored, fmt.Sprintf("the check panicked: %v\n%s", e, debug.Stack())}
		}
	}()
	t.check.Run(t)
	return nil
}

// result sums up the findings of one attempt.
func (t *T) result(ended *stop) *CheckResult {
	res := &CheckResult{
		Name: t.check.Name, Version: t.version, Rules: t.check.RulesFor(t.version), Axis: t.check.AxisFor(t.version), Attempts: 1,
		Findings: t.findings,
	}
	active := len(t.findings)
	t.passive(res)
	for _, f := range res.Findings {
		v := Pass
		if !f.OK {
			v = f.Grade.verdict()
		}
		res.Verdict = max(res.Verdict, v)
		if !f.OK && f.Grade != GradeNote && res.Reason == "" {
			res.Reason = fmt.Sprintf("expected %s; got %s", f.Expected, f.Actual)
		}
	}
	res.crossing = res.Verdict >= Warn && !slices.ContainsFunc(res.Findings, func(f Finding) bool {
		return !f.OK && f.Grade != GradeNote && !f.crossing
	})
	switch {
	case ended != nil && ended.verdict == Errored, ended != nil && ended.verdict == BrokerDied:
		res.Verdict, res.Reason, res.crossing = ended.verdict, ended.reason, false
	case ended != nil && ended.reason != "" && res.Verdict < Warn:
		res.Verdict, res.Reason, res.again = ended.verdict, ended.reason, t.hurried
	case ended == nil && active == 0:
		res.Verdict, res.Reason = Errored, "the check judged nothing"
	}
	if res.Verdict >= Warn || t.run.cfg.Transcripts || t.run.server != nil { // needed where the target turns out to have died
		res.Transcript = t.transcript.Entries()
	}
	return res
}

func (t *T) elapsed() time.Duration { return t.transcript.Elapsed() }

// cleanUp leaves the target as it was found: retained messages and sessions of the check go.
// It is done on interrupt too, and nothing is judged any more.
func (t *T) cleanUp() {
	if len(t.retained) == 0 && len(t.sessions) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), t.run.cfg.Timeout)
	defer cancel()
	connect := func(p *codec.Connect) *peer.Conn {
		nc, err := t.run.dial(ctx)
		if err != nil {
			return nil
		}
		c := peer.New(nc, peer.Config{Name: "cleanup", Version: t.Version(), AutoAck: true})
		if c.Send(p) != nil {
			_ = c.Close()
			return nil
		}
		if _, err := c.Await(t.run.cfg.Timeout, ofType(codec.TypeConnack)); err != nil {
			_ = c.Close()
			return nil
		}
		return c
	}
	farewell := func(c *peer.Conn) {
		_ = c.Send(&codec.Disconnect{})
		c.AwaitClose(100 * time.Millisecond)
		_ = c.Close()
	}
	for id := range t.sessions {
		if id == "" {
			continue
		}
		if c := connect(t.ConnectPacket(func(p *codec.Connect) { p.ClientID = id })); c != nil {
			farewell(c)
		}
	}
	if len(t.retained) > 0 {
		if c := connect(t.ConnectPacket()); c != nil {
			for topic := range t.retained {
				_ = c.Send(&codec.Publish{Topic: topic, Retain: true})
			}
			_ = c.Send(&codec.Pingreq{})
			_, _ = c.Await(t.run.cfg.Timeout, ofType(codec.TypePingresp))
			farewell(c)
		}
	}
}

// describeTarget names the target in reports, without any password.
func (r *run) describeTarget() string {
	if r.client != nil {
		return r.describeClient()
	}
	if r.cfg.Target == "" {
		return embeddedTarget
	}
	return transport.Redact(r.cfg.Target)
}

// describeClient is the command of the client that is checked, for a POSIX shell; empty: the target is a server.
func (r *run) describeClient() string {
	if r.client == nil {
		return ""
	}
	var words []string
	for _, w := range r.client.command {
		words = append(words, shellWord(w))
	}
	return strings.Join(words, " ")
}

// embeddedTarget is what reports call the embedded broker.
const embeddedTarget = "embedded broker"

// describeWSTarget names the address of the rules about WebSocket; that of the embedded broker is gone after the run.
func (r *run) describeWSTarget() string {
	if r.cfg.Target == "" || r.cfg.WSTarget == "" {
		return ""
	}
	return transport.Redact(r.cfg.WSTarget)
}

// describeCommand is the command that starts the target, without the secrets that are known.
func (r *run) describeCommand() string {
	cmd := r.cfg.Cmd
	for _, secret := range r.cfg.secrets() {
		if secret != "" {
			cmd = strings.ReplaceAll(cmd, secret, strings.Repeat("*", len(secret)))
		}
	}
	return cmd
}
