package scenarios

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// Packet is an MQTT packet to be sent, or what is expected of one that arrives. In what is
// expected, a field that is left out may be anything.
type Packet struct {
	Type string `yaml:"type,omitempty" doc:"the packet's type; only an expectation may leave it out" enum:"connect,connack,publish,puback,pubrec,pubrel,pubcomp,subscribe,suback,unsubscribe,unsuback,pingreq,pingresp,disconnect,auth"`

	ClientID   *string `yaml:"client_id,omitempty" in:"connect" doc:"connect: the Client Identifier; $c1.connack.1 is the one that the first CONNACK on c1 assigned"`
	CleanStart *bool   `yaml:"clean_start,omitempty" in:"connect" doc:"connect: Clean Start, before 5.0 Clean Session; true where it is left out"`
	KeepAlive  *uint16 `yaml:"keep_alive,omitempty" in:"connect" doc:"connect: seconds"`
	Username   *string `yaml:"username,omitempty" in:"connect" doc:"connect: $username and $bad_username stand for what the run was given"`
	Password   *Bytes  `yaml:"password,omitempty" in:"connect" doc:"connect: $password and $bad_password stand for what the run was given"`
	Will       *Will   `yaml:"will,omitempty" in:"connect" doc:"connect: the Will Message"`

	SessionPresent *bool    `yaml:"session_present,omitempty" in:"connack" doc:"connack"`
	Reason         *Reason  `yaml:"reason,omitempty" in:"connack,puback,pubrec,pubrel,pubcomp,disconnect,auth" doc:"the reason or return code: a number, or success (below 0x80), or refused"`
	Reasons        []Reason `yaml:"reasons,omitempty" in:"suback,unsuback" doc:"suback, unsuback: one code for each Topic Filter"`

	ID      *ID     `yaml:"id,omitempty" in:"publish,puback,pubrec,pubrel,pubcomp,subscribe,suback,unsubscribe,unsuback" doc:"the Packet Identifier: a number, or $c1.publish.1 for that of the first PUBLISH at QoS 1 or 2 received on c1"`
	Topic   *string `yaml:"topic,omitempty" in:"publish" doc:"publish: the Topic Name"`
	Payload *Bytes  `yaml:"payload,omitempty" in:"publish" doc:"publish: text, or hex: followed by hexadecimal digits"`
	QoS     *uint8  `yaml:"qos,omitempty" in:"publish" doc:"publish: 0, 1 or 2"`
	Dup     *bool   `yaml:"dup,omitempty" in:"publish" doc:"publish: the DUP flag"`
	Retain  *bool   `yaml:"retain,omitempty" in:"publish" doc:"publish: the RETAIN flag"`

	Filters    []Filter    `yaml:"filters,omitempty" in:"subscribe,unsubscribe" doc:"subscribe, unsubscribe: the Topic Filters"`
	Properties *Properties `yaml:"properties,omitempty" doc:"the properties of MQTT 5.0; in an expectation, others may be there too"`

	With      []string `yaml:"with,omitempty" doc:"in an expectation: properties that must be there, whatever they say"`
	Without   []string `yaml:"without,omitempty" doc:"in an expectation: properties that must not be there, by name; all: none but those named"`
	Malformed bool     `yaml:"malformed,omitempty" doc:"in an expectation: a packet that breaks the standard's form; other expectations never take one"`
	Hex       string   `yaml:"hex,omitempty" doc:"in an expectation: exactly these bytes"`
}

// Will is the Will Message of a CONNECT.
type Will struct {
	Topic      string      `yaml:"topic" doc:"the Will Topic"`
	Payload    Bytes       `yaml:"payload,omitempty" doc:"the Will Payload"`
	QoS        uint8       `yaml:"qos,omitempty" doc:"0, 1 or 2"`
	Retain     bool        `yaml:"retain,omitempty" doc:"whether it is retained"`
	Properties *Properties `yaml:"properties,omitempty" doc:"the Will Properties"`
}

// Filter is one Topic Filter of SUBSCRIBE or UNSUBSCRIBE.
type Filter struct {
	Filter            string `yaml:"filter" doc:"the Topic Filter"`
	QoS               uint8  `yaml:"qos,omitempty" doc:"subscribe: 0, 1 or 2"`
	NoLocal           bool   `yaml:"no_local,omitempty" doc:"subscribe, 5.0"`
	RetainAsPublished bool   `yaml:"retain_as_published,omitempty" doc:"subscribe, 5.0"`
	RetainHandling    uint8  `yaml:"retain_handling,omitempty" doc:"subscribe, 5.0: 0, 1 or 2"`
}

// Reason is a reason code: a number such as 0x87 or 135, "success" for any below 0x80, or
// "refused" for any other. Only an expectation may use the words, save that success is 0 too.
type Reason string

// ID is a Packet Identifier: a number, or a reference such as $c1.publish.1 to that of a packet
// that has arrived: connection, type, and which of them, counted from 1.
type ID string

// Bytes is text, or "hex:" followed by hexadecimal digits. Text that begins with "hex:" has to
// be written in digits itself.
type Bytes string

// BytesOf returns b in its most readable form.
func BytesOf(b []byte) Bytes {
	if plain(string(b)) && !strings.HasPrefix(string(b), "hex:") && !strings.HasPrefix(string(b), "$") {
		return Bytes(b)
	}
	return Bytes("hex:" + hex.EncodeToString(b))
}

// plain reports whether a text survives YAML unharmed and can be read in it.
func plain(s string) bool {
	for _, r := range s {
		if r == '\uFFFD' || r == '\uFEFF' || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

func (b Bytes) bytes() ([]byte, error) {
	if digits, ok := strings.CutPrefix(string(b), "hex:"); ok {
		return parseHex(digits)
	}
	return []byte(b), nil
}

func parseHex(s string) ([]byte, error) {
	out, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		return nil, fmt.Errorf("%q are not hexadecimal digits: write two for each byte", shorten(s, 24))
	}
	return out, nil
}

// code returns the number of a reason; ok is false for the words.
func (r Reason) code() (c codec.ReasonCode, ok bool) {
	n, err := strconv.ParseUint(string(r), 0, 8)
	return codec.ReasonCode(n), err == nil
}

func (r Reason) valid() bool {
	_, ok := r.code()
	return ok || r == "success" || r == "refused"
}

func (r Reason) matches(c codec.ReasonCode, t codec.Type, v codec.Version) bool {
	failed := c.Failed() || t == codec.TypeConnack && v < codec.V5 && c != 0
	switch r {
	case "success":
		return !failed
	case "refused":
		return failed
	}
	n, _ := r.code()
	return n == c
}

// types are the packet types by their names in a file.
var types = func() map[string]codec.Type {
	m := map[string]codec.Type{}
	for t := codec.TypeConnect; t <= codec.TypeAuth; t++ {
		m[strings.ToLower(t.String())] = t
	}
	return m
}()

// packetType returns the type, 0 where none is named.
func (p *Packet) packetType() codec.Type { return types[p.Type] }

// PacketOf returns the packet as a file states it, every field included.
func PacketOf(q codec.Packet) *Packet {
	p := &Packet{Type: strings.ToLower(q.Type().String())}
	ack := func(id uint16, r codec.ReasonCode, props *codec.Properties) {
		p.ID, p.Reason, p.Properties = idOf(id), reasonOf(r), propertiesOf(props)
	}
	switch q := q.(type) {
	case *codec.Connect:
		p.ClientID, p.CleanStart, p.KeepAlive = &q.ClientID, &q.CleanStart, &q.KeepAlive
		if q.HasUsername {
			p.Username = &q.Username
		}
		if q.HasPassword {
			b := BytesOf(q.Password)
			p.Password = &b
		}
		if q.HasWill {
			p.Will = &Will{
				Topic: q.Will.Topic, Payload: BytesOf(q.Will.Payload), QoS: uint8(q.Will.QoS), Retain: q.Will.Retain,
				Properties: propertiesOf(&q.Will.Props),
			}
		}
		p.Properties = propertiesOf(&q.Props)
	case *codec.Connack:
		p.SessionPresent, p.Reason, p.Properties = &q.SessionPresent, reasonOf(q.Reason), propertiesOf(&q.Props)
	case *codec.Publish:
		payload, qos := BytesOf(q.Payload), uint8(q.QoS)
		p.Topic, p.Payload, p.QoS, p.Dup, p.Retain = &q.Topic, &payload, &qos, &q.Dup, &q.Retain
		if qos > 0 {
			p.ID = idOf(q.PacketID)
		}
		p.Properties = propertiesOf(&q.Props)
	case *codec.Puback:
		ack(q.PacketID, q.Reason, &q.Props)
	case *codec.Pubrec:
		ack(q.PacketID, q.Reason, &q.Props)
	case *codec.Pubrel:
		ack(q.PacketID, q.Reason, &q.Props)
	case *codec.Pubcomp:
		ack(q.PacketID, q.Reason, &q.Props)
	case *codec.Subscribe:
		p.ID, p.Properties = idOf(q.PacketID), propertiesOf(&q.Props)
		for _, s := range q.Filters {
			p.Filters = append(p.Filters, Filter{s.Filter, uint8(s.QoS), s.NoLocal, s.RetainAsPublished, s.RetainHandling})
		}
	case *codec.Unsubscribe:
		p.ID, p.Properties = idOf(q.PacketID), propertiesOf(&q.Props)
		for _, s := range q.Filters {
			p.Filters = append(p.Filters, Filter{Filter: s})
		}
	case *codec.Suback:
		p.ID, p.Reasons, p.Properties = idOf(q.PacketID), reasonsOf(q.Reasons), propertiesOf(&q.Props)
	case *codec.Unsuback:
		p.ID, p.Reasons, p.Properties = idOf(q.PacketID), reasonsOf(q.Reasons), propertiesOf(&q.Props)
	case *codec.Disconnect:
		p.Reason, p.Properties = reasonOf(q.Reason), propertiesOf(&q.Props)
	case *codec.Auth:
		p.Reason, p.Properties = reasonOf(q.Reason), propertiesOf(&q.Props)
	}
	return p
}

func idOf(id uint16) *ID {
	s := ID(strconv.Itoa(int(id)))
	return &s
}

func reasonOf(c codec.ReasonCode) *Reason {
	r := Reason(fmt.Sprintf("0x%02X", uint8(c)))
	return &r
}

func reasonsOf(cs []codec.ReasonCode) []Reason {
	var out []Reason
	for _, c := range cs {
		out = append(out, *reasonOf(c))
	}
	return out
}

// packet returns the packet to be sent. References and placeholders are resolved by v.
func (p *Packet) packet(v *values, version codec.Version) (codec.Packet, error) {
	var fail error
	keep := func(err error) {
		if fail == nil {
			fail = err
		}
	}
	id := func() uint16 {
		if p.ID == nil {
			return 0
		}
		n, err := v.id(*p.ID)
		keep(err)
		return n
	}
	data := func(b *Bytes) []byte {
		if b == nil {
			return nil
		}
		out, err := b.bytes()
		keep(err)
		return v.fresh(out)
	}
	reason := func() codec.ReasonCode {
		if p.Reason == nil {
			return 0
		}
		c, _ := p.Reason.code()
		return c
	}
	var props codec.Properties
	if p.Properties != nil {
		keep(p.Properties.fill(&props, v))
	}
	var codes []codec.ReasonCode
	for _, r := range p.Reasons {
		c, _ := r.code()
		codes = append(codes, c)
	}
	var out codec.Packet
	switch p.packetType() {
	case codec.TypeConnect:
		out = p.connect(v, version, props, data, keep)
	case codec.TypeConnack:
		out = &codec.Connack{SessionPresent: value(p.SessionPresent), Reason: reason(), Props: props}
	case codec.TypePublish:
		out = &codec.Publish{
			Topic: v.freshText(value(p.Topic)), Payload: data(p.Payload), PacketID: id(), QoS: codec.QoS(value(p.QoS)),
			Dup: value(p.Dup), Retain: value(p.Retain), Props: props,
		}
	case codec.TypePuback:
		out = &codec.Puback{PacketID: id(), Reason: reason(), Props: props}
	case codec.TypePubrec:
		out = &codec.Pubrec{PacketID: id(), Reason: reason(), Props: props}
	case codec.TypePubrel:
		out = &codec.Pubrel{PacketID: id(), Reason: reason(), Props: props}
	case codec.TypePubcomp:
		out = &codec.Pubcomp{PacketID: id(), Reason: reason(), Props: props}
	case codec.TypeSubscribe:
		s := &codec.Subscribe{PacketID: id(), Props: props}
		for _, f := range p.Filters {
			s.Filters = append(s.Filters, codec.Subscription{
				Filter: v.freshText(f.Filter), QoS: codec.QoS(f.QoS), NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling,
			})
		}
		out = s
	case codec.TypeUnsubscribe:
		s := &codec.Unsubscribe{PacketID: id(), Props: props}
		for _, f := range p.Filters {
			s.Filters = append(s.Filters, v.freshText(f.Filter))
		}
		out = s
	case codec.TypeSuback:
		out = &codec.Suback{PacketID: id(), Reasons: codes, Props: props}
	case codec.TypeUnsuback:
		out = &codec.Unsuback{PacketID: id(), Reasons: codes, Props: props}
	case codec.TypePingreq:
		out = &codec.Pingreq{}
	case codec.TypePingresp:
		out = &codec.Pingresp{}
	case codec.TypeDisconnect:
		out = &codec.Disconnect{Reason: reason(), Props: props}
	case codec.TypeAuth:
		out = &codec.Auth{Reason: reason(), Props: props}
	default:
		return nil, fmt.Errorf("the type %q of the packet is not known", p.Type)
	}
	return out, fail
}

func (p *Packet) connect(v *values, version codec.Version, props codec.Properties, data func(*Bytes) []byte, keep func(error)) codec.Packet {
	c := &codec.Connect{Version: version, CleanStart: p.CleanStart == nil || *p.CleanStart, KeepAlive: value(p.KeepAlive), Props: props}
	if p.ClientID != nil {
		id, err := v.clientID(*p.ClientID)
		keep(err)
		c.ClientID = id
	}
	if p.Username != nil {
		c.Username, c.HasUsername = v.secret(*p.Username)
	}
	if p.Password != nil {
		if text, ok := v.secret(string(*p.Password)); !ok {
			c.HasPassword = false
		} else if text != string(*p.Password) {
			c.Password, c.HasPassword = []byte(text), true
		} else {
			c.Password, c.HasPassword = data(p.Password), true
		}
	}
	if w := p.Will; w != nil {
		c.HasWill = true
		c.Will = codec.Will{Topic: v.freshText(w.Topic), Payload: data(&w.Payload), QoS: codec.QoS(w.QoS), Retain: w.Retain}
		if w.Properties != nil {
			keep(w.Properties.fill(&c.Will.Props, v))
		}
	}
	return c
}

// value returns what p points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// String returns the fields that are set, in one line.
func (p *Packet) String() string {
	var b strings.Builder
	b.WriteString(strings.ToUpper(p.Type))
	if p.Type == "" {
		b.WriteString("packet")
	}
	text := func(name string, s *string) {
		if s != nil {
			fmt.Fprintf(&b, " %s=%q", name, *s)
		}
	}
	flag := func(name string, on *bool) {
		if on != nil {
			fmt.Fprintf(&b, " %s=%v", name, *on)
		}
	}
	text("client", p.ClientID)
	flag("clean", p.CleanStart)
	text("topic", p.Topic)
	if p.QoS != nil {
		fmt.Fprintf(&b, " qos=%d", *p.QoS)
	}
	if p.ID != nil {
		fmt.Fprintf(&b, " id=%s", *p.ID)
	}
	for _, f := range p.Filters {
		fmt.Fprintf(&b, " %q", f.Filter)
	}
	flag("session-present", p.SessionPresent)
	if p.Reason != nil {
		fmt.Fprintf(&b, " reason=%s", *p.Reason)
	}
	if len(p.Reasons) > 0 {
		fmt.Fprintf(&b, " reasons=%v", p.Reasons)
	}
	flag("dup", p.Dup)
	flag("retain", p.Retain)
	if p.Payload != nil {
		fmt.Fprintf(&b, " payload=%q", shorten(string(*p.Payload), 48))
	}
	if p.Will != nil {
		fmt.Fprintf(&b, " will on %q", p.Will.Topic)
	}
	for _, n := range p.Properties.names() {
		b.WriteString(" +" + n)
	}
	for _, n := range p.With {
		b.WriteString(" +" + n)
	}
	for _, n := range p.Without {
		b.WriteString(" -" + n)
	}
	if p.Malformed {
		b.WriteString(" that is malformed")
	}
	if p.Hex != "" {
		b.WriteString(" with the bytes " + shorten(p.Hex, 60))
	}
	return b.String()
}

// mismatch says why a packet that arrived is not the expected one, "" where it is.
func (p *Packet) mismatch(frame []byte, q codec.Packet, faulty bool, v *values, version codec.Version) string {
	switch {
	case q == nil && !p.Malformed:
		return "the bytes are no packet"
	case q != nil && p.Type != "" && q.Type() != p.packetType():
		return "it is " + q.Type().String()
	case faulty != p.Malformed && p.Hex == "":
		if faulty {
			return "it is malformed"
		}
		return "it is well-formed"
	}
	if p.Hex != "" {
		want, err := parseHex(p.Hex)
		if err != nil || !bytes.Equal(v.fresh(want), frame) {
			return fmt.Sprintf("its bytes are % X", frame[:min(len(frame), 32)])
		}
	}
	if q == nil || p.Type == "" {
		return ""
	}
	return p.differs(PacketOf(q), q, v, version)
}

// differs compares the fields that are set with those of a packet that arrived.
func (p *Packet) differs(got *Packet, q codec.Packet, v *values, version codec.Version) string {
	str := func(name string, want, have *string) string {
		if want == nil || have != nil && v.freshText(*want) == *have {
			return ""
		}
		return fmt.Sprintf("its %s is %q", name, value(have))
	}
	flag := func(name string, want, have *bool) string {
		if want == nil || value(want) == value(have) {
			return ""
		}
		return fmt.Sprintf("its %s is %v", name, value(have))
	}
	for _, why := range []string{
		str("client_id", p.ClientID, got.ClientID), str("topic", p.Topic, got.Topic),
		flag("session_present", p.SessionPresent, got.SessionPresent), flag("dup", p.Dup, got.Dup), flag("retain", p.Retain, got.Retain),
	} {
		if why != "" {
			return why
		}
	}
	if p.QoS != nil && *p.QoS != value(got.QoS) {
		return fmt.Sprintf("its qos is %d", value(got.QoS))
	}
	if p.Payload != nil {
		want, _ := p.Payload.bytes()
		if pub, ok := q.(*codec.Publish); !ok || !bytes.Equal(v.fresh(want), pub.Payload) {
			return fmt.Sprintf("its payload is %q", shorten(string(value(got.Payload)), 48))
		}
	}
	if p.ID != nil {
		want, err := v.id(*p.ID)
		if err != nil {
			return err.Error()
		}
		if have := value(got.ID); have != *idOf(want) {
			return "its id is " + string(have)
		}
	}
	if p.Reason != nil {
		have, _ := value(got.Reason).code()
		if got.Reason == nil || !p.Reason.matches(have, q.Type(), version) {
			return "its reason is " + string(value(got.Reason))
		}
	}
	if p.Reasons != nil {
		same := len(p.Reasons) == len(got.Reasons)
		for i := 0; same && i < len(p.Reasons); i++ {
			have, _ := got.Reasons[i].code()
			same = p.Reasons[i].matches(have, q.Type(), version)
		}
		if !same {
			return fmt.Sprintf("its reasons are %v", got.Reasons)
		}
	}
	for _, n := range p.With {
		if !slices.Contains(got.Properties.names(), n) {
			return "it lacks the property " + n
		}
	}
	return p.Properties.differs(got.Properties, p.Without, p.With, v)
}
