package pcap

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/internal/topic"
)

// Filter chooses packets. The zero value lets every packet pass. Start from [ParseFilter].
type Filter struct {
	terms []term
}

// term is one condition, of which several values may be true.
type term struct {
	key   string
	not   bool
	words []string
	nums  []int
}

// filterKeys are the words that a filter knows, with what they compare.
var filterKeys = [][2]string{
	{"type", "packet type, such as publish"},
	{"topic", "Topic Filter that matches the topic of PUBLISH, or is one of SUBSCRIBE and UNSUBSCRIBE"},
	{"client", "Client Identifier, with * and ?"},
	{"stream", "number of the stream"},
	{"qos", "QoS of PUBLISH"},
	{"reason", "Reason Code as 0x87 or 135, or failed for any that refuses"},
	{"rule", "id of a rule that the packet itself breaks, with * and ?"},
	{"from", "client or server"},
	{"id", "Packet Identifier"},
	{"version", "3.1, 3.1.1 or 5.0"},
	{"retain", "0 or 1"},
	{"dup", "0 or 1"},
}

// FilterKeys lists what a filter can compare: the word and its meaning.
func FilterKeys() [][2]string { return slices.Clone(filterKeys) }

// ParseFilter reads conditions separated by spaces, all of which must hold: type=publish,puback
// topic=a/# qos=1. A condition with several values separated by commas holds for any of them; key!=value turns it around.
func ParseFilter(s string) (Filter, error) {
	var f Filter
	for word := range strings.FieldsSeq(s) {
		key, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return Filter{}, fmt.Errorf("%q is no condition; write key=value, such as type=publish", word)
		}
		t := term{}
		if t.key, t.not = strings.CutSuffix(key, "!"); !slices.ContainsFunc(filterKeys, func(k [2]string) bool { return k[0] == t.key }) {
			var known []string
			for _, k := range filterKeys {
				known = append(known, k[0])
			}
			return Filter{}, fmt.Errorf("a filter knows no %q; known are %s", t.key, strings.Join(known, ", "))
		}
		t.words = strings.Split(value, ",")
		if err := t.check(); err != nil {
			return Filter{}, err
		}
		f.terms = append(f.terms, t)
	}
	return f, nil
}

// check reads the values of a condition.
func (t *term) check() error {
	for i, w := range t.words {
		switch t.key {
		case "type":
			n := 0
			for ; n < 16; n++ {
				if strings.EqualFold(typeName(codec.Type(n)), w) {
					break
				}
			}
			if n == 16 {
				return fmt.Errorf("there is no packet type %q", w)
			}
			t.nums = append(t.nums, n)
		case "stream", "qos", "id", "retain", "dup":
			n, err := strconv.ParseUint(w, 10, 31)
			if err != nil {
				return fmt.Errorf("%s=%s: a number is needed", t.key, w)
			}
			t.nums = append(t.nums, int(n))
		case "reason":
			if strings.EqualFold(w, "failed") {
				t.nums = append(t.nums, -1)
				continue
			}
			n, err := strconv.ParseUint(w, 0, 8)
			if err != nil {
				return fmt.Errorf("reason=%s: a code such as 0x87 or the word failed is needed", w)
			}
			t.nums = append(t.nums, int(n))
		case "topic":
			if !codec.ValidTopicFilter(w) {
				return fmt.Errorf("topic=%s: that is no Topic Filter", w)
			}
		case "from":
			switch strings.ToLower(w) {
			case "client":
				t.nums = append(t.nums, int(codec.Client))
			case "server", "broker":
				t.nums = append(t.nums, int(codec.Server))
			default:
				return fmt.Errorf("from=%s: it is client or server", w)
			}
		case "version":
			v := map[string]codec.Version{"3.1": 3, "3": 3, "3.1.1": 4, "4": 4, "5": 5, "5.0": 5}[w]
			if v == 0 {
				return fmt.Errorf("version=%s: known are 3.1, 3.1.1 and 5.0", w)
			}
			t.nums = append(t.nums, int(v))
		case "rule":
			if !strings.HasPrefix(w, "MQTT-") && !strings.HasPrefix(w, "P-") && !strings.HasPrefix(w, "*") {
				t.words[i] = "MQTT-" + w
			}
		}
	}
	return nil
}

// Match reports whether the packet passes.
func (f *Filter) Match(p *Packet) bool {
	for i := range f.terms {
		if t := &f.terms[i]; t.match(p) == t.not {
			return false
		}
	}
	return true
}

func (t *term) match(p *Packet) bool {
	has := func(n int) bool { return slices.Contains(t.nums, n) }
	switch t.key {
	case "type":
		return has(int(p.Type))
	case "stream":
		return has(p.Stream.ID)
	case "from":
		return has(int(p.From))
	case "version":
		return has(int(p.Version))
	case "qos":
		return p.Type == codec.TypePublish && has(int(p.Flags>>1&3))
	case "retain":
		return p.Type == codec.TypePublish && has(int(p.Flags&1))
	case "dup":
		return p.Type == codec.TypePublish && has(int(p.Flags>>3))
	case "id":
		id, ok := packetID(p)
		return ok && has(int(id))
	case "client":
		return slices.ContainsFunc(t.words, func(w string) bool { return rules.Match(w, p.Stream.ClientID) })
	case "topic":
		return slices.ContainsFunc(t.words, func(w string) bool { return matchTopic(w, p) })
	case "reason":
		return slices.ContainsFunc(reasonsOf(p, nil), func(r codec.ReasonCode) bool {
			refused := r.Failed() || p.Type == codec.TypeConnack && p.Version != codec.V5 && r != 0
			return has(int(r)) || refused && has(-1)
		})
	case "rule":
		for _, fault := range p.Faults {
			for _, id := range fault.Rules() {
				if slices.ContainsFunc(t.words, func(w string) bool { return rules.Match(w, id) }) {
					return true
				}
			}
		}
	}
	return false
}

func matchTopic(filter string, p *Packet) bool {
	switch m := p.MQTT.(type) {
	case *codec.Publish:
		return p.Topic != "" && topic.Match(filter, p.Topic)
	case *codec.Subscribe:
		return slices.ContainsFunc(m.Filters, func(f codec.Subscription) bool { return f.Filter == filter })
	case *codec.Unsubscribe:
		return slices.Contains(m.Filters, filter)
	}
	return false
}
