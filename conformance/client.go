package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/peer"
	"github.com/mqlab/mqlab/internal/process"
	"github.com/mqlab/mqlab/internal/transport"
)

// ClientConfig says which client to check and how. The client is a command that connects to a
// broker that is named to it, and does there whatever it does: what it never does is not judged.
type ClientConfig struct {
	// Command is the program with its arguments. In each of them {host}, {port}, {url}, {topic},
	// {clientid} and {message} stand for what the check chooses; {port} or {url} must be there.
	Command []string

	Name     string        // what reports call the client; empty: its command
	Run      []string      // globs on rule ids and check names; empty: everything
	Checks   []*Check      // nil: ClientChecks
	Parallel int           // checks at the same time, each with a process of its own; zero: 8
	Timeout  time.Duration // how long something that must happen is waited for; zero: 5 s
	Patience float64       // scales the waits that rules about time ask for; zero: 1
	Endless  time.Duration // how long a client may wait for an answer in silence until it waits for ever; zero: 2 min

	Strict      bool // a warning counts as a breach in Report.OK
	Fast        bool // leave out rules about time
	Transcripts bool // keep the transcript of checks that pass as well

	Events func(Event) // told what the run is doing; calls are serialised
}

// config is the part that a run of either role understands.
func (c *ClientConfig) config(v Versions) Config {
	cfg := Config{
		Name: c.Name, Versions: v, Run: c.Run, Checks: c.Checks, Parallel: c.Parallel, Timeout: c.Timeout, Patience: c.Patience,
		Strict: c.Strict, Fast: c.Fast, Transcripts: c.Transcripts, Events: c.Events, Ephemeral: true,
	}
	if cfg.Checks == nil {
		cfg.Checks = ClientChecks()
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 8
	}
	return cfg.withDefaults()
}

// Validate reports every problem of the configuration by field.
func (c *ClientConfig) Validate() error {
	cfg := c.config(rules.AnyVersion)
	err := cfg.Validate()
	if len(c.Command) == 0 {
		return errors.Join(err, fmt.Errorf("%s: there is none: write the client's program with its arguments", "Command"))
	}
	if line := strings.Join(c.Command, " "); !strings.Contains(line, "{port}") && !strings.Contains(line, "{url}") {
		err = errors.Join(err, fmt.Errorf("%s: it does not say where the client connects to: write {port} or {url} in it", "Command"))
	}
	return err
}

// clientTarget is a client under test.
type clientTarget struct {
	command []string
	seen    profile
	endless time.Duration
	late    *lateness // of the suite, all through the run
}

// profile is what the client did when all it asked for was granted.
type profile struct {
	hello      *codec.Connect
	subscribed codec.QoS // the highest that was asked for
	subscribes bool
	published  codec.QoS // the highest
	publishes  int       // messages above QoS 0
	messages   int
	retains    bool
	largest    int // bytes of a PUBLISH
	stays      bool

	filter              string // of its first subscription
	writes, writesTopic bool   // it writes the payloads that it gets, and the topics, as soon as they come
}

// RunClient checks a client: a scripted server on the loopback interface provokes it, and the
// passive judge watches all it sends. The version is the one that the client speaks. The error is
// about the run itself, such as a command that opens no connection.
func RunClient(ctx context.Context, cfg ClientConfig) (*Report, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &run{
		cfg: cfg.config(rules.AnyVersion), id: runID(), features: map[Versions]*Features{}, numbers: map[jobKey]int{},
		client: &clientTarget{command: cfg.Command, endless: cfg.Endless, late: newLateness()},
	}
	defer r.client.late.end()
	started := time.Now()
	v, err := r.acquaint(ctx)
	if err != nil {
		return nil, err
	}
	r.cfg.Versions = v
	r.features[v] = &Features{Version: v, Served: true, MaximumQoS: 2}
	r.plan()
	results := r.execute(ctx)
	return r.report(ctx, started, results), nil
}

// acquaint learns which version the client speaks, and then what it does when all is granted.
func (r *run) acquaint(ctx context.Context) (Versions, error) {
	see, v := &r.client.seen, MQTT311
	wordless, err := r.meet(ctx, v, func(t *T) { see.hello = t.Launch().Accept().hello })
	switch {
	case err != nil:
		return 0, err
	case wordless: // it does not begin with CONNECT, which a check will say
		see.hello = &codec.Connect{Version: codec.V4}
		return v, nil
	case see.hello.Version == codec.V5:
		v = MQTT5
	case see.hello.Version != codec.V4:
		return 0, fmt.Errorf("the client speaks MQTT %s, for which there are no rules: tell it to speak 3.1.1 or 5.0", see.hello.Version)
	}
	_, err = r.meet(ctx, v, func(t *T) {
		client := t.Launch()
		c := client.Accept()
		c.Accepted()
		see.stays = true
		quiet := t.Timeout() // it may take a while to begin
		for limit := time.Now().Add(2 * t.Timeout()); time.Now().Before(limit); quiet = t.Patience(time.Second) {
			e := c.Serve(quiet, ofType(codec.TypeSubscribe), ofType(codec.TypePublish), ofType(codec.TypeDisconnect))
			if e == nil {
				break
			}
			see.note(e)
		}
		if _, ended := c.Closed(); ended {
			see.stays = false
		}
		if see.stays && see.subscribes {
			text, topic := t.token(0), matching(see.filter)
			c.Send(&codec.Publish{Topic: topic, Payload: []byte(text)})
			client.until(min(t.Timeout(), t.Patience(time.Second)), func() bool { return client.wrote(text) > 0 })
			see.writes = client.wrote(text) == 1
			see.writesTopic = see.writes && strings.Contains(client.line(text), topic)
		}
	})
	return v, err
}

// note takes down what one packet tells of the client.
func (p *profile) note(e *peer.Event) {
	switch q := e.Packet.(type) {
	case *codec.Subscribe:
		if !p.subscribes && len(q.Filters) > 0 {
			p.filter = q.Filters[0].Filter
		}
		p.subscribes = true
		for _, f := range q.Filters {
			p.subscribed = max(p.subscribed, f.QoS)
		}
	case *codec.Publish:
		p.published = max(p.published, q.QoS)
		p.messages++
		if q.QoS > 0 {
			p.publishes++
		}
		p.retains = p.retains || q.Retain
		p.largest = max(p.largest, len(e.Frame))
	case *codec.Disconnect:
		p.stays = false
	}
}

// meet runs a script with the client that judges nothing. wordless says that its first packet was
// not CONNECT.
func (r *run) meet(ctx context.Context, v Versions, script func(*T)) (wordless bool, err error) {
	t := r.newT(ctx, job{&Check{Name: "acquaint", Rules: []string{"MQTT-3.1.0-1"}, Run: script}, v}, 0)
	ended := t.call()
	t.leave()
	switch {
	case ended == nil:
		return false, nil
	case ended.verdict == Errored:
		return false, errors.New(ended.reason)
	case len(t.findings) > 0:
		return true, nil
	}
	return false, fmt.Errorf("%w: %s", ErrUnreachable, ended.reason)
}

// Client is a running client command and the server that it was told to connect to.
type Client struct {
	t        *T
	listener *transport.Listener
	conns    chan net.Conn
	cmd      *exec.Cmd
	out      process.Output
	ended    chan struct{} // closed once the process is gone
	id       string
	topic    string
}

// Launch starts the client under test, which is told to connect to a server of this check alone.
func (t *T) Launch() *Client {
	l, err := transport.Listen("mqtt://127.0.0.1:0", transport.ListenConfig{})
	if err != nil {
		panic(stop{Errored, "no port for the scripted server: " + err.Error()})
	}
	c := &Client{t: t, listener: l, conns: make(chan net.Conn), ended: make(chan struct{}), id: t.ClientID(), topic: t.Topic("client")}
	t.launched = append(t.launched, c)
	go c.accept()
	host, port, _ := net.SplitHostPort(l.Addr().String())
	values := strings.NewReplacer("{host}", host, "{port}", port, "{url}", l.URL(), "{topic}", c.topic, "{clientid}", c.id, "{message}", clientMessage)
	var words []string
	for _, w := range t.run.client.command {
		words = append(words, values.Replace(w))
	}
	c.cmd = exec.Command(words[0], words[1:]...)
	c.cmd.Stdout, c.cmd.Stderr = &c.out, &c.out
	c.cmd.WaitDelay = time.Second // a child of its own may hold the pipe
	process.OwnGroup(c.cmd)
	if err := c.cmd.Start(); err != nil {
		close(c.ended)
		panic(stop{Inconclusive, "the client cannot be started: " + err.Error()})
	}
	go func() {
		_ = c.cmd.Wait()
		close(c.ended)
	}()
	return c
}

// accept hands every connection on until the listener is closed.
func (c *Client) accept() {
	defer close(c.conns)
	for {
		nc, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.conns <- nc
	}
}

// end asks the process to end, or makes it.
func (c *Client) end(now bool) {
	select {
	case <-c.ended:
	default:
		process.EndGroup(c.cmd, now)
	}
}

// stop ends the process and the server, and waits for both.
func (c *Client) stop() {
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	c.end(false)
	select {
	case <-c.ended:
	case <-timer.C:
		c.end(true)
		<-c.ended
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for nc := range c.conns {
			_ = nc.Close()
		}
	}()
	_ = c.listener.Close()
	<-done
}

// leave ends all that the check has opened.
func (t *T) leave() {
	for _, c := range t.conns {
		_ = c.Close()
	}
	for _, c := range t.launched {
		c.stop()
	}
}

// died is how the client met its end where that was a crash, or "". What the suite or the terminal
// ends, and a program that ends with an error, has not died.
func (c *Client) died() string {
	if c.cmd.ProcessState == nil {
		return ""
	}
	c.out.Flush()
	for _, tr := range c.out.Traces() {
		if slices.Contains([]string{"go panic", "asan", "ubsan", "valgrind"}, tr.Kind) {
			return "the client died: " + tr.Message
		}
	}
	ws, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if ok && ws.Signaled() && slices.Contains([]syscall.Signal{syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGBUS, syscall.SIGILL, syscall.SIGFPE, syscall.SIGTRAP}, ws.Signal()) {
		return "the client died: " + c.cmd.ProcessState.String()
	}
	return ""
}

// says is what the client wrote last, for reasons.
func (c *Client) says() string {
	if lines := c.out.Lines(outputLines); len(lines) > 0 {
		return "; its last output: " + strings.Join(lines, " | ")
	}
	return ""
}

// Accept takes the client's next connection and its CONNECT. Where none comes the check ends
// undecided: nothing binds a client to connect.
func (c *Client) Accept() *Conn {
	conn := c.Next(c.t.Timeout())
	if conn == nil {
		select {
		case <-c.ended:
			c.t.Inconclusive("the client ended without a connection%s", c.says())
		default:
			c.t.Inconclusive("the client opened no connection within %v%s", c.t.Timeout(), c.says())
		}
	}
	return conn
}

// Next takes the client's next connection and its CONNECT, or returns nil where none comes in time.
func (c *Client) Next(d time.Duration) *Conn {
	t := c.t
	timer := time.NewTimer(d)
	defer timer.Stop()
	var nc net.Conn
	select {
	case nc = <-c.conns:
	case <-timer.C:
		return nil
	case <-t.ctx.Done():
		t.Inconclusive("the run was interrupted")
	case <-c.ended:
		select {
		case nc = <-c.conns: // it came before the end
		case <-time.After(50 * time.Millisecond):
			return nil
		}
	}
	name := "c" + strconv.Itoa(len(t.conns)+1)
	conn := &Conn{t: t, client: c, Conn: peer.New(nc, peer.Config{
		Name: name, Version: t.Version(), Remote: codec.Client, Transcript: t.transcript, AutoAck: true, Observe: t.watch(name),
	})}
	t.conns = append(t.conns, conn)
	e := conn.Take(t.Timeout(), func(*peer.Event) bool { return true })
	if e == nil {
		t.Inconclusive("%s: the client sent no packet%s", name, c.says())
	}
	hello, ok := e.Packet.(*codec.Connect)
	if !ok {
		const first = "MQTT-3.1.0-1"
		if slices.Contains(t.check.RulesFor(t.version), first) {
			t.Judge(first).record(conn, false, false, "CONNECT as the first packet", describeEvents([]*peer.Event{e}, t.Version()))
			panic(stop{verdict: Pass}) // the recorded breach decides
		}
		t.Inconclusive("%s: the client began with %s", name, describeEvents([]*peer.Event{e}, t.Version()))
	}
	conn.hello, conn.clientID = hello, hello.ClientID
	_, n := codec.Varint(e.Frame[1:])
	if name := e.Frame[1+n:]; len(name) > 2 {
		conn.protocol = name[2:min(len(name), 2+int(binary.BigEndian.Uint16(name)))]
	}
	return conn
}

// Accepted answers CONNECT with success. The edits change the CONNACK before it is sent.
func (c *Conn) Accepted(edits ...func(*codec.Connack)) {
	p := &codec.Connack{}
	if c.t.V5() && c.hello.ClientID == "" {
		p.Props.SetText(codec.PropAssignedClientID, c.client.id)
	}
	for _, edit := range edits {
		edit(p)
	}
	c.told = time.Now()
	c.Send(p)
}

// Serve answers requests as a server does that grants everything, until a packet arrives that one
// of the matches accepts, and returns it. It returns nil when none came within d, or the
// connection ended. Packets that match are answered too.
func (c *Conn) Serve(d time.Duration, matches ...func(*peer.Event) bool) *peer.Event {
	limit := time.Now().Add(d)
	matched := func(e *peer.Event) bool {
		return slices.ContainsFunc(matches, func(m func(*peer.Event) bool) bool { return m(e) })
	}
	for {
		e, err := c.Await(time.Until(limit), func(e *peer.Event) bool { return c.request(e) || matched(e) })
		if err != nil {
			return nil
		}
		switch p := e.Packet.(type) {
		case *codec.Subscribe:
			ack := &codec.Suback{PacketID: p.PacketID}
			for _, f := range p.Filters {
				ack.Reasons = append(ack.Reasons, codec.ReasonCode(f.QoS))
			}
			c.Send(ack)
		case *codec.Unsubscribe:
			ack := &codec.Unsuback{PacketID: p.PacketID}
			if c.t.V5() {
				ack.Reasons = make([]codec.ReasonCode, len(p.Filters))
			}
			c.Send(ack)
		case *codec.Pingreq:
			c.Send(&codec.Pingresp{})
		case *codec.Disconnect:
			c.left = e.At
		}
		if matched(e) {
			return e
		}
	}
}

// request matches sound packets that a server answers and that have no acknowledgement of their own.
func (c *Conn) request(e *peer.Event) bool {
	if e.Packet == nil || len(e.Faults) > 0 {
		return false
	}
	switch e.Packet.Type() {
	case codec.TypeSubscribe, codec.TypeUnsubscribe, codec.TypePingreq:
		return true
	}
	return false
}

// Subscribed serves until the client has subscribed, and returns a topic that its first filter
// matches, and the QoS that it asked for.
func (c *Conn) Subscribed() (string, codec.QoS) {
	e := c.Serve(c.t.Timeout(), ofType(codec.TypeSubscribe))
	if e == nil {
		c.t.Inconclusive("%s: the client did not subscribe this time", c.Name())
	}
	p := e.Packet.(*codec.Subscribe)
	if len(p.Filters) == 0 || len(e.Faults) > 0 {
		c.t.Inconclusive("%s: the client's SUBSCRIBE cannot be granted", c.Name())
	}
	return matching(p.Filters[0].Filter), p.Filters[0].QoS
}

// matching returns a Topic Name that the filter matches.
func matching(filter string) string {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		_, filter, _ = strings.Cut(rest, "/")
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if l == "+" || l == "#" {
			levels[i] = "mqlab"
		}
	}
	return strings.Join(levels, "/")
}
