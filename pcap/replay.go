package pcap

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/scenarios"
)

// maxReplay is how many steps a scenario gets; what follows is left out, and the scenario says so.
const maxReplay = 2000

// Replay makes an exchange scenario of the packets of one stream: what the client sent is sent, and what
// the server answered is expected. Acknowledgements that follow from the protocol are left to whoever
// replays. What other clients caused is expected too, but only where it comes. Start from [NewReplay].
type Replay struct {
	x         scenarios.Exchange
	stream    *Stream
	published map[string]bool // topics that this client published to
	cut       bool
	gaps      int
	asked     map[uint16]bool // Packet Identifiers of requests, whose answers are theirs
}

// ErrSeveral reports packets of more than one stream, where one was asked for.
var ErrSeveral = errors.New("the packets are of several streams; choose one, as in --filter stream=3")

// NewReplay returns an empty Replay.
func NewReplay() *Replay {
	return &Replay{published: make(map[string]bool), asked: make(map[uint16]bool)}
}

const replayConn = "c1"

// Packet adds a packet.
func (r *Replay) Packet(p *Packet) error {
	if r.stream == nil {
		r.stream = p.Stream
		v := p.Version
		if v < codec.V31 || v > codec.V5 {
			v = codec.V4
		}
		r.x = scenarios.Exchange{
			Kind: scenarios.KindExchange, MQTT: v.String(),
			Title: "the server answers as it did in the capture",
			About: fmt.Sprintf("stream %d of a capture, from frame %d on, at %s", p.Stream.ID, p.Frame, p.Time().Format("2006-01-02 15:04:05 UTC")),
			Steps: []scenarios.Step{{Open: replayConn}},
		}
	}
	if r.stream != p.Stream {
		return ErrSeveral
	}
	if len(r.x.Steps) >= maxReplay {
		r.cut = true
		return nil
	}
	if p.From == codec.Server {
		return r.expect(p)
	}
	if p.Missing > 0 {
		r.gaps++
		return nil
	}
	switch m := p.MQTT.(type) {
	case *codec.Puback, *codec.Pubrec, *codec.Pubrel, *codec.Pubcomp:
		if len(p.Faults) == 0 && !failed(p) { // answered by themselves
			return nil
		}
	case *codec.Publish:
		if p.Topic != "" {
			r.published[strings.Clone(p.Topic)] = true
		}
		r.asked[m.PacketID] = true
	}
	var cfg scenarios.RunConfig
	if m, ok := p.MQTT.(*codec.Connect); ok && len(m.Password) > 0 { // a placeholder takes its place
		cfg.Password = string(m.Password)
		r.x.About += "; the password is to be given anew"
	}
	r.x.Steps = append(r.x.Steps, scenarios.SendStep(p.Raw, p.Version, cfg))
	return nil
}

func failed(p *Packet) bool {
	for _, r := range reasonsOf(p, nil) {
		if r.Failed() {
			return true
		}
	}
	return false
}

// expect adds what the server sent. It names what another run can be held to: not the Packet Identifiers
// that a server chooses, nor properties in which servers differ.
func (r *Replay) expect(p *Packet) error {
	if p.MQTT == nil || len(p.Faults) > 0 || p.Missing > 0 {
		r.gaps++
		return nil
	}
	want := scenarios.PacketOf(codec.Clone(p.MQTT))
	step := scenarios.Step{Expect: want}
	want.Properties = nil
	switch m := p.MQTT.(type) {
	case *codec.Connack:
		want.SessionPresent = nil
	case *codec.Publish:
		topic := strings.Clone(p.Topic)
		want.ID, want.Dup, want.Retain = nil, nil, nil
		want.Topic = &topic
		if topic == "" {
			want.Topic = nil
		}
		step.Optional = !r.published[topic] || m.Retain
	case *codec.Pubrel: // answers the client's PUBREC, which was sent by itself
		return nil
	case *codec.Disconnect:
		step.Optional = true
	}
	r.x.Steps = append(r.x.Steps, step)
	return nil
}

// Gap notes missing bytes.
func (r *Replay) Gap(g *Gap) error {
	if g.Stream == r.stream {
		r.gaps++
	}
	return nil
}

// Exchange returns the scenario. It is an error when there is nothing to replay.
func (r *Replay) Exchange() (*scenarios.Exchange, error) {
	if r.stream == nil {
		return nil, errors.New("no packet was chosen")
	}
	x := r.x
	if r.cut {
		x.About += fmt.Sprintf("; what follows the first %d steps is left out", maxReplay)
	}
	if r.gaps > 0 {
		x.About += fmt.Sprintf("; %d packets or stretches that are missing or broken are left out", r.gaps)
	}
	return &x, x.Validate()
}
