package scenarios

import (
	"fmt"
	"strings"
	"time"
)

// The topologies of [Quick].
const (
	FanIn  = "fan-in"  // every client publishes; each message goes to one of a few subscribers
	FanOut = "fan-out" // one client publishes, and every message goes to all the others
	Pairs  = "pairs"   // every client publishes to a subscriber of its own
)

// Topologies are all that [QuickOptions] can name.
var Topologies = []string{FanIn, FanOut, Pairs}

// QuickOptions describe a workload in a few words. The zero value is 100 clients that publish 1,000 messages per second at
// QoS 0 for ten seconds, and ten subscribers.
type QuickOptions struct {
	Topology string // default fan-in
	Clients  int    // publishers; in a fan-out subscribers. Default 100
	// Subscribers is how many subscribers a fan-in has; default one for every ten publishers. NoSubscribers leaves them out.
	Subscribers   int
	NoSubscribers bool
	Rate          Rate // of all clients together; default 1000/s
	Closed        bool // no rate: publish as the window has room
	QoS           uint8
	Size          Size
	Payload       string // template, instead of a size
	Duration      time.Duration
	Topic         string // template; default one topic for each publisher below mqlab/{run}
	MQTT          string
	Window        int
	Retain        bool
}

// Quick returns the workload that the options describe. It still has to be validated.
func Quick(o QuickOptions) *Workload {
	orElse(&o.Topology, FanIn)
	orElse(&o.Clients, 100)
	orElse(&o.Rate, 1000)
	orElse(&o.Duration, DefaultDuration)
	w := &Workload{
		Kind: KindWorkload, MQTT: o.MQTT, Window: o.Window,
		Phases: []Phase{{Kind: "hold", For: o.Duration}},
	}
	p := Publication{Topic: o.Topic, QoS: OnlyQoS(o.QoS), Retain: o.Retain, GroupRate: o.Rate, Size: o.Size, Payload: o.Payload}
	if o.Closed {
		w.Model, p.GroupRate = "closed", 0
	}
	publishers, subscribers := Group{Name: "publishers", Count: o.Clients}, Group{Name: "subscribers"}
	s := Subscription{QoS: o.QoS}
	switch o.Topology {
	case FanOut:
		publishers.Count, subscribers.Count = 1, o.Clients
		orElse(&p.Topic, "mqlab/{run}/all")
		s.Filter = filterOf(p.Topic)
	case Pairs:
		subscribers.Count = o.Clients
		orElse(&p.Topic, "mqlab/{run}/{index}")
		s.Filter = filterOfPair(p.Topic)
	default:
		subscribers.Count = o.Subscribers
		if p.Topic == "" {
			orElse(&subscribers.Count, max(1, o.Clients/10))
			// Each publisher belongs to one subscriber, so every message is delivered once.
			p.Topic, s.Filter = "mqlab/{run}/{peer:subscribers}/{index}", "mqlab/{run}/{index}/+"
			break
		}
		orElse(&subscribers.Count, 1)
		s.Filter = filterOf(p.Topic)
		if subscribers.Count > 1 {
			s.Share = "mqlab-{run}" // foreign topics cannot be divided by a wildcard
		}
	}
	if o.NoSubscribers {
		subscribers.Count = 0
		if o.Topic == "" {
			p.Topic = "mqlab/{run}/{index}"
		}
	}
	publishers.Publish = []Publication{p}
	subscribers.Subscribe = []Subscription{s}
	w.Clients = []Group{publishers}
	if subscribers.Count > 0 {
		w.Clients = append(w.Clients, subscribers)
	}
	w.Title = quickTitle(o, publishers.Count, subscribers.Count)
	return w
}

func quickTitle(o QuickOptions, publishers, subscribers int) string {
	how := o.Rate.String()
	if o.Closed {
		how = "as fast as they are acknowledged"
	}
	plural := func(n int, s string) string {
		if n == 1 {
			return fmt.Sprintf("%d %s", n, s)
		}
		return fmt.Sprintf("%d %ss", n, s)
	}
	return fmt.Sprintf("%s to %s at QoS %d, %s", plural(publishers, "publisher"), plural(subscribers, "subscriber"), min(o.QoS, 2), how)
}

// filterOf returns the filter that matches every topic of a template: a level that varies becomes a wildcard.
func filterOf(topic string) string {
	return filterWith(topic, VariesClient|VariesTopic|VariesMessage|VariesRandom)
}

// filterOfPair leaves the client's own number in the filter.
func filterOfPair(topic string) string {
	return filterWith(topic, VariesTopic|VariesMessage|VariesRandom)
}

func filterWith(topic string, wild Varies) string {
	levels := levelsOf(topic)
	for i, level := range levels {
		t, err := ParseTemplate(level)
		if err != nil {
			continue
		}
		// The subscriber's group has another name and count, and its number in the workload is another.
		if t.Varies().Has(wild|VariesGroup) || strings.Contains(level, "{client") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// levelsOf cuts a template at the slashes outside of its placeholders.
func levelsOf(topic string) []string {
	var out []string
	from, depth := 0, 0
	for i := range len(topic) {
		switch topic[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		case '/':
			if depth == 0 {
				out = append(out, topic[from:i])
				from = i + 1
			}
		}
	}
	return append(out, topic[from:])
}
