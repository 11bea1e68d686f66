package scenarios

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
)

// Properties are the properties of MQTT 5.0 by name. What is sent stands on the wire in the
// order of this list.
type Properties struct {
	PayloadFormat          *uint32  `yaml:"payload_format_indicator,omitempty" doc:"publish, will"`
	MessageExpiry          *uint32  `yaml:"message_expiry_interval,omitempty" doc:"publish, will: seconds"`
	ContentType            *string  `yaml:"content_type,omitempty" doc:"publish, will"`
	ResponseTopic          *string  `yaml:"response_topic,omitempty" doc:"publish, will"`
	CorrelationData        *Bytes   `yaml:"correlation_data,omitempty" doc:"publish, will"`
	SubscriptionID         []uint32 `yaml:"subscription_identifier,omitempty" doc:"publish, subscribe: a list"`
	SessionExpiry          *uint32  `yaml:"session_expiry_interval,omitempty" doc:"connect, connack, disconnect: seconds"`
	AssignedClientID       *string  `yaml:"assigned_client_identifier,omitempty" doc:"connack"`
	ServerKeepAlive        *uint32  `yaml:"server_keep_alive,omitempty" doc:"connack: seconds"`
	AuthMethod             *string  `yaml:"authentication_method,omitempty" doc:"connect, connack, auth"`
	AuthData               *Bytes   `yaml:"authentication_data,omitempty" doc:"connect, connack, auth"`
	RequestProblemInfo     *uint32  `yaml:"request_problem_information,omitempty" doc:"connect"`
	WillDelay              *uint32  `yaml:"will_delay_interval,omitempty" doc:"will: seconds"`
	RequestResponseInfo    *uint32  `yaml:"request_response_information,omitempty" doc:"connect"`
	ResponseInfo           *string  `yaml:"response_information,omitempty" doc:"connack"`
	ServerReference        *string  `yaml:"server_reference,omitempty" doc:"connack, disconnect"`
	ReasonString           *string  `yaml:"reason_string,omitempty" doc:"answers and disconnect"`
	ReceiveMaximum         *uint32  `yaml:"receive_maximum,omitempty" doc:"connect, connack"`
	TopicAliasMaximum      *uint32  `yaml:"topic_alias_maximum,omitempty" doc:"connect, connack"`
	TopicAlias             *uint32  `yaml:"topic_alias,omitempty" doc:"publish"`
	MaximumQoS             *uint32  `yaml:"maximum_qos,omitempty" doc:"connack"`
	RetainAvailable        *uint32  `yaml:"retain_available,omitempty" doc:"connack"`
	UserProperty           []Pair   `yaml:"user_property,omitempty" doc:"any packet: a list of names with values"`
	MaximumPacketSize      *uint32  `yaml:"maximum_packet_size,omitempty" doc:"connect, connack: bytes"`
	WildcardAvailable      *uint32  `yaml:"wildcard_subscription_available,omitempty" doc:"connack"`
	SubscriptionIDsAvail   *uint32  `yaml:"subscription_identifiers_available,omitempty" doc:"connack"`
	SharedSubscriptionsAvl *uint32  `yaml:"shared_subscription_available,omitempty" doc:"connack"`
}

// Pair is a User Property.
type Pair struct {
	Name  string `yaml:"name" doc:"the name"`
	Value string `yaml:"value" doc:"the value"`
}

// propertyIDs are the properties in the order of the fields of Properties, by the names in their tags.
var propertyIDs = func() []codec.PropID {
	byName := map[string]codec.PropID{}
	for id := range codec.PropID(128) {
		byName[propertyName(id)] = id
	}
	var out []codec.PropID
	for f := range reflect.TypeFor[Properties]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		id, ok := byName[name]
		if !ok {
			panic("scenarios: MQTT has no property " + name)
		}
		out = append(out, id)
	}
	return out
}()

// propertyName is the name of a property in a file: the standard's in lower case.
func propertyName(id codec.PropID) string {
	return strings.ReplaceAll(strings.ToLower(id.String()), " ", "_")
}

// fill sets the properties that are there.
func (p *Properties) fill(dst *codec.Properties, v *values) error {
	fields := reflect.ValueOf(p).Elem()
	for i, id := range propertyIDs {
		switch x := fields.Field(i).Interface().(type) {
		case *uint32:
			if x != nil {
				dst.SetUint(id, *x)
			}
		case *string:
			if x != nil {
				dst.SetText(id, v.freshText(*x))
			}
		case *Bytes:
			if x != nil {
				b, err := x.bytes()
				if err != nil {
					return err
				}
				dst.SetBytes(id, v.fresh(b))
			}
		case []uint32:
			for _, n := range x {
				dst.SetUint(id, n)
			}
		case []Pair:
			for _, u := range x {
				dst.AddUser(v.freshText(u.Name), v.freshText(u.Value))
			}
		}
	}
	return nil
}

// propertiesOf returns the properties of a packet, nil where there are none.
func propertiesOf(src *codec.Properties) *Properties {
	if src.Empty() {
		return nil
	}
	p := new(Properties)
	fields := reflect.ValueOf(p).Elem()
	for pr, ok := range src.All() {
		i := slices.Index(propertyIDs, pr.ID)
		if !ok || i < 0 {
			break
		}
		f := fields.Field(i)
		switch f.Interface().(type) {
		case *uint32:
			n := pr.Int
			f.Set(reflect.ValueOf(&n))
		case *string:
			s := string(pr.Value)
			f.Set(reflect.ValueOf(&s))
		case *Bytes:
			b := BytesOf(pr.Value)
			f.Set(reflect.ValueOf(&b))
		case []uint32:
			p.SubscriptionID = append(p.SubscriptionID, pr.Int)
		case []Pair:
			p.UserProperty = append(p.UserProperty, Pair{strings.Clone(pr.Key), string(pr.Value)})
		}
	}
	return p
}

// names lists the properties that are set.
func (p *Properties) names() []string {
	if p == nil {
		return nil
	}
	var out []string
	fields := reflect.ValueOf(p).Elem()
	for i, id := range propertyIDs {
		if !fields.Field(i).IsZero() {
			out = append(out, propertyName(id))
		}
	}
	return out
}

// Remove takes the property of that name away.
func (p *Properties) Remove(name string) {
	for i, id := range propertyIDs {
		if p != nil && propertyName(id) == name {
			reflect.ValueOf(p).Elem().Field(i).SetZero()
		}
	}
}

// Names lists the properties that are set, by their names in a file.
func (p *Properties) Names() []string { return p.names() }

// differs says which expected property a packet lacks or has otherwise, or which it has that
// it must not have.
func (p *Properties) differs(got *Properties, without, with []string, v *values) string {
	for _, n := range got.names() {
		if slices.Contains(without, n) || slices.Contains(without, "all") && !slices.Contains(p.names(), n) && !slices.Contains(with, n) {
			return "it has the property " + n
		}
	}
	if p == nil {
		return ""
	}
	if got == nil {
		got = new(Properties)
	}
	want, have := reflect.ValueOf(p).Elem(), reflect.ValueOf(got).Elem()
	for i, id := range propertyIDs {
		if want.Field(i).IsZero() {
			continue
		}
		if have.Field(i).IsZero() {
			return "it lacks the property " + propertyName(id)
		}
		same := false
		switch x := want.Field(i).Interface().(type) {
		case *uint32:
			same = *x == *have.Field(i).Interface().(*uint32)
		case *string:
			same = v.freshText(*x) == *have.Field(i).Interface().(*string)
		case *Bytes:
			a, _ := x.bytes()
			b, _ := have.Field(i).Interface().(*Bytes).bytes()
			same = string(v.fresh(a)) == string(b)
		case []uint32:
			a, b := slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(got.SubscriptionID))
			same = slices.Equal(a, b)
		case []Pair:
			same = slices.EqualFunc(x, got.UserProperty, func(a, b Pair) bool {
				return v.freshText(a.Name) == b.Name && v.freshText(a.Value) == b.Value
			})
		}
		if !same {
			return fmt.Sprintf("its property %s is %v", propertyName(id), reflect.Indirect(have.Field(i)).Interface())
		}
	}
	return ""
}

// clone returns a copy that shares nothing.
func (p *Properties) clone() *Properties {
	if p == nil {
		return nil
	}
	c := *p
	fields := reflect.ValueOf(&c).Elem()
	for i := range fields.NumField() {
		if f := fields.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			n := reflect.New(f.Type().Elem())
			n.Elem().Set(f.Elem())
			f.Set(n)
		}
	}
	c.SubscriptionID, c.UserProperty = slices.Clone(p.SubscriptionID), slices.Clone(p.UserProperty)
	return &c
}

// Append adds the properties to dst as they stand. A template is expanded by expand, which may be nil.
func (p *Properties) Append(dst *codec.Properties, expand func(string) string) error {
	if p == nil {
		return nil
	}
	if expand == nil {
		return p.fill(dst, &values{cfg: &RunConfig{}})
	}
	q := p.clone()
	for _, t := range q.texts() {
		t.set(expand(t.text))
	}
	return q.fill(dst, &values{cfg: &RunConfig{}})
}

// propertyText is one text of properties, by its path.
type propertyText struct {
	path, text string
	set        func(string)
}

// texts returns what can be a template: every text, and bytes that are not given in digits.
func (p *Properties) texts() []propertyText {
	if p == nil {
		return nil
	}
	var out []propertyText
	fields := reflect.ValueOf(p).Elem()
	for i, id := range propertyIDs {
		switch x := fields.Field(i).Interface().(type) {
		case *string:
			if x != nil {
				out = append(out, propertyText{propertyName(id), *x, func(s string) { *x = s }})
			}
		case *Bytes:
			if x != nil && !strings.HasPrefix(string(*x), "hex:") {
				out = append(out, propertyText{propertyName(id), string(*x), func(s string) { *x = BytesOf([]byte(s)) }})
			}
		case []Pair:
			for j := range x {
				out = append(out,
					propertyText{fmt.Sprintf("%s[%d].name", propertyName(id), j), x[j].Name, func(s string) { x[j].Name = s }},
					propertyText{fmt.Sprintf("%s[%d].value", propertyName(id), j), x[j].Value, func(s string) { x[j].Value = s }})
			}
		}
	}
	return out
}
