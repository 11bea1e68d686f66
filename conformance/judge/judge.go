// Package judge watches MQTT connections without taking part in them and says which rules of the
// registry were at stake, and which were broken by whom. It has no I/O, no clock and no goroutine:
// it is told of packets, gaps and ends, each with its time, by whoever sees them.
//
// Start from [New], feed [Conn.Packet] or [Conn.Bytes], [Conn.Gap] and [Conn.End], and read
// [Conn.Findings] and [Conn.Judged]. A [Book] carries what is known of a session from one
// connection to the next. [Rules] lists what can be judged.
//
// What two ends see differs: a packet may cross another on the wire. The judge relies on one thing
// alone, that an answer is never seen before what it answers, and is silent wherever the order seen
// here may differ from the order at either end. It judges nothing of a side that the other side's
// own breach may explain. It never judges what must have been provoked by somebody else: whether a
// message was lost, came too late, or carries another publisher's payload.
//
// Memory per connection is bounded: 8 KiB for each of seven sets of Packet Identifiers and Topic Aliases, at most
// 1,024 exchanges open each way, 1,024 unanswered requests, 128 Topic Filters of 64 KiB together,
// 256 mapped Topic Aliases of 64 KiB together, 256 topics with retained messages and 256 findings.
// Past a bound the rules that need what could not be kept are not judged any more; [Conn.Limits]
// says which bound was met.
//
// Frames are borrowed for the duration of a call.
package judge

import (
	"fmt"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
)

// Grade says how much a finding weighs.
type Grade uint8

// The grades. Warn stands for a SHOULD and for what the registry calls arguable.
const (
	Fail Grade = iota
	Warn
)

// String returns "fail" or "warn".
func (g Grade) String() string {
	if g == Warn {
		return "warn"
	}
	return "fail"
}

// Finding is one breach of one rule.
type Finding struct {
	Rule     string
	Version  rules.Versions // exactly one version, or both where the first packet did not tell which
	By       codec.Side     // who broke it
	Grade    Grade
	At       time.Time
	Frame    int // index of the packet on the connection, both directions counted together from 0
	Expected string
	Actual   string
}

// String returns the finding in one line.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (MQTT %s) by the %s at packet %d: expected %s; got %s",
		f.Grade, f.Rule, f.Version, sideName(f.By), f.Frame, f.Expected, f.Actual)
}

// Key names a duty: a rule of one version as it binds one side.
type Key struct {
	Version rules.Versions
	Rule    string
	By      codec.Side
}

const (
	maxFindings     = 256 // per connection
	maxFindingsEach = 8   // of one duty

	// settle is how long after CONNACK a client is taken to have read it where nothing it sent
	// proves so: what the server announces binds a client only once it knows.
	settle = time.Second

	// patience is how long an answer may be due before its absence counts, and how long the
	// sender of DISCONNECT may leave the closing to the other side.
	patience = time.Minute
)

// side indexes what is kept for each side of a connection.
type side uint8

const (
	client side = iota
	server
)

func (s side) other() side      { return 1 - s }
func (s side) wire() codec.Side { return codec.Side(s) + codec.Client }

func sideName(s codec.Side) string {
	switch s {
	case codec.Client:
		return "client"
	case codec.Server:
		return "server"
	}
	return "either side"
}

// phase is how far the opening of a connection has come.
type phase uint8

const (
	opening  phase = iota // nothing seen yet
	awaiting              // CONNECT seen
	up                    // CONNACK of success seen
	refused               // CONNACK of refusal seen
	strange               // not a conversation whose state can be followed
)

// Conn judges one connection. Its methods may be called from any goroutine.
type Conn struct {
	mu   sync.Mutex // guards everything below
	book *Book
	dec  [2]codec.Decoder
	pend [2]stream

	v     codec.Version  // 0 while unknown
	rv    rules.Versions // 0 where no rules are judged
	phase phase
	frame int       // index of the packet at hand
	at    time.Time // of the packet at hand
	size  int       // of the packet at hand

	whole  bool // every packet since the connection's begin was seen and understood
	gapped bool // bytes are missing
	// excused: what this side does may be the other side's doing.
	excused [2]bool
	// left: this side has sent DISCONNECT, at leftAt.
	left   [2]bool
	late   [2]bool // and has sent something after it
	leftAt [2]time.Time
	ended  bool

	hello    hello
	announce announcement
	flows    [2]flow // by the sender of the PUBLISH packets
	requests requests
	subs     subscriptions
	alias    [2]aliases
	timing   timing

	kept     [2][numDuties]uint32
	broken   map[Key]uint32
	tallies  [2]counts
	findings []Finding
	limits   []string
}

// New returns the judge of one connection from its very first byte. The book may be nil: then the
// connection is judged alone.
func New(book *Book) *Conn {
	c := &Conn{book: book, whole: true}
	c.dec[client] = codec.Decoder{From: codec.Client, Mode: codec.Lenient, CheckPayload: true}
	c.dec[server] = codec.Decoder{From: codec.Server, Mode: codec.Lenient}
	return c
}

// Assume sets the version of a connection whose CONNECT was not seen or may be unreadable. A
// CONNECT that names another version overrules it. Call it before the first packet.
func (c *Conn) Assume(v codec.Version) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setVersion(v)
}

func (c *Conn) setVersion(v codec.Version) {
	c.v = v
	c.dec[client].Version, c.dec[server].Version = v, v
	switch v {
	case codec.V4:
		c.rv = rules.MQTT311
	case codec.V5:
		c.rv = rules.MQTT5
	default: // the statements of MQTT 3.1 have no ids
		c.rv = 0
	}
}

// Packet tells of one whole Control Packet as it stood on the wire. The frame is borrowed.
func (c *Conn) Packet(from codec.Side, at time.Time, frame []byte) {
	if len(frame) == 0 || from == codec.Either {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packet(side(from-codec.Client), at, frame)
}

// Gap tells that bytes of one side are missing, at the start of a connection as well. What depends
// on them is not judged any more; what a single packet shows still is.
func (c *Conn) Gap(from codec.Side, _ time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gap()
	if from != codec.Either {
		c.pend[from-codec.Client].reset()
	}
}

func (c *Conn) gap() {
	c.whole, c.gapped = false, true
	c.timing = timing{}
	if c.phase == opening {
		c.phase = strange
	}
}

// End tells that the connection ended, and which side ended it where that is known. What comes
// after it is not judged.
func (c *Conn) End(at time.Time, by codec.Side) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.at = true, at
	c.judgeEnd(by)
	c.book.leave(c, at)
}

// Findings returns what was found so far, in the order of discovery. The slice is the caller's.
func (c *Conn) Findings() []Finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Finding(nil), c.findings...)
}

// Limits says in words which bounds on memory made the judge give up rules, if any.
func (c *Conn) Limits() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.limits...)
}

// Judged returns how often each duty was judged, found kept or broken.
func (c *Conn) Judged() map[Key]int {
	out := make(map[Key]int)
	for s := client; s <= server; s++ {
		c.each(s, func(k Key, n int) { out[k] += n })
	}
	return out
}

// AddJudged adds how often each rule of the version was judged of the side to the counts by rule id.
func (c *Conn) AddJudged(v rules.Versions, by codec.Side, counts map[string]int) {
	if by == codec.Either {
		return
	}
	c.each(side(by-codec.Client), func(k Key, n int) {
		if k.Version == v {
			counts[k.Rule] += n
		}
	})
}

// each calls f with how often each duty of the side was judged, in parts.
func (c *Conn) each(s side, f func(Key, int)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, n := range c.broken {
		if k.By == s.wire() {
			f(k, int(n))
		}
	}
	if c.rv == 0 {
		return
	}
	for d, n := range c.kept[s] {
		if n == 0 {
			continue
		}
		for _, id := range duty(d).ids(c.rv) {
			f(Key{c.rv, id, s.wire()}, int(n))
		}
	}
	for _, r := range packetRules {
		if n := c.tallies[s][r.class]; n > 0 && r.version == c.rv && r.by.has(s) {
			f(Key{c.rv, r.id, s.wire()}, int(n))
		}
	}
}

// packet judges one packet: first by itself, then by what went before.
func (c *Conn) packet(from side, at time.Time, frame []byte) {
	if c.ended {
		return
	}
	c.at, c.size = at, len(frame)
	defer func() { c.frame++ }()
	if c.rv == 0 && (c.v != 0 || c.phase != opening) {
		return
	}
	t := codec.Type(frame[0] >> 4)
	if c.phase == opening && !c.open(from, t) {
		return
	}
	if from == server && c.phase == awaiting && c.otherVersion(frame) {
		c.phase, c.rv = strange, 0
		return
	}
	c.clock(from)
	if c.left[from] {
		c.late[from] = true
		c.breach(dAfterDisconnect, from, Fail, "no packet after DISCONNECT", t.String())
		return
	}
	p, err := c.dec[from].Decode(frame)
	if hi, ok := p.(*codec.Connect); ok && c.phase == opening && !c.hear(hi) {
		return
	}
	sound := true
	if faults, ok := err.(codec.Errors); ok {
		sound = c.faults(from, p, t, faults)
	} else if p != nil {
		c.tally(from, p)
	}
	if p == nil || c.rv == 0 {
		return
	}
	if !sound {
		// The rest of the stream cannot be understood with certainty.
		c.whole = false
	}
	if from == client {
		c.fromClient(p, frame)
	} else {
		c.fromServer(p, frame)
	}
}

// open judges the very first packet and reports whether judging goes on.
func (c *Conn) open(from side, t codec.Type) bool {
	if from == client && t == codec.TypeConnect {
		return true // connect goes on from here
	}
	c.phase = strange
	c.whole = false
	if from == client {
		c.excused[server] = true
		c.breakFirst(t)
	}
	return c.rv != 0
}

// breakFirst records a first packet that is not CONNECT. The rule has the same id in both
// versions, so it can be named while the version is not known.
func (c *Conn) breakFirst(t codec.Type) {
	rv := c.rv
	if rv == 0 {
		rv = rules.AnyVersion
	}
	c.record(rv, duties[dFirstPacket].id4, client, Fail, "CONNECT as the first packet", t.String())
}

// can reports whether the state of the connection is known well enough to judge what a side does.
func (c *Conn) can(s side) bool {
	return c.whole && !c.excused[s] && !c.left[s.other()]
}

// keep counts a duty that was at stake and kept.
func (c *Conn) keep(d duty, s side) { c.kept[s][d]++ }

// breach records a breach of a duty. Nothing happens where the duty has no rule in the version.
func (c *Conn) breach(d duty, s side, g Grade, expected, actual string) {
	if c.rv == 0 {
		return
	}
	for _, id := range d.ids(c.rv) {
		c.record(c.rv, id, s, g, expected, actual)
	}
}

// judge counts the duty as kept or records its breach.
func (c *Conn) judge(d duty, s side, ok bool, expected, actual string) {
	if !c.holds(d, s, ok) {
		c.breach(d, s, Fail, expected, actual)
	}
}

// holds counts the duty as kept if ok, which it returns. It is for breaches whose words take work.
func (c *Conn) holds(d duty, s side, ok bool) bool {
	if ok {
		c.keep(d, s)
	}
	return ok
}

func (c *Conn) record(v rules.Versions, id string, s side, g Grade, expected, actual string) {
	if c.broken == nil {
		c.broken = make(map[Key]uint32)
	}
	each := uint32(0)
	for _, one := range v.Split() {
		k := Key{one, id, s.wire()}
		c.broken[k]++
		each = max(each, c.broken[k])
	}
	if len(c.findings) >= maxFindings || each > maxFindingsEach {
		c.limit("findings: further ones of the same kind are only counted")
		return
	}
	c.findings = append(c.findings, Finding{
		Rule: id, Version: v, By: s.wire(), Grade: g, At: c.at, Frame: c.frame, Expected: expected, Actual: actual,
	})
}

// limit notes once that a bound was met.
func (c *Conn) limit(what string) {
	for _, l := range c.limits {
		if l == what {
			return
		}
	}
	c.limits = append(c.limits, what)
}
