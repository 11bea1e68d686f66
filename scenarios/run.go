package scenarios

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/peer"
)

// RunConfig says where and how an exchange is run. Dial is needed.
type RunConfig struct {
	Dial    func(context.Context) (net.Conn, error) // opens a connection to the server
	Timeout time.Duration                           // for expectations where neither step nor file says one; zero: 5 s

	Username, Password       string // for $username and $password
	BadUsername, BadPassword string // for $bad_username and $bad_password

	Unique     string           // what takes the place of the file's unique text; empty: random
	Leave      bool             // leave retained messages and sessions on the server
	Transcript *peer.Transcript // nil: one of its own
}

// Status is how one step came out.
type Status string

// The statuses.
const (
	Followed Status = "followed"
	Departed Status = "departed" // reality went another way; the steps after it were not done
	Passed   Status = "optional" // an optional step that did not happen
	Skipped  Status = "skipped"  // a step behind the departure
)

// StepResult is one step and how it came out.
type StepResult struct {
	Number int           `json:"number"` // counted from 1
	Step   string        `json:"step"`
	Note   string        `json:"note,omitempty"`
	Status Status        `json:"status"`
	Detail string        `json:"detail,omitempty"` // what happened instead
	At     time.Duration `json:"at_ns"`            // since the begin
}

// Outcome is what became of an exchange. It marshals to the documented JSON.
type Outcome struct {
	Title      string        `json:"title"`
	Rule       string        `json:"rule,omitempty"`
	Followed   bool          `json:"followed"`
	Elapsed    time.Duration `json:"elapsed_ns"`
	Steps      []StepResult  `json:"steps"`
	Transcript []peer.Entry  `json:"transcript"`
}

// Departure returns the step that reality did not follow, or nil.
func (o *Outcome) Departure() *StepResult {
	for i := range o.Steps {
		if o.Steps[i].Status == Departed {
			return &o.Steps[i]
		}
	}
	return nil
}

// conn is a connection of the script, with what references need to know of it.
type conn struct {
	*peer.Conn
	version codec.Version

	mu       sync.Mutex // guards the fields below: the goroutine that reads writes them
	decoder  codec.Decoder
	ids      map[codec.Type][]uint16 // Packet Identifiers that arrived
	assigned []string                // Assigned Client Identifiers that arrived
}

// runner is one run of an exchange.
type runner struct {
	x     *Exchange
	cfg   RunConfig
	ctx   context.Context
	v     *values
	order []string
	fence int

	connects []*codec.Connect // those whose sessions outlive them
	login    *codec.Connect   // the latest CONNECT, whose credentials serve to clean up
	retained map[string]bool
	version  codec.Version // of the latest CONNECT
}

// departure is a step that reality did not follow.
type departure struct{ detail string }

func (d *departure) Error() string { return d.detail }

func departed(format string, args ...any) error { return &departure{fmt.Sprintf(format, args...)} }

// Run runs the exchange and says for each step whether reality followed it. The error is about
// the run itself: an exchange that is not valid, or a server that cannot be reached at all.
// When it returns, nothing of it runs any more.
func Run(ctx context.Context, x *Exchange, cfg RunConfig) (*Outcome, error) {
	if err := x.Validate(); err != nil {
		return nil, err
	}
	if cfg.Dial == nil {
		return nil, errors.New("no Dial: the run needs to know how to reach a server")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Transcript == nil {
		cfg.Transcript = peer.NewTranscript(cfg.Password, cfg.BadPassword)
	}
	r := &runner{x: x, cfg: cfg, ctx: ctx, retained: map[string]bool{}, version: x.Version()}
	r.v = &values{cfg: &r.cfg, unique: x.Unique, run: cfg.Unique, conns: map[string]*conn{}}
	if x.Unique != "" && r.v.run == "" {
		r.v.run = randomText(len(x.Unique))
	}
	if x.Unique != "" && len(r.v.run) != len(x.Unique) {
		return nil, fmt.Errorf("the unique text %q must be as long as the file's, %d letters and digits", r.v.run, len(x.Unique))
	}
	began := time.Now()
	out := &Outcome{Title: x.Title, Rule: x.Rule, Followed: true}
	err := r.steps(out, began)
	for _, c := range r.v.conns {
		_ = c.Close()
	}
	out.Elapsed, out.Transcript = time.Since(began), cfg.Transcript.Entries()
	if !cfg.Leave {
		r.cleanUp()
	}
	return out, err
}

func randomText(n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}

func (r *runner) steps(out *Outcome, began time.Time) error {
	for i := range r.x.Steps {
		s := &r.x.Steps[i]
		res := StepResult{Number: i + 1, Step: s.String(), Note: s.Note, Status: Skipped}
		if out.Followed {
			err := r.step(s)
			var d *departure
			res.At = time.Since(began)
			switch {
			case err == nil:
				res.Status = Followed
			case !errors.As(err, &d):
				return fmt.Errorf("steps[%d]: %w", i, err)
			case s.Optional:
				res.Status, res.Detail = Passed, d.detail
			default:
				res.Status, res.Detail, out.Followed = Departed, d.detail, false
			}
		}
		out.Steps = append(out.Steps, res)
	}
	return nil
}

// conn returns the connection of a step.
func (r *runner) conn(name string) *conn {
	if name == "" {
		name = r.order[0]
	}
	return r.v.conns[name]
}

func (r *runner) step(s *Step) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	switch s.Kind() {
	case "open":
		return r.open(s)
	case "send":
		c := r.conn(s.Conn)
		p, err := s.Send.packet(r.v, c.version)
		if err != nil {
			return departed("%v", err)
		}
		r.track(p, c.version)
		return sent(c.Send(p))
	case "send_hex":
		b, err := r.v.raw(s.SendHex)
		if err != nil {
			return err
		}
		c := r.conn(s.Conn)
		d := codec.Decoder{Version: c.version, From: codec.Client, Mode: codec.Lenient}
		if p, _ := d.Decode(b); p != nil {
			r.track(codec.Clone(p), c.version)
		}
		return sent(c.SendRaw(b))
	case "expect":
		return r.expect(s)
	case "expect_close":
		return r.expectClose(s)
	case "expect_none":
		return r.expectNone(s)
	case "wait":
		return r.wait(s.Wait)
	case "close":
		if c := r.conn(s.Close); s.How == "drop" {
			c.Drop()
		} else {
			_ = c.Close()
		}
	case "ack":
		r.conn(s.Conn).SetAutoAck(s.Ack == "auto")
	}
	return nil
}

// sent looks at a failed write. A server that has closed the connection fails it, and the next
// expectation says so; a packet that is not legal is a fault of the script.
func sent(err error) error {
	var fault *codec.Error
	if errors.As(err, &fault) {
		return err
	}
	return nil
}

func (r *runner) open(s *Step) error {
	nc, err := r.cfg.Dial(r.ctx)
	if err != nil {
		if len(r.order) == 0 {
			return fmt.Errorf("open a connection: %w", err)
		}
		return departed("the server accepts no further connection: %v", err)
	}
	v := r.x.Version()
	if s.MQTT != "" {
		v = versions[s.MQTT]
	}
	c := &conn{version: v, ids: map[codec.Type][]uint16{}, decoder: codec.Decoder{Version: v, From: codec.Server, Mode: codec.Lenient}}
	c.Conn = peer.New(nc, peer.Config{
		Name: s.Open, Version: v, Transcript: r.cfg.Transcript, AutoAck: s.Ack != "manual",
		Observe: func(dir peer.Direction, _ time.Time, frame []byte) {
			if dir == peer.Received && frame != nil {
				c.observe(frame)
			}
		},
	})
	r.v.conns[s.Open] = c
	r.order = append(r.order, s.Open)
	return nil
}

// observe remembers what references may name.
func (c *conn) observe(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, _ := c.decoder.Decode(frame)
	if p == nil {
		return
	}
	switch p := p.(type) {
	case *codec.Connack:
		if id := p.Props.Text(codec.PropAssignedClientID); id != "" {
			c.assigned = append(c.assigned, strings.Clone(id))
		}
	case *codec.Publish:
		if p.QoS > 0 {
			c.ids[codec.TypePublish] = append(c.ids[codec.TypePublish], p.PacketID)
		}
	case *codec.Puback:
		c.ids[codec.TypePuback] = append(c.ids[codec.TypePuback], p.PacketID)
	case *codec.Pubrec:
		c.ids[codec.TypePubrec] = append(c.ids[codec.TypePubrec], p.PacketID)
	case *codec.Pubrel:
		c.ids[codec.TypePubrel] = append(c.ids[codec.TypePubrel], p.PacketID)
	case *codec.Pubcomp:
		c.ids[codec.TypePubcomp] = append(c.ids[codec.TypePubcomp], p.PacketID)
	case *codec.Suback:
		c.ids[codec.TypeSuback] = append(c.ids[codec.TypeSuback], p.PacketID)
	case *codec.Unsuback:
		c.ids[codec.TypeUnsuback] = append(c.ids[codec.TypeUnsuback], p.PacketID)
	}
}

func (r *runner) within(s *Step) time.Duration {
	switch {
	case s.Within > 0:
		return s.Within
	case r.x.Timeout > 0:
		return r.x.Timeout
	}
	return r.cfg.Timeout
}

// like returns the test for packets that a pattern describes.
func (r *runner) like(p *Packet, c *conn) func(*peer.Event) bool {
	return func(e *peer.Event) bool {
		return p.mismatch(e.Frame, e.Packet, len(e.Faults) > 0, r.v, c.version) == ""
	}
}

func (r *runner) expect(s *Step) error {
	c := r.conn(s.Conn)
	match := r.like(s.Expect, c)
	if s.Next {
		match = func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == s.Expect.packetType() }
	}
	e, err := await(r.ctx, c, r.within(s), match)
	switch {
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	case errors.Is(err, peer.ErrClosed):
		return departed("the connection ended first; %s", r.arrived(c, s.Expect))
	case err != nil:
		return departed("nothing of the kind came within %v; %s", r.within(s), r.arrived(c, s.Expect))
	}
	if why := s.Expect.mismatch(e.Frame, e.Packet, len(e.Faults) > 0, r.v, c.version); why != "" {
		return departed("got %s: %s", codec.Describe(e.Packet, c.version), why)
	}
	return nil
}

// await is Await that ends with the context.
func await(ctx context.Context, c *conn, d time.Duration, match func(*peer.Event) bool) (*peer.Event, error) {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	return c.Await(d, match)
}

// arrived says what is in the mailbox, and of packets of the expected type why they do not do.
func (r *runner) arrived(c *conn, want *Packet) string {
	all := c.Pending(func(*peer.Event) bool { return true })
	if len(all) == 0 {
		return "nothing else arrived"
	}
	var parts []string
	for i, e := range all {
		if i == 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		text := fmt.Sprintf("%d bytes that are no packet", len(e.Frame))
		if e.Packet != nil {
			text = codec.Describe(e.Packet, c.version)
			if want != nil && e.Packet.Type() == want.packetType() {
				text += " (" + want.mismatch(e.Frame, e.Packet, len(e.Faults) > 0, r.v, c.version) + ")"
			}
		}
		parts = append(parts, text)
	}
	return "else arrived " + strings.Join(parts, ", ")
}

func (r *runner) expectClose(s *Step) error {
	c := r.conn(s.Conn)
	forbidden := func(e *peer.Event) bool {
		for _, p := range s.ExpectClose.Without {
			if r.like(p, c)(e) {
				return true
			}
		}
		return false
	}
	defer context.AfterFunc(r.ctx, func() { _ = c.Close() })()
	c.Disturbed(r.within(s), forbidden)
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	if es := c.Pending(forbidden); len(es) > 0 {
		return departed("%s came instead", describe(es[0], c.version))
	}
	end, ok := c.Closed()
	if !ok {
		return departed("still open after %v; %s", r.within(s), r.arrived(c, nil))
	}
	if errors.Is(end.Closed, net.ErrClosed) {
		return departed("the connection was closed by a step before")
	}
	if len(s.ExpectClose.Reason) == 0 {
		return nil
	}
	for _, e := range c.Pending(func(e *peer.Event) bool { return e.Packet != nil && e.Packet.Type() == codec.TypeDisconnect }) {
		got, fits := e.Packet.(*codec.Disconnect).Reason, false
		for _, want := range s.ExpectClose.Reason {
			fits = fits || want.matches(got, codec.TypeDisconnect, c.version)
		}
		if !fits {
			return departed("%s came before the end", describe(e, c.version))
		}
	}
	return nil
}

func describe(e *peer.Event, v codec.Version) string {
	if e.Packet == nil {
		return fmt.Sprintf("%d bytes that are no packet", len(e.Frame))
	}
	return codec.Describe(e.Packet, v)
}

func (r *runner) expectNone(s *Step) error {
	c := r.conn(s.Conn)
	match := r.like(s.ExpectNone, c)
	if s.Fence != nil {
		if err := r.prove(s, c); err != nil {
			return err
		}
	}
	if s.For > 0 {
		began := time.Now()
		c.Disturbed(s.For, match)
		if _, over := c.Closed(); over && len(c.Pending(match)) == 0 {
			if err := r.wait(s.For - time.Since(began)); err != nil {
				return err
			}
		}
	}
	if es := c.Pending(match); len(es) > 0 {
		return departed("%s arrived", describe(es[0], c.version))
	}
	return nil
}

// prove publishes a marker behind what went before and waits for it.
func (r *runner) prove(s *Step, c *conn) error {
	r.fence++
	marker := fmt.Sprintf("fence %d", r.fence)
	p := &codec.Publish{Topic: r.v.freshText(s.Fence.Topic), Payload: []byte(marker), QoS: codec.QoS(s.Fence.QoS)}
	if p.QoS > 0 {
		p.PacketID = uint16(65_535 - r.fence%1000)
	}
	from := r.conn(s.Fence.From)
	if err := sent(from.Send(p)); err != nil {
		return err
	}
	if err := r.settle(from, p, r.within(s)); err != nil {
		return err
	}
	_, err := await(r.ctx, c, r.within(s), func(e *peer.Event) bool {
		got, ok := e.Packet.(*codec.Publish)
		return ok && got.Topic == p.Topic && string(got.Payload) == marker
	})
	if err != nil {
		return departed("whether anything comes cannot be told: the marker published behind did not arrive: %v", err)
	}
	return nil
}

// settle completes the exchange of a marker, so that its answers are not taken for others.
func (r *runner) settle(c *conn, p *codec.Publish, within time.Duration) error {
	var answers []codec.Type
	switch p.QoS {
	case 1:
		answers = []codec.Type{codec.TypePuback}
	case 2:
		answers = []codec.Type{codec.TypePubrec, codec.TypePubcomp}
	}
	for _, typ := range answers {
		match := (&Packet{Type: strings.ToLower(typ.String()), ID: idOf(p.PacketID)})
		if _, err := await(r.ctx, c, within, r.like(match, c)); err != nil {
			return departed("whether anything comes cannot be told: no %s answers the marker: %v", typ, err)
		}
		if typ == codec.TypePubrec && !c.AutoAck() {
			_ = c.Send(&codec.Pubrel{PacketID: p.PacketID})
		}
	}
	return nil
}

func (r *runner) wait(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}
