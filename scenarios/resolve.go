package scenarios

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
)

// The defaults of a workload.
const (
	DefaultMQTT      = "3.1.1"
	DefaultDuration  = 10 * time.Second
	DefaultDrain     = 5 * time.Second
	DefaultKeepAlive = time.Minute
	DefaultSize      = 64
	DefaultSteps     = 5
	DefaultBackoff   = 100 * time.Millisecond
	DefaultMaxPause  = 10 * time.Second
)

// leastFactor is what a ramp goes down to: next to nothing, and yet a value that was given.
const leastFactor = 1e-9

// defaultClientID keeps to the 23 characters of 3.1.
const (
	defaultClientID   = "{run}-{group}-{index}"
	defaultClientID31 = "{run}-{client}"
)

// Marshal writes the workload as a file that Load reads.
func (w *Workload) Marshal() ([]byte, error) { return marshal(w) }

// Clone returns a copy that shares nothing with the workload.
func (w *Workload) Clone() *Workload {
	c := *w
	c.Thresholds = slices.Clone(w.Thresholds)
	c.Clients = slices.Clone(w.Clients)
	for i := range c.Clients {
		g := &c.Clients[i]
		g.CleanStart, g.TLS = copyOf(g.CleanStart), copyOf(g.TLS)
		g.Respond, g.Link, g.Reconnect = copyOf(g.Respond), copyOf(g.Link), copyOf(g.Reconnect)
		g.Properties = g.Properties.clone()
		if g.Will = copyOf(g.Will); g.Will != nil {
			g.Will.Properties = g.Will.Properties.clone()
		}
		g.Subscribe = slices.Clone(g.Subscribe)
		g.Publish = slices.Clone(g.Publish)
		for j := range g.Publish {
			g.Publish[j].Properties = g.Publish[j].Properties.clone()
		}
	}
	c.Phases = slices.Clone(w.Phases)
	for i := range c.Phases {
		c.Phases[i].Groups, c.Phases[i].QoS = slices.Clone(c.Phases[i].Groups), copyOf(c.Phases[i].QoS)
	}
	return &c
}

func copyOf[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// Resolved returns a copy in which every default is filled in. Rates are those of each client, GroupRate is 0; QoS shares
// add up to 1; every phase has a name that no other has and both factors, and storm, churn and takeover have their groups.
func (w *Workload) Resolved() *Workload {
	r := w.Clone()
	orElse(&r.Kind, KindWorkload)
	r.MQTT = versionName(r.MQTT, DefaultMQTT)
	orElse(&r.Model, "open")
	orElse(&r.Drain, DefaultDrain)
	if r.Model == "closed" {
		orElse(&r.Window, 1)
	}
	counts, names := r.Counts(), []string{}
	for i := range r.Clients {
		r.Clients[i].resolve(r, counts)
		names = append(names, r.Clients[i].Name)
	}
	if len(r.Phases) == 0 {
		r.Phases = []Phase{{Kind: "hold", For: DefaultDuration}}
	}
	taken := map[string]bool{}
	for i := range r.Phases {
		taken[r.Phases[i].Name] = true
	}
	for i := range r.Phases {
		r.Phases[i].resolve(names, taken)
	}
	return r
}

// versionName returns the one name of a version; what is no version stays as it is.
func versionName(s, byDefault string) string {
	switch versions[s] {
	case codec.V31:
		return "3.1"
	case codec.V4:
		return "3.1.1"
	case codec.V5:
		return "5.0"
	}
	orElse(&s, byDefault)
	return s
}

// orElse sets a value that is zero.
func orElse[T comparable](p *T, d T) {
	var zero T
	if *p == zero {
		*p = d
	}
}

func (g *Group) resolve(w *Workload, counts map[string]int) {
	g.MQTT = versionName(g.MQTT, w.MQTT)
	if g.ClientID == "" {
		g.ClientID = defaultClientID
		if g.Version() == codec.V31 {
			g.ClientID = defaultClientID31
		}
	}
	if g.CleanStart == nil {
		clean := true
		g.CleanStart = &clean
	}
	orElse(&g.KeepAlive, DefaultKeepAlive)
	if g.Reconnect == nil {
		g.Reconnect = new(Reconnect)
	}
	if !g.Reconnect.Never {
		orElse(&g.Reconnect.After, DefaultBackoff)
		orElse(&g.Reconnect.Max, max(DefaultMaxPause, g.Reconnect.After))
	}
	if l := g.Link; l != nil && l.CutEvery > 0 {
		orElse(&l.CutJitter, l.CutEvery/4)
	}
	for i := range g.Publish {
		p := &g.Publish[i]
		if p.Topics == 0 {
			p.Topics = 1
			if t, err := ParseTemplate(p.Topic); err == nil {
				for j := range t.parts {
					if t.parts[j].kind == kindEach {
						p.Topics = max(p.Topics, counts[t.parts[j].text])
					}
				}
			}
		}
		if p.GroupRate > 0 && g.Count > 0 {
			p.Rate, p.GroupRate = p.GroupRate/Rate(g.Count), 0
		}
		orElse(&p.Arrival, "even")
		if p.Size.IsZero() && p.Payload == "" && p.File == "" {
			p.Size.Fixed = DefaultSize
		}
		p.QoS = QoSMix(p.QoS.Shares())
	}
}

func (p *Phase) resolve(groups []string, taken map[string]bool) {
	if p.Name == "" {
		p.Name = p.Kind
		for n := 2; taken[p.Name]; n++ {
			p.Name = p.Kind + "-" + strconv.Itoa(n)
		}
		taken[p.Name] = true
	}
	if len(p.Groups) == 0 && (p.Kind == "storm" || p.Kind == "churn" || p.Kind == "takeover") {
		p.Groups = slices.Clone(groups)
	}
	if p.Kind == "idle" {
		p.From, p.To = 0, 0
		return
	}
	if p.Kind == "ramp" && p.From > 0 {
		orElse(&p.To, leastFactor)
	}
	orElse(&p.To, 1)
	switch p.Kind {
	case "ramp":
	case "step":
		orElse(&p.From, 1)
		orElse(&p.Steps, DefaultSteps)
	case "spike":
		orElse(&p.From, 1)
	case "storm":
		p.From = p.To
		orElse(&p.Share, 1)
	default:
		p.From = p.To
	}
}

// Version returns the protocol version of the group's clients, once it is resolved.
func (g *Group) Version() codec.Version { return versions[g.MQTT] }

// Counts returns the number of clients by group.
func (w *Workload) Counts() map[string]int {
	out := map[string]int{}
	for i := range w.Clients {
		out[w.Clients[i].Name] += w.Clients[i].Count
	}
	return out
}

// ClientCount returns the number of all clients.
func (w *Workload) ClientCount() int {
	n := 0
	for c := range maps.Values(w.Counts()) {
		n += c
	}
	return n
}

// Duration returns how long the phases take together.
func (w *Workload) Duration() time.Duration {
	if len(w.Phases) == 0 {
		return DefaultDuration
	}
	var d time.Duration
	for i := range w.Phases {
		d += w.Phases[i].For
	}
	return d
}

// Offered returns how many messages all clients publish per second where a phase's factor is 1. It is 0 in the closed
// model.
func (w *Workload) Offered() Rate {
	var sum Rate
	for i := range w.Clients {
		g := &w.Clients[i]
		for j := range g.Publish {
			sum += g.Publish[j].Rate*Rate(g.Count) + g.Publish[j].GroupRate
		}
	}
	return sum
}

// Path returns where a file is that the workload names.
func (w *Workload) Path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(w.Dir, name)
}

// Credential is one line of a credentials file.
type Credential struct {
	Username, Password string
	ClientID           string // "" where the line has none
}

// LoadCredentials reads a CSV file: on each line a user name, a password and, where wanted, a Client Identifier. Lines that
// begin with # are left out.
func LoadCredentials(path string) ([]Credential, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readCredentials(f)
}

func readCredentials(r io.Reader) ([]Credential, error) {
	rows := csv.NewReader(r)
	rows.FieldsPerRecord, rows.Comment, rows.ReuseRecord = -1, '#', true
	var out []Credential
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := rows.FieldPos(0)
		if len(row) < 2 || len(row) > 3 {
			return nil, fmt.Errorf("line %d has %d fields: write user name, password and, where wanted, client identifier", line, len(row))
		}
		if line == 1 {
			row[0] = strings.TrimPrefix(row[0], "\uFEFF")
		}
		for i, s := range row {
			if i != 1 && !codec.ValidString(s) {
				return nil, fmt.Errorf("line %d: %q is not a text that MQTT can carry", line, shorten(s, 40))
			}
		}
		c := Credential{Username: strings.Clone(row[0]), Password: strings.Clone(row[1])}
		if len(row) == 3 {
			c.ClientID = strings.Clone(row[2])
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there are no credentials in the file")
	}
	return out, nil
}
