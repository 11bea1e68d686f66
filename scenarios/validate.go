package scenarios

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/mqlab/mqlab/codec"
)

const (
	maxSteps = 20_000
	maxWait  = 24 * time.Hour
)

var (
	connName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,31}$`)
	uniqueText = regexp.MustCompile(`^[0-9A-Za-z]{4,16}$`)
)

// checker collects problems by the path of their field.
type checker struct {
	errs  []error
	x     *Exchange
	open  map[string]codec.Version // connections that were opened so far
	order []string
}

func (c *checker) bad(path, format string, args ...any) {
	c.errs = append(c.errs, &problem{path: path, text: fmt.Sprintf(format, args...)})
}

// problem is what is wrong with one field.
type problem struct {
	path, text string
	line       int // in the file; 0 where there is none
}

func (p *problem) Error() string {
	if p.line == 0 {
		return p.path + ": " + p.text
	}
	return fmt.Sprintf("%s: %s (line %d)", p.path, p.text, p.line)
}

// locatedProblems bounds how many problems of a file are given a line.
const locatedProblems = 100

// located adds to problems the lines at which their fields stand in the text, or what holds them where they are missing.
func located(err error, text []byte) error {
	list, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	defer func() { _ = recover() }() // as decode says; the problems are right without lines too
	file, perr := parser.ParseBytes(text, 0)
	if perr != nil {
		return err
	}
	for i, e := range list.Unwrap() {
		var p *problem
		if errors.As(e, &p) && i < locatedProblems {
			p.line = lineOf(file, p.path)
		}
	}
	return err
}

func lineOf(file *ast.File, path string) int {
	for path != "" {
		if at, err := yaml.PathString("$." + path); err == nil {
			if n, err := at.FilterFile(file); err == nil && n != nil && n.GetToken() != nil {
				return n.GetToken().Position.Line
			}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 0
}

// Validate reports every problem of the exchange by the path of its field.
func (x *Exchange) Validate() error {
	c := &checker{x: x, open: map[string]codec.Version{}}
	if x.Kind != KindExchange {
		c.bad("kind", "%q is not an exchange: write \"kind: exchange\"", x.Kind)
	}
	if strings.TrimSpace(x.Title) == "" {
		c.bad("title", "it is missing: say in one line what a correct server does")
	}
	if versions[x.MQTT] == 0 {
		c.bad("mqtt", "%q is not a version: write 3.1, 3.1.1 or 5.0", x.MQTT)
	}
	if x.Unique != "" && !uniqueText.MatchString(x.Unique) {
		c.bad("unique", "%q must be 4 to 16 letters and digits", x.Unique)
	}
	c.duration("timeout", x.Timeout)
	switch {
	case len(x.Steps) == 0:
		c.bad("steps", "there are none")
	case len(x.Steps) > maxSteps:
		c.bad("steps", "%d are more than %d", len(x.Steps), maxSteps)
	}
	for i := range x.Steps {
		c.step(fmt.Sprintf("steps[%d]", i), &x.Steps[i])
	}
	return errors.Join(c.errs...)
}

func (c *checker) duration(path string, d time.Duration) {
	if d < 0 || d > maxWait {
		c.bad(path, "%v is not between 0 and %v", d, maxWait)
	}
}

func (c *checker) step(path string, s *Step) {
	kinds := s.kinds()
	if len(kinds) != 1 {
		if len(kinds) == 0 {
			c.bad(path, "it does nothing: write one of open, send, send_hex, expect, expect_close, expect_none, wait, close, ack")
		} else {
			c.bad(path, "it does %s at once: make each a step", strings.Join(kinds, " and "))
		}
		return
	}
	kind := kinds[0]
	version := c.on(path, kind, s)
	c.modifiers(path, kind, s)
	switch kind {
	case "open":
		c.opened(path, s)
	case "send":
		c.packet(path+".send", s.Send, version, true)
	case "send_hex":
		c.hex(path+".send_hex", s.SendHex)
	case "expect":
		c.packet(path+".expect", s.Expect, version, false)
	case "expect_none":
		c.packet(path+".expect_none", s.ExpectNone, version, false)
		if s.Fence != nil {
			c.known(path+".fence.from", s.Fence.From)
			if s.Fence.QoS > 2 {
				c.bad(path+".fence.qos", "%d is not 0, 1 or 2", s.Fence.QoS)
			}
			if !codec.ValidTopicName(s.Fence.Topic) {
				c.bad(path+".fence.topic", "%q is not a Topic Name", s.Fence.Topic)
			}
			if s.For != 0 {
				c.bad(path, "for and fence prove the same: write one of them")
			}
		}
	case "expect_close":
		for i, p := range s.ExpectClose.Without {
			at := fmt.Sprintf("%s.expect_close.without[%d]", path, i)
			if p == nil {
				c.bad(at, "it is empty")
				continue
			}
			c.packet(at, p, version, false)
		}
		for i, r := range s.ExpectClose.Reason {
			if !r.valid() {
				c.bad(fmt.Sprintf("%s.expect_close.reason[%d]", path, i), "%q is not a reason code", r)
			}
		}
	case "close":
		c.known(path+".close", s.Close)
	}
}

// on resolves the connection of a step, which may be left out where there is only one, and
// returns its version.
func (c *checker) on(path, kind string, s *Step) codec.Version {
	if kind == "open" || kind == "wait" || kind == "close" {
		if s.Conn != "" {
			c.bad(path+".conn", "%s stands without it", kind)
		}
		return 0
	}
	if s.Conn == "" {
		if len(c.order) != 1 {
			c.bad(path+".conn", "it is missing: name one of the connections that are open, %s", strings.Join(c.order, ", "))
			return c.x.Version()
		}
		return c.open[c.order[0]]
	}
	c.known(path+".conn", s.Conn)
	return c.open[s.Conn]
}

func (c *checker) known(path, name string) {
	if c.open[name] == 0 {
		c.bad(path, "no step before opens a connection %q", name)
	}
}

func (c *checker) opened(path string, s *Step) {
	if !connName.MatchString(s.Open) {
		c.bad(path+".open", "%q is not a name: use up to 32 letters, digits, - and _, a letter first", s.Open)
	}
	if c.open[s.Open] != 0 {
		c.bad(path+".open", "%q is the name of an earlier connection: names are used once", s.Open)
	}
	v := c.x.Version()
	if s.MQTT != "" {
		if v = versions[s.MQTT]; v == 0 {
			c.bad(path+".mqtt", "%q is not a version: write 3.1, 3.1.1 or 5.0", s.MQTT)
		}
	}
	if v == 0 {
		v = codec.V4 // the problem is reported where the version stands
	}
	c.open[s.Open] = v
	c.order = append(c.order, s.Open)
}

// modifiers refuses fields that say nothing about a step of the kind.
func (c *checker) modifiers(path, kind string, s *Step) {
	only := func(set bool, name string, kinds ...string) {
		if set && !slices.Contains(kinds, kind) {
			c.bad(path+"."+name, "it means nothing for %s: it goes with %s", kind, strings.Join(kinds, " and "))
		}
	}
	only(s.MQTT != "", "mqtt", "open")
	only(s.Ack != "", "ack", "open", "ack")
	only(s.Within != 0, "within", "expect", "expect_close")
	only(s.Next, "next", "expect")
	only(s.Optional, "optional", "expect", "expect_close")
	only(s.For != 0, "for", "expect_none")
	only(s.Fence != nil, "fence", "expect_none")
	only(s.How != "", "how", "close")
	c.duration(path+".within", s.Within)
	c.duration(path+".for", s.For)
	c.duration(path+".wait", s.Wait)
	if s.Ack != "" && s.Ack != "auto" && s.Ack != "manual" {
		c.bad(path+".ack", "%q is not auto or manual", s.Ack)
	}
	if s.How != "" && s.How != "orderly" && s.How != "drop" {
		c.bad(path+".how", "%q is not orderly or drop", s.How)
	}
}

func (c *checker) hex(path, s string) {
	for _, word := range strings.Fields(s) {
		switch word {
		case placeUsername, placePassword, placeBadUsername, placeBadPassword:
			continue
		}
		if _, err := parseHex(word); err != nil {
			c.bad(path, "%v", err)
			return
		}
	}
}

// packet checks a packet to be sent, or one that is expected.
func (c *checker) packet(path string, p *Packet, version codec.Version, sent bool) {
	if p.Type != "" && p.packetType() == 0 {
		c.bad(path+".type", "%q is not a packet type: write it in small letters, such as publish", p.Type)
		return
	}
	if p.Type == "" && (sent || p.Hex == "" && !p.Malformed) {
		c.bad(path+".type", "it is missing")
		return
	}
	c.fields(path, p)
	before := len(c.errs)
	c.forms(path, p, sent)
	if sent && (p.Malformed || p.Hex != "" || p.Without != nil || p.With != nil) {
		c.bad(path, "malformed, hex, with and without are for expectations: send_hex sends any bytes")
		return
	}
	if !sent || len(c.errs) > before {
		return
	}
	// A packet that the standard forbids is found by encoding it, with one in place of references.
	q := *p
	if p.ID != nil && strings.HasPrefix(string(*p.ID), "$") {
		one := ID("1")
		q.ID = &one
	}
	if p.ClientID != nil && strings.HasPrefix(*p.ClientID, "$") {
		some := "reference"
		q.ClientID = &some
	}
	dry := &values{cfg: &RunConfig{Username: "u", Password: "p", BadUsername: "u", BadPassword: "p"}}
	pk, err := q.packet(dry, version)
	if err == nil {
		_, err = pk.AppendTo(nil, version)
	}
	if err != nil {
		c.bad(path, "the packet is not legal, send_hex sends any bytes: %v", err)
	}
}

// fields refuses fields that a packet of the type does not have: their tags say which do. Those without the tag belong to
// every packet.
func (c *checker) fields(path string, p *Packet) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		in := f.Tag.Get("in")
		if in == "" || v.Field(i).IsNil() || slices.Contains(strings.Split(in, ","), p.Type) {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		c.bad(path+"."+name, "a packet of type %q has none: it belongs to %s", p.Type, strings.ReplaceAll(in, ",", ", "))
	}
}

// forms checks the values that a type of the language cannot.
func (c *checker) forms(path string, p *Packet, sent bool) {
	data := func(name string, b *Bytes) {
		if b == nil {
			return
		}
		if _, err := b.bytes(); err != nil {
			c.bad(path+"."+name, "%v", err)
		}
	}
	data("password", p.Password)
	data("payload", p.Payload)
	if p.Will != nil {
		data("will.payload", &p.Will.Payload)
		c.properties(path+".will.properties", p.Will.Properties)
	}
	c.properties(path+".properties", p.Properties)
	for i, r := range append([]Reason{value(p.Reason)}, p.Reasons...) {
		if i == 0 && p.Reason == nil {
			continue
		}
		if _, number := r.code(); !r.valid() || sent && !number {
			c.bad(path+".reason", "%q is not a reason code: write a number such as 0x87, or in an expectation success or refused", r)
		}
	}
	if p.ID != nil {
		if strings.HasPrefix(string(*p.ID), "$") {
			r, err := parseReference(string(*p.ID))
			if err != nil {
				c.bad(path+".id", "%v", err)
			} else {
				c.known(path+".id", r.conn)
			}
		} else if n, err := strconv.ParseUint(string(*p.ID), 0, 16); err != nil || n == 0 {
			c.bad(path+".id", "%q is not a Packet Identifier: write 1 to 65535 or a reference such as $c1.publish.1", *p.ID)
		}
	}
	if p.QoS != nil && *p.QoS > 2 {
		c.bad(path+".qos", "%d is not 0, 1 or 2", *p.QoS)
	}
	if p.Hex != "" {
		if _, err := parseHex(p.Hex); err != nil {
			c.bad(path+".hex", "%v", err)
		}
	}
	for _, n := range append(slices.Clone(p.With), p.Without...) {
		if n != "all" && !slices.ContainsFunc(propertyIDs, func(id codec.PropID) bool { return propertyName(id) == n }) {
			c.bad(path, "with and without: there is no property %q", n)
		}
	}
}

func (c *checker) properties(path string, p *Properties) {
	if p == nil {
		return
	}
	for name, b := range map[string]*Bytes{"correlation_data": p.CorrelationData, "authentication_data": p.AuthData} {
		if b != nil {
			if _, err := b.bytes(); err != nil {
				c.bad(path+"."+name, "%v", err)
			}
		}
	}
}
