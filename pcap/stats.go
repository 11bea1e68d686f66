package pcap

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/mqlab/mqlab/codec"
)

// Bounds on what statistics keep. What is beyond them is counted together under "(other)".
const (
	maxClients   = 20000
	maxTopics    = 20000
	maxTopicText = 16 << 20 // bytes of all topics
	maxPeers     = 64       // publishers and receivers counted apart for one topic
	maxPending   = 1 << 18  // requests of all streams that wait for an answer
	otherName    = "(other)"
)

// ClientStats is what is known of one client, over all its connections.
type ClientStats struct {
	ID          string `json:"client_id"`
	Address     string `json:"address"` // of its latest connection
	Transport   string `json:"transport"`
	Version     string `json:"version"`
	Username    string `json:"username,omitempty"`
	KeepAlive   uint16 `json:"keep_alive_s"`
	CleanStart  bool   `json:"clean_start"`
	Session     bool   `json:"session_present"`
	WillTopic   string `json:"will_topic,omitempty"`
	Connections int    `json:"connections"`
	Result      string `json:"connect_result"` // of the latest CONNACK
	End         string `json:"end"`            // how the latest connection ended
	Sent        int64  `json:"packets_sent"`
	Received    int64  `json:"packets_received"`
	SentBytes   int64  `json:"bytes_sent"`
	RecvBytes   int64  `json:"bytes_received"`
	Published   int64  `json:"messages_published"`
	Delivered   int64  `json:"messages_delivered"`
	FirstNS     int64  `json:"first_ns"`
	LastNS      int64  `json:"last_ns"`

	disconnect string
}

// TopicStats counts the messages of one topic.
type TopicStats struct {
	Topic       string  `json:"topic"`
	Published   int64   `json:"messages_published"` // by clients
	Delivered   int64   `json:"messages_delivered"` // to clients
	Bytes       int64   `json:"payload_bytes_published"`
	Retained    int64   `json:"retained"` // published to be kept, and delivered because they were
	Rate        float64 `json:"published_per_second"`
	Publishers  int     `json:"publishers"` // at most 64 are told apart
	Subscribers int     `json:"receivers"`

	from, to map[int]struct{}
}

// Latency is the distribution of the times between two packets.
type Latency struct {
	Name       string  `json:"name"` // such as "client PUBLISH to PUBACK"
	Count      int64   `json:"count"`
	Unanswered int64   `json:"unanswered"` // when the connection was closed
	Min        int64   `json:"min_ns"`
	P50        int64   `json:"p50_ns"`
	P90        int64   `json:"p90_ns"`
	P99        int64   `json:"p99_ns"`
	P999       int64   `json:"p99_9_ns"`
	Max        int64   `json:"max_ns"`
	Mean       float64 `json:"mean_ns"`
}

// Interval is one step of the time line.
type Interval struct {
	Start   float64 `json:"t_s"` // since the first packet
	Packets int64   `json:"packets"`
	Bytes   int64   `json:"bytes"`
	Publish int64   `json:"publish"`
	AckSum  int64   `json:"ack_ns_sum"` // time from PUBLISH to the first answer
	AckNum  int64   `json:"ack_count"`
	AckMax  int64   `json:"ack_ns_max"`
}

func (a *Interval) add(b *Interval) {
	a.Packets += b.Packets
	a.Bytes += b.Bytes
	a.Publish += b.Publish
	a.AckSum += b.AckSum
	a.AckNum += b.AckNum
	a.AckMax = max(a.AckMax, b.AckMax)
}

// Report is all that [Stats] has counted.
type Report struct {
	Summary    Summary          `json:"capture"`
	Duration   float64          `json:"duration_s"`
	Types      map[string]int64 `json:"packets_by_type"`
	QoS        [3]int64         `json:"publish_by_qos"`
	Duplicates int64            `json:"publish_dup"`
	Retained   int64            `json:"publish_retain"`
	Faulty     int64            `json:"packets_with_faults"`
	Clients    []*ClientStats   `json:"clients"`
	Topics     []*TopicStats    `json:"topics"`
	Latencies  []Latency        `json:"latencies"`
	Step       float64          `json:"interval_s"`
	Timeline   []Interval       `json:"timeline"`
}

// The flows whose times are measured, for each side that begins them.
const (
	flowConnect = iota
	flowSubscribe
	flowUnsubscribe
	flowPing
	flowQoS1
	flowQoS2
	flowQoS2Done
	flowQoS1Down
	flowQoS2Down
	flowQoS2DownDone
	flowCount
)

var flowNames = [flowCount]string{
	"CONNECT to CONNACK", "SUBSCRIBE to SUBACK", "UNSUBSCRIBE to UNSUBACK", "PINGREQ to PINGRESP",
	"client PUBLISH to PUBACK", "client PUBLISH to PUBREC", "client PUBLISH to PUBCOMP",
	"server PUBLISH to PUBACK", "server PUBLISH to PUBREC", "server PUBLISH to PUBCOMP",
}

const maxIntervals = 600

// Stats counts clients, topics and the times of exchanges. Its memory is bounded whatever the capture.
type Stats struct {
	rep       Report
	clients   map[string]*ClientStats
	topics    map[string]*TopicStats
	topicText int
	flows     [flowCount]*hdrhistogram.Histogram
	lost      [flowCount]int64
	types     [16]int64
	qos       [4]int64
	pending   int
	first     int64
	last      int64
	step      int64
	line      []Interval
}

// NewStats returns an empty Stats.
func NewStats() *Stats {
	return &Stats{
		clients: make(map[string]*ClientStats), topics: make(map[string]*TopicStats),
		step: int64(time.Millisecond),
	}
}

// statsStream is what is kept of one open stream.
type statsStream struct {
	client  *ClientStats
	pending map[uint32]int64 // request, kind in the upper half and Packet Identifier below, to its time
}

func (s *Stats) stream(p *Packet) *statsStream {
	st := p.Stream
	x, ok := st.Value.(*statsStream)
	if !ok {
		x = new(statsStream)
		st.Value = x
	}
	// A client that is not known yet gets its name with CONNECT or CONNACK.
	if x.client == nil || x.client.ID == "" && st.ClientID != "" {
		before := x.client
		x.client = s.client(st, p.Nanos)
		if before != nil && before != x.client && x.client.ID != otherName {
			x.client.merge(before)
			delete(s.clients, "\x00"+st.Client.String())
		}
	}
	return x
}

// merge takes over what was counted while the client had no name.
func (c *ClientStats) merge(o *ClientStats) {
	c.Sent += o.Sent
	c.Received += o.Received
	c.SentBytes += o.SentBytes
	c.RecvBytes += o.RecvBytes
	c.Published += o.Published
	c.Delivered += o.Delivered
	c.Connections += o.Connections
	c.FirstNS = min(c.FirstNS, o.FirstNS)
	c.Address, c.Version, c.Username, c.KeepAlive = o.Address, o.Version, o.Username, o.KeepAlive
	c.CleanStart, c.WillTopic, c.Result, c.Session = o.CleanStart, o.WillTopic, o.Result, o.Session
}

func (s *Stats) client(st *Stream, now int64) *ClientStats {
	key := st.ClientID
	if key == "" {
		key = "\x00" + st.Client.String() // no Client Identifier: one connection, one client
	}
	c := s.clients[key]
	if c == nil {
		if len(s.clients) >= maxClients {
			key = otherName
			c = s.clients[key]
		}
		if c == nil {
			c = &ClientStats{ID: strings.Clone(st.ClientID), FirstNS: now}
			if key == otherName {
				c.ID = otherName
			}
			s.clients[key] = c
		}
	}
	if addr := st.Client.String(); c.Address != addr {
		c.Address, c.Transport = addr, st.Transport
	}
	c.Transport, c.Version = st.Transport, st.Version.String()
	return c
}

// Packet counts a packet.
func (s *Stats) Packet(p *Packet) error {
	if s.first == 0 {
		s.first = p.Nanos
	}
	s.last = max(s.last, p.Nanos)
	s.types[p.Type]++
	if len(p.Faults) > 0 {
		s.rep.Faulty++
	}
	x := s.stream(p)
	c := x.client
	c.LastNS = max(c.LastNS, p.Nanos)
	if p.From == codec.Server {
		c.Received++
		c.RecvBytes += int64(p.Size)
	} else {
		c.Sent++
		c.SentBytes += int64(p.Size)
	}
	iv := s.interval(p.Nanos)
	iv.Packets++
	iv.Bytes += int64(p.Size)
	switch m := p.MQTT.(type) {
	case *codec.Publish:
		iv.Publish++
		s.publish(p, m, x)
	case *codec.Connect:
		c.Connections++
		c.KeepAlive, c.CleanStart, c.Session = m.KeepAlive, m.CleanStart, false
		c.Version, c.Result, c.End, c.disconnect = m.Version.String(), "no answer", "open", ""
		c.Username, c.WillTopic = "", ""
		if m.HasUsername {
			c.Username = strings.Clone(m.Username)
		}
		if m.HasWill {
			c.WillTopic = strings.Clone(m.Will.Topic)
		}
		s.ask(x, flowConnect, 0, p.Nanos)
	case *codec.Connack:
		c.Result, c.Session = m.Reason.Name(p.Type, p.Version), m.SessionPresent
		s.answer(x, flowConnect, 0, p.Nanos, nil)
	case *codec.Subscribe:
		s.ask(x, flowSubscribe, m.PacketID, p.Nanos)
	case *codec.Suback:
		s.answer(x, flowSubscribe, m.PacketID, p.Nanos, nil)
	case *codec.Unsubscribe:
		s.ask(x, flowUnsubscribe, m.PacketID, p.Nanos)
	case *codec.Unsuback:
		s.answer(x, flowUnsubscribe, m.PacketID, p.Nanos, nil)
	case *codec.Pingreq:
		s.ask(x, flowPing, 0, p.Nanos)
	case *codec.Pingresp:
		s.answer(x, flowPing, 0, p.Nanos, nil)
	case *codec.Puback:
		s.answer(x, down(flowQoS1, p.From), m.PacketID, p.Nanos, iv)
	case *codec.Pubrec:
		s.answer(x, down(flowQoS2, p.From), m.PacketID, p.Nanos, iv)
		if m.Reason.Failed() { // the exchange ends here
			s.settle(x, uint32(down(flowQoS2Done, p.From))<<16|uint32(m.PacketID))
		}
	case *codec.Pubcomp:
		s.answer(x, down(flowQoS2Done, p.From), m.PacketID, p.Nanos, nil)
	case *codec.Disconnect:
		c.disconnect = "DISCONNECT by the " + sideName(p.From)
		if p.Version == codec.V5 {
			c.disconnect += ": " + m.Reason.Name(p.Type, p.Version)
		}
		c.End = c.disconnect
	}
	return nil
}

// down turns a flow into that of the other side, where the client is who answers.
func down(flow int, answers codec.Side) int {
	if answers == codec.Client {
		return flow + flowQoS1Down - flowQoS1
	}
	return flow
}

func (s *Stats) publish(p *Packet, m *codec.Publish, x *statsStream) {
	s.qos[p.Flags>>1&3]++
	if p.Flags&8 != 0 {
		s.rep.Duplicates++
	}
	if p.Flags&1 != 0 {
		s.rep.Retained++
	}
	t := s.topic(p.Topic)
	if p.Flags&1 != 0 {
		t.Retained++
	}
	begin := codec.Client
	if p.From == codec.Server {
		begin = codec.Server
		t.Delivered++
		x.client.Delivered++
		note(&t.to, p.Stream.ID)
	} else {
		t.Published++
		t.Bytes += int64(payloadLength(p, m))
		x.client.Published++
		note(&t.from, p.Stream.ID)
	}
	// A repeated PUBLISH does not begin the exchange anew.
	shift := 0
	if begin == codec.Server {
		shift = flowQoS1Down - flowQoS1
	}
	switch {
	case p.Flags&8 != 0:
	case p.Flags&6 == 2:
		s.ask(x, flowQoS1+shift, m.PacketID, p.Nanos)
	case p.Flags&6 == 4:
		s.ask(x, flowQoS2+shift, m.PacketID, p.Nanos)
		s.ask(x, flowQoS2Done+shift, m.PacketID, p.Nanos)
	}
}

// note adds a stream to a set that tells a bounded number apart.
func note(set *map[int]struct{}, id int) {
	if *set == nil {
		*set = make(map[int]struct{})
	}
	if len(*set) < maxPeers {
		(*set)[id] = struct{}{}
	}
}

func (s *Stats) topic(name string) *TopicStats {
	if t := s.topics[name]; t != nil {
		return t
	}
	if len(s.topics) >= maxTopics || s.topicText+len(name) > maxTopicText {
		name = otherName
		if t := s.topics[name]; t != nil {
			return t
		}
	}
	name = strings.Clone(name)
	s.topicText += len(name)
	t := &TopicStats{Topic: name}
	s.topics[name] = t
	return t
}

// ask notes a request that wants an answer.
func (s *Stats) ask(x *statsStream, flow int, id uint16, now int64) {
	if x.pending == nil {
		x.pending = make(map[uint32]int64)
	}
	key := uint32(flow)<<16 | uint32(id)
	if _, again := x.pending[key]; !again {
		if s.pending >= maxPending {
			return
		}
		s.pending++
	}
	x.pending[key] = now
}

// settle forgets a request.
func (s *Stats) settle(x *statsStream, key uint32) {
	if _, ok := x.pending[key]; ok {
		delete(x.pending, key)
		s.pending--
	}
}

func (s *Stats) answer(x *statsStream, flow int, id uint16, now int64, iv *Interval) {
	key := uint32(flow)<<16 | uint32(id)
	began, ok := x.pending[key]
	if !ok {
		return
	}
	s.settle(x, key)
	took := max(now-began, 0)
	h := s.flows[flow]
	if h == nil {
		h = hdrhistogram.New(1, int64(time.Hour), 3)
		s.flows[flow] = h
	}
	_ = h.RecordValue(min(took, int64(time.Hour)))
	if iv != nil {
		iv.AckSum += took
		iv.AckNum++
		iv.AckMax = max(iv.AckMax, took)
	}
}

// interval returns the step of the time line that a time falls into. When the line is full every two
// steps become one.
func (s *Stats) interval(now int64) *Interval {
	i := int(max(now-s.first, 0) / s.step)
	for i >= maxIntervals {
		half := (len(s.line) + 1) / 2
		for k := range half {
			a := s.line[2*k]
			if 2*k+1 < len(s.line) {
				a.add(&s.line[2*k+1])
			}
			s.line[k] = a
		}
		clear(s.line[half:])
		s.line = s.line[:half]
		s.step *= 2
		i = int(max(now-s.first, 0) / s.step)
	}
	for len(s.line) <= i {
		s.line = append(s.line, Interval{})
	}
	return &s.line[i]
}

// Gap makes the stream forget what waits for an answer that may be missing.
func (s *Stats) Gap(g *Gap) error {
	if x, ok := g.Stream.Value.(*statsStream); ok {
		s.pending -= len(x.pending)
		clear(x.pending)
	}
	return nil
}

// End counts what was never answered.
func (s *Stats) End(e *StreamEnd) error {
	x, ok := e.Stream.Value.(*statsStream)
	if !ok {
		return nil
	}
	e.Stream.Value = nil
	s.pending -= len(x.pending)
	c := x.client
	switch {
	case !e.Closed:
	case c.disconnect != "":
		c.End = c.disconnect
	case e.Reset:
		c.End = "reset by the " + sideName(e.By)
	default:
		c.End = "closed by the " + sideName(e.By)
	}
	if e.Closed {
		for key := range x.pending {
			s.lost[key>>16]++
		}
	}
	return nil
}

// Report returns what was counted.
func (s *Stats) Report(sum Summary) *Report {
	r := s.rep
	r.Summary = sum
	r.Duration = float64(s.last-s.first) / 1e9
	r.Types = make(map[string]int64)
	for t, n := range s.types {
		if n > 0 {
			r.Types[typeName(codec.Type(t))] = n
		}
	}
	copy(r.QoS[:], s.qos[:3])
	for _, c := range s.clients {
		r.Clients = append(r.Clients, c)
	}
	slices.SortFunc(r.Clients, func(a, b *ClientStats) int {
		return cmp.Or(-cmp.Compare(a.Sent+a.Received, b.Sent+b.Received), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Address, b.Address))
	})
	for _, t := range s.topics {
		t.Publishers, t.Subscribers = len(t.from), len(t.to)
		if r.Duration > 0 {
			t.Rate = float64(t.Published) / r.Duration
		}
		r.Topics = append(r.Topics, t)
	}
	slices.SortFunc(r.Topics, func(a, b *TopicStats) int {
		return cmp.Or(-cmp.Compare(a.Published+a.Delivered, b.Published+b.Delivered), cmp.Compare(a.Topic, b.Topic))
	})
	for i, h := range s.flows {
		if h == nil && s.lost[i] == 0 {
			continue
		}
		l := Latency{Name: flowNames[i], Unanswered: s.lost[i]}
		if h != nil {
			l.Count, l.Min, l.Max, l.Mean = h.TotalCount(), h.Min(), h.Max(), h.Mean()
			l.P50, l.P90 = h.ValueAtQuantile(50), h.ValueAtQuantile(90)
			l.P99, l.P999 = h.ValueAtQuantile(99), h.ValueAtQuantile(99.9)
		}
		r.Latencies = append(r.Latencies, l)
	}
	r.Step = float64(s.step) / 1e9
	r.Timeline = slices.Clone(s.line)
	for i := range r.Timeline {
		r.Timeline[i].Start = float64(i) * r.Step
	}
	return &r
}
