package loadgen

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/scenarios"
)

// propTemplates are the properties of a packet whose texts are templates. Where nothing varies they are one piece of wire
// form.
type propTemplates struct {
	fixed codec.Properties
	texts []propText
}

// propText is a property whose text differs between clients or messages.
type propText struct {
	id    codec.PropID
	name  string // of a User Property
	value *scenarios.Template
}

func (t *templates) properties(field string, sp *scenarios.Properties) propTemplates {
	var out propTemplates
	if sp == nil {
		return out
	}
	number := func(id codec.PropID, v *uint32) {
		if v != nil {
			out.fixed.SetUint(id, *v)
		}
	}
	text := func(id codec.PropID, name string, v string) {
		tpl := t.one(field, v)
		if t.err != nil {
			return
		}
		s, constant := tpl.Constant()
		switch {
		case !constant:
			out.texts = append(out.texts, propText{id, name, tpl})
		case id == codec.PropUserProperty:
			out.fixed.AddUser(name, s)
		case id == codec.PropCorrelationData || id == codec.PropAuthData:
			out.fixed.SetBytes(id, []byte(s))
		default:
			out.fixed.SetText(id, s)
		}
	}
	optional := func(id codec.PropID, v *string) {
		if v != nil {
			text(id, "", *v)
		}
	}
	data := func(id codec.PropID, v *scenarios.Bytes) {
		switch {
		case v == nil:
		case strings.HasPrefix(string(*v), "hex:"):
			b, err := hex.DecodeString(strings.ReplaceAll(string(*v)[len("hex:"):], " ", ""))
			if err != nil && t.err == nil {
				t.err = fmt.Errorf("%s: %w", field, err)
			}
			out.fixed.SetBytes(id, b)
		default:
			text(id, "", string(*v))
		}
	}
	number(codec.PropPayloadFormat, sp.PayloadFormat)
	number(codec.PropMessageExpiry, sp.MessageExpiry)
	number(codec.PropReceiveMaximum, sp.ReceiveMaximum)
	number(codec.PropMaximumPacketSize, sp.MaximumPacketSize)
	number(codec.PropRequestProblemInfo, sp.RequestProblemInfo)
	number(codec.PropRequestResponseInfo, sp.RequestResponseInfo)
	optional(codec.PropContentType, sp.ContentType)
	optional(codec.PropResponseTopic, sp.ResponseTopic)
	data(codec.PropCorrelationData, sp.CorrelationData)
	optional(codec.PropAuthMethod, sp.AuthMethod)
	data(codec.PropAuthData, sp.AuthData)
	for _, u := range sp.UserProperty {
		text(codec.PropUserProperty, u.Name, u.Value)
	}
	return out
}

func (p *propTemplates) empty() bool { return p.fixed.Empty() && len(p.texts) == 0 }

// fill sets the properties; v is not used where nothing varies. scratch is used for texts.
func (p *propTemplates) fill(dst *codec.Properties, v *scenarios.Vars, scratch []byte) []byte {
	if len(p.texts) == 0 {
		dst.SetRaw(p.fixed.Raw())
		return scratch
	}
	dst.Reset()
	for pr, ok := range p.fixed.All() {
		if !ok {
			break
		}
		copyProperty(dst, &pr)
	}
	for i := range p.texts {
		t := &p.texts[i]
		scratch = t.value.Append(scratch[:0], v)
		switch t.id {
		case codec.PropUserProperty:
			dst.AddUser(t.name, viewString(scratch))
		case codec.PropCorrelationData, codec.PropAuthData:
			dst.SetBytes(t.id, scratch)
		default:
			dst.SetText(t.id, viewString(scratch))
		}
	}
	return scratch
}

func copyProperty(dst *codec.Properties, pr *codec.Property) {
	switch pr.ID.Info().Kind {
	case codec.KindPair:
		dst.AddUser(pr.Key, viewString(pr.Value))
	case codec.KindString:
		dst.SetText(pr.ID, viewString(pr.Value))
	case codec.KindBinary:
		dst.SetBytes(pr.ID, pr.Value)
	default:
		dst.SetUint(pr.ID, pr.Int)
	}
}
