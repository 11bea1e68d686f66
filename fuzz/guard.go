package fuzz

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/judge"
)

// guard is two well-behaved clients that live as long as the target: one publishes, the other is subscribed at QoS 1
// and 2. What they are promised must not depend on what anybody else sends. It is for one goroutine.
type guard struct {
	dial               Dial
	username, password string
	version            codec.Version
	prefix             string
	qos2, retained     bool // the target can do it
	sub, pub           *guardConn
	n                  int // of the last round
	one, two           lane
	open               map[uint16]int // QoS 2 messages that the subscriber has and PUBREL is due for, by Packet Identifier
	due                int            // acknowledgements that the publisher waits for
	fresh              int
	took               time.Duration // of the opening, without the versions that the target does not serve
}

// lane is one topic of the bystanders, as the subscriber sees it. A message that nobody waits for any more is still one
// that may arrive.
type lane struct {
	out    []int // the messages that have not arrived, ascending
	passed int   // up to here none is waited for
	dim    int   // up to here it is not known which of the others have arrived
}

// maxOut is the number of messages that have not arrived which a lane remembers.
const maxOut = 64

// sent notes that message n was sent.
func (l *lane) sent(n int) {
	l.out = append(l.out, n)
	if len(l.out) > maxOut {
		l.dim = l.out[0]
		l.out = l.out[1:]
	}
}

// took notes that message n has arrived, and reports whether it is known to have arrived before.
func (l *lane) took(n int) (again bool) {
	i, out := slices.BinarySearch(l.out, n)
	if out {
		l.out = slices.Delete(l.out, i, i+1)
	}
	return !out && n > l.dim
}

// refused notes that the target did not take message n: it need not arrive.
func (l *lane) refused(n int) {
	l.took(n)
	l.dim = n
}

// waits reports whether a message is waited for.
func (l *lane) waits() bool { return len(l.out) > 0 && l.out[len(l.out)-1] > l.passed }

// lost returns the messages up to n that have not arrived though all after n have.
func (l *lane) lost(n int) []int {
	if len(l.out) == 0 || l.out[len(l.out)-1] > n || l.dim > n {
		return nil
	}
	return l.out
}

// guardConn is one connection of a guard.
type guardConn struct {
	nc    net.Conn
	r     *codec.Reader
	dec   codec.Decoder
	judge *judge.Conn
	name  string
}

// longSubscriber is the signature of a subscriber that waits for a message in vain.
const longSubscriber = "long-lived subscriber"

// errRefused is a CONNACK with an error code.
type errRefused struct{ reason codec.ReasonCode }

func (e errRefused) Error() string {
	return fmt.Sprintf("the CONNECT is refused with 0x%02x", byte(e.reason))
}

// openGuard begins to watch. It tries the versions in turn, and what the target cannot do is left out.
func openGuard(ctx context.Context, dial Dial, username, password string, wait time.Duration) (*guard, error) {
	var err error
	for _, v := range []codec.Version{codec.V5, codec.V4, codec.V31} {
		g := &guard{dial: dial, username: username, password: password, version: v, qos2: true, retained: true, open: map[uint16]int{}}
		began := time.Now()
		if err = g.begin(ctx, wait); err == nil {
			g.took = time.Since(began)
			return g, nil
		}
		g.close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, err
}

func unique() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return "mq" + hex.EncodeToString(b[:])
}

func (g *guard) begin(ctx context.Context, wait time.Duration) error {
	g.prefix = unique()
	var err error
	if g.sub, err = g.connect(ctx, "s", wait); err != nil {
		return err
	}
	if g.pub, err = g.connect(ctx, "p", wait); err != nil {
		return err
	}
	ack, err := g.subscribe(g.sub, wait, codec.Subscription{Filter: g.prefix + "/1", QoS: 1}, codec.Subscription{Filter: g.prefix + "/2", QoS: 2})
	if err != nil {
		return err
	}
	if len(ack.Reasons) != 2 || ack.Reasons[0] != 1 {
		return errors.New("the target does not grant a subscription at QoS 1")
	}
	g.qos2 = g.qos2 && ack.Reasons[1] == 2
	if g.retained {
		if err := g.pub.send(g.version, &codec.Publish{Topic: g.prefix + "/r", Payload: []byte("kept"), QoS: 1, PacketID: 9, Retain: true}); err != nil {
			return err
		}
		if _, err := g.pub.await(wait, codec.TypePuback); err != nil {
			return err
		}
	}
	return nil
}

// connect opens a connection and is admitted.
func (g *guard) connect(ctx context.Context, name string, wait time.Duration) (*guardConn, error) {
	dctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	nc, err := dialTarget(dctx, g.dial)
	if err != nil {
		return nil, err
	}
	c := &guardConn{nc: nc, r: codec.NewReader(nc, 512), dec: codec.Decoder{Version: g.version, From: codec.Server}, judge: judge.New(nil), name: name}
	id := g.prefix + name
	p := &codec.Connect{Version: g.version, ClientID: id, CleanStart: true, KeepAlive: 600}
	if g.username != "" {
		p.HasUsername, p.Username = true, g.username
		p.HasPassword, p.Password = g.password != "", []byte(g.password)
	}
	if err := c.send(g.version, p); err != nil {
		_ = nc.Close()
		return nil, err
	}
	ack, err := c.await(wait, codec.TypeConnack)
	if err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("CONNECT is not answered: %w", err)
	}
	k := ack.(*codec.Connack)
	if k.Reason != 0 {
		_ = nc.Close()
		return nil, errRefused{k.Reason}
	}
	if g.version == codec.V5 {
		g.qos2 = g.qos2 && k.Props.Uint(codec.PropMaximumQoS, 2) == 2 && k.Props.Uint(codec.PropReceiveMaximum, 2) >= 2 // at once
		g.retained = g.retained && k.Props.Uint(codec.PropRetainAvailable, 1) == 1
	}
	return c, nil
}

func (g *guard) subscribe(c *guardConn, wait time.Duration, filters ...codec.Subscription) (*codec.Suback, error) {
	if err := c.send(g.version, &codec.Subscribe{PacketID: 1, Filters: filters}); err != nil {
		return nil, err
	}
	p, err := c.await(wait, codec.TypeSuback)
	if err != nil {
		return nil, fmt.Errorf("SUBSCRIBE is not answered: %w", err)
	}
	return p.(*codec.Suback), nil
}

func (c *guardConn) send(v codec.Version, p codec.Packet) error {
	b, err := p.AppendTo(nil, v)
	if err != nil {
		return err
	}
	c.judge.Packet(codec.Client, time.Now(), b)
	_ = c.nc.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err = c.nc.Write(b)
	return err
}

// next returns the next packet. It is valid until the next call.
func (c *guardConn) next(limit time.Time) (codec.Packet, error) {
	_ = c.nc.SetReadDeadline(limit)
	frame, err := c.r.Next()
	if timeout(err) { // the Reader keeps to its error, and what comes late has to be taken all the same
		c.r.Reset(io.MultiReader(bytes.NewReader(bytes.Clone(c.r.Buffered())), c.nc))
	}
	if err != nil {
		return nil, err
	}
	c.judge.Packet(codec.Server, time.Now(), frame)
	return c.dec.Decode(frame)
}

// await returns the next packet of the type; packets of other types are passed over.
func (c *guardConn) await(wait time.Duration, typ codec.Type) (codec.Packet, error) {
	limit := time.Now().Add(wait)
	for {
		p, err := c.next(limit)
		if err != nil {
			return nil, err
		}
		if p.Type() == typ {
			return p, nil
		}
		if d, ok := p.(*codec.Disconnect); ok {
			return nil, fmt.Errorf("the target sent DISCONNECT with reason 0x%02x", byte(d.Reason))
		}
	}
}

// timeout reports whether an error says that time was up.
func timeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// round sends a message at QoS 1 and one at QoS 2 and sees both arrive. The trouble is nil where all is well. A round for
// which time was up is gone on with by the next call.
func (g *guard) round(wait time.Duration) *trouble {
	if g.pub == nil || g.sub == nil { // an interrupt came while the bystanders were to be connected anew
		return nil
	}
	if g.due == 0 && !g.one.waits() && !g.two.waits() { // else the round before is still under way
		g.n++
		g.one.sent(g.n)
		text := []byte(strconv.Itoa(g.n) + strings.Repeat(" bystander", 4))
		if err := g.pub.send(g.version, &codec.Publish{Topic: g.prefix + "/1", Payload: text, QoS: 1, PacketID: 1}); err != nil {
			return g.stuck("publisher", "PUBLISH", err)
		}
		if g.qos2 {
			g.two.sent(g.n)
			if err := g.pub.send(g.version, &codec.Publish{Topic: g.prefix + "/2", Payload: text, QoS: 2, PacketID: 2}); err != nil {
				return g.stuck("publisher", "PUBLISH", err)
			}
		}
		if g.due = 1; g.qos2 {
			g.due = 2
		}
	}
	limit := time.Now().Add(wait)
	if t := g.acknowledged(limit); t != nil {
		return t
	}
	for g.one.waits() || g.two.waits() {
		p, err := g.sub.next(limit)
		if err != nil {
			return g.stuck("subscriber", "a message", err)
		}
		if t := g.delivered(p); t != nil {
			return t
		}
	}
	return nil
}

// lossTries is how many further messages are sent where one after the other does not arrive.
const lossTries = 4

// lost says whether a message that the subscriber waits for in vain is lost: the next two arrive, of which the second is
// the fence behind which nothing is due on an ordered topic, and what is on its way then is not the one that is missing.
// Where the next is lost as well it goes on, as long as anything arrives: a subscriber that gets nothing is one that hangs.
func (g *guard) lost(wait time.Duration) *trouble {
	if g.due > 0 {
		return nil
	}
	last := g.n // the last that may be missing
	for tries := 0; g.n < last+2; {
		g.one.passed, g.two.passed = g.n, g.n
		before := len(g.one.out) + len(g.two.out)
		t := g.round(wait)
		if t == nil {
			continue
		}
		sent := g.n - g.one.passed
		if g.qos2 {
			sent *= 2
		}
		dumb := len(g.one.out)+len(g.two.out) == before+sent
		if tries++; t.signature != longSubscriber || !t.late || tries == lossTries || dumb && tries > 1 {
			return nil
		}
		last = g.n
	}
	if !g.drained(wait) {
		return nil
	}
	for _, l := range []struct {
		what string
		gone []int
	}{{"qos 1", g.one.lost(last)}, {"qos 2", g.two.lost(last)}} {
		if len(l.gone) == 0 {
			continue
		}
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint(l.gone), " ", ", "), "[]")
		return &trouble{
			oracle: OracleDelivery, signature: l.what + " lost", title: "a message to a bystander is lost: " + l.what,
			detail: []string{fmt.Sprintf("acknowledged to the publisher and not arrived: %s; messages %d and %d did", list, last+1, last+2)},
		}
	}
	return nil
}

// drained takes what is on its way to the subscriber before PINGRESP, and reports whether all is well.
func (g *guard) drained(wait time.Duration) bool {
	if g.sub.send(g.version, &codec.Pingreq{}) != nil {
		return false
	}
	for limit := time.Now().Add(wait); ; {
		p, err := g.sub.next(limit)
		if err != nil {
			return false
		}
		if p.Type() == codec.TypePingresp {
			return true
		}
		if g.delivered(p) != nil {
			return false
		}
	}
}

// acknowledged awaits the acknowledgements of a round.
func (g *guard) acknowledged(limit time.Time) *trouble {
	for g.due > 0 {
		p, err := g.pub.next(limit)
		if err != nil {
			return g.stuck("publisher", "an acknowledgement", err)
		}
		switch p := p.(type) {
		case *codec.Puback:
			g.due--
			if p.Reason.Failed() {
				g.one.refused(g.n)
			}
		case *codec.Pubcomp:
			g.due--
		case *codec.Pubrec:
			if p.Reason.Failed() {
				g.due--
				g.two.refused(g.n)
				continue
			}
			if err := g.pub.send(g.version, &codec.Pubrel{PacketID: p.PacketID}); err != nil {
				return g.stuck("publisher", "PUBREL", err)
			}
		case *codec.Disconnect:
			return g.left("publisher", p)
		}
	}
	return nil
}

// delivered takes in a packet that the subscriber gets.
func (g *guard) delivered(p codec.Packet) *trouble {
	switch p := p.(type) {
	case *codec.Publish:
		word, rest, _ := strings.Cut(string(p.Payload), " ")
		n, err := strconv.Atoi(word)
		qos2 := p.Topic == g.prefix+"/2"
		if err != nil || n < 1 || n > g.n || rest != strings.TrimSpace(strings.Repeat(" bystander", 4)) || !qos2 && p.Topic != g.prefix+"/1" {
			return &trouble{
				oracle: OracleDelivery, signature: "foreign message", title: "a bystander gets a message that was not sent to it, or another than was sent",
				detail: []string{fmt.Sprintf("received: topic %q payload %q", p.Topic, p.Payload[:min(len(p.Payload), 100)])},
			}
		}
		var ack codec.Packet = &codec.Puback{PacketID: p.PacketID}
		if p.QoS == 2 {
			ack = &codec.Pubrec{PacketID: p.PacketID}
		}
		id, qos := p.PacketID, p.QoS
		if qos > 0 {
			if err := g.sub.send(g.version, ack); err != nil {
				return g.stuck("subscriber", "an acknowledgement", err)
			}
		}
		l := &g.one
		if qos2 {
			l = &g.two
		}
		again := l.took(n)
		if qos < 2 {
			return nil
		}
		if again && qos2 && g.open[id] != n { // else it was sent once more before PUBREL, and is still one message
			return &trouble{
				oracle: OracleDelivery, signature: "qos 2 twice", rule: "MQTT-4.3.3-2", title: "a bystander gets a QoS 2 message a second time",
				detail: []string{fmt.Sprintf("message %d arrived again with Packet Identifier %d; the last one that was sent is %d", n, id, g.n)},
			}
		}
		g.open[id] = n
	case *codec.Pubrel:
		delete(g.open, p.PacketID)
		if err := g.sub.send(g.version, &codec.Pubcomp{PacketID: p.PacketID}); err != nil {
			return g.stuck("subscriber", "PUBCOMP", err)
		}
	case *codec.Disconnect:
		return g.left("subscriber", p)
	}
	return nil
}

func (g *guard) left(who string, p *codec.Disconnect) *trouble {
	return &trouble{
		oracle: OracleDelivery, signature: "bystander disconnected", warn: true,
		title:  fmt.Sprintf("the target disconnects a bystander, a %s, that keeps to the rules", who),
		detail: []string{fmt.Sprintf("DISCONNECT with reason 0x%02x", byte(p.Reason))},
	}
}

// stuck says what an error of a bystander means: that it waits in vain, or was cut off.
func (g *guard) stuck(who, what string, err error) *trouble {
	var e *codec.Error
	switch {
	case errors.As(err, &e):
		return &trouble{
			oracle: OracleMalformed, signature: fmt.Sprintf("%s %s %s", e.Fault, e.Packet, g.version), rule: e.Rule, warn: e.Level != codec.Must,
			title: fmt.Sprintf("the target sends a bystander a malformed %s: %s", e.Packet, e.Msg),
		}
	case timeout(err):
		return &trouble{
			oracle: OracleHang, signature: "long-lived " + who, late: true, title: fmt.Sprintf("a long-lived connection, a %s, waits for %s in vain", who, what),
		}
	default:
		return &trouble{
			oracle: OracleDelivery, signature: "bystander disconnected", warn: true,
			title: fmt.Sprintf("the target cuts the connection of a bystander, a %s, that keeps to the rules", who), detail: []string{err.Error()},
		}
	}
}

// probe goes through CONNECT, SUBSCRIBE, PUBLISH and PINGREQ on a fresh connection.
func (g *guard) probe(ctx context.Context, wait time.Duration) *trouble {
	g.fresh++
	c, err := g.connect(ctx, "f"+strconv.Itoa(g.fresh%10), wait)
	hang := func(stage string, err error) *trouble {
		return &trouble{
			oracle: OracleHang, signature: "fresh " + stage, title: fmt.Sprintf("a fresh connection is not served: %s is not answered", stage), late: timeout(err), detail: []string{err.Error()},
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		var refused errRefused
		if errors.As(err, &refused) {
			return &trouble{
				oracle: OracleHang, signature: "fresh refused", title: "a fresh connection is refused that was admitted before", detail: []string{err.Error()}, warn: true,
			}
		}
		return hang("CONNECT", err)
	}
	defer func() {
		_ = c.send(g.version, &codec.Disconnect{})
		_ = c.nc.Close()
	}()
	filters := []codec.Subscription{{Filter: g.prefix + "/f", QoS: 1}}
	if g.retained {
		filters = append(filters, codec.Subscription{Filter: g.prefix + "/r", QoS: 1})
	}
	if err := c.send(g.version, &codec.Subscribe{PacketID: 1, Filters: filters}); err != nil {
		return hang("SUBSCRIBE", err)
	}
	suback, puback, own, kept, pong := false, false, false, !g.retained, false
	limit := time.Now().Add(wait)
	for sent := false; !suback || !puback || !own || !kept || !pong; {
		p, err := c.next(limit)
		if err != nil {
			switch {
			case !suback:
				return hang("SUBSCRIBE", err)
			case !puback:
				return hang("PUBLISH", err)
			case !pong:
				return hang("PINGREQ", err)
			case !own:
				return hang("a subscription", err)
			}
			return &trouble{oracle: OracleDelivery, signature: "retained lost", title: "a retained message of a bystander is gone", detail: []string{err.Error()}}
		}
		switch p := p.(type) {
		case *codec.Suback:
			suback = true
		case *codec.Puback:
			puback = true
		case *codec.Pingresp:
			pong = true
		case *codec.Publish:
			own = own || p.Topic == g.prefix+"/f"
			kept = kept || p.Topic == g.prefix+"/r" && string(p.Payload) == "kept"
			if p.QoS == 1 {
				_ = c.send(g.version, &codec.Puback{PacketID: p.PacketID})
			}
		case *codec.Disconnect:
			return g.left("new subscriber", p)
		}
		if suback && !sent {
			sent = true
			if err := c.send(g.version, &codec.Publish{Topic: g.prefix + "/f", Payload: []byte("fresh"), QoS: 1, PacketID: 2}); err != nil {
				return hang("PUBLISH", err)
			}
			if err := c.send(g.version, &codec.Pingreq{}); err != nil {
				return hang("PINGREQ", err)
			}
		}
	}
	return nil
}

// findings returns what the judge holds against the target on the bystanders' connections.
func (g *guard) findings() []trouble {
	var r result
	for _, c := range []*guardConn{g.sub, g.pub} {
		if c != nil {
			judged(c.judge, nil, &r)
		}
	}
	return r.troubles
}

// tidy removes what the guard has left on the target.
func (g *guard) tidy() {
	if g.pub == nil || !g.retained {
		return
	}
	if g.pub.send(g.version, &codec.Publish{Topic: g.prefix + "/r", QoS: 1, PacketID: 9, Retain: true}) == nil {
		_, _ = g.pub.await(time.Second, codec.TypePuback)
	}
}

// close ends both connections.
func (g *guard) close() {
	for _, c := range []*guardConn{g.sub, g.pub} {
		if c != nil {
			_ = c.send(g.version, &codec.Disconnect{})
			_ = c.nc.Close()
		}
	}
	g.sub, g.pub = nil, nil
}
