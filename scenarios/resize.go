package scenarios

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Overrides are what a command line changes in a workload. Zero values change nothing.
type Overrides struct {
	Clients     int           // of the largest group; the others follow in proportion
	Rate        Rate          // of all messages together, where a phase's factor is 1
	QoS         *uint8        // of every publication and subscription
	Size        Size          // of every payload
	Duration    time.Duration // of all phases together
	MQTT        string        // of every group
	Window      int
	Closed      bool // the closed model
	ConnectRate Rate
	Drain       time.Duration
	Seed        uint64
	Thresholds  []string // further ones
	// NoThresholds leaves out the workload's own.
	NoThresholds bool
	NoVerify     bool
}

// Apply returns a copy of the workload with the changes made, and every problem that they cause.
func (w *Workload) Apply(o Overrides) (*Workload, error) {
	c := w.Clone()
	var errs []error
	do := func(set bool, change func() error) {
		if set {
			errs = append(errs, change())
		}
	}
	do(o.Clients != 0, func() error { return c.SetClients(o.Clients) })
	if o.Closed {
		c.SetClosed()
	}
	do(o.Rate != 0, func() error { return c.SetRate(o.Rate) })
	do(o.QoS != nil, func() error { return c.SetQoS(*o.QoS) })
	do(!o.Size.IsZero(), func() error { c.SetSize(o.Size); return nil })
	do(o.Duration != 0, func() error { return c.SetDuration(o.Duration) })
	do(o.MQTT != "", func() error { return c.SetVersion(o.MQTT) })
	if o.Window != 0 {
		c.Window = o.Window
	}
	if o.ConnectRate != 0 {
		c.ConnectRate = o.ConnectRate
	}
	if o.Drain != 0 {
		c.Drain = o.Drain
	}
	if o.Seed != 0 {
		c.Seed = o.Seed
	}
	if o.NoThresholds {
		c.Thresholds = nil
	}
	c.Thresholds = append(c.Thresholds, o.Thresholds...)
	c.NoVerify = c.NoVerify || o.NoVerify
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, c.Validate()
}

// SetClients gives the largest group n clients, and the others so many more or fewer in proportion, at least one.
func (w *Workload) SetClients(n int) error {
	largest := 0
	for i := range w.Clients {
		largest = max(largest, w.Clients[i].Count)
	}
	if n < 1 || n > maxClients || largest == 0 {
		return fmt.Errorf("clients: %d is not between 1 and %d", n, maxClients)
	}
	for i := range w.Clients {
		count := float64(w.Clients[i].Count) * float64(n) / float64(largest)
		w.Clients[i].Count = max(1, int(math.Round(count)))
	}
	return nil
}

// SetRate makes all clients together publish so many messages per second where a phase's factor is 1. The streams keep their
// shares.
func (w *Workload) SetRate(total Rate) error {
	now := w.Offered()
	switch {
	case !(total > 0 && total <= maxRate):
		return fmt.Errorf("rate: %s is not above 0 and up to %s", total, Rate(maxRate))
	case w.Model == "closed":
		return errors.New("rate: in the closed model there is none: messages are published as the window has room")
	case now == 0:
		return errors.New("rate: the workload publishes nothing whose rate could be changed")
	}
	for i := range w.Clients {
		for j := range w.Clients[i].Publish {
			p := &w.Clients[i].Publish[j]
			p.Rate *= total / now
			p.GroupRate *= total / now
		}
	}
	return nil
}

// SetClosed makes the model the closed one, in which streams have no rate.
func (w *Workload) SetClosed() {
	w.Model = "closed"
	for i := range w.Clients {
		for j := range w.Clients[i].Publish {
			w.Clients[i].Publish[j].Rate, w.Clients[i].Publish[j].GroupRate = 0, 0
		}
	}
}

// SetQoS gives every publication and every subscription the QoS. A workload whose phases set the QoS refuses it.
func (w *Workload) SetQoS(q uint8) error {
	if q > 2 {
		return fmt.Errorf("qos: %d is not 0, 1 or 2", q)
	}
	for i := range w.Phases {
		if w.Phases[i].QoS != nil {
			return fmt.Errorf("qos: the phases of this workload set it, phases[%d] to %d", i, *w.Phases[i].QoS)
		}
	}
	for i := range w.Clients {
		g := &w.Clients[i]
		for j := range g.Publish {
			g.Publish[j].QoS = OnlyQoS(q)
		}
		for j := range g.Subscribe {
			g.Subscribe[j].QoS = q
		}
	}
	return nil
}

// SetSize gives every publication payloads of the size, instead of its own.
func (w *Workload) SetSize(s Size) {
	for i := range w.Clients {
		for j := range w.Clients[i].Publish {
			p := &w.Clients[i].Publish[j]
			p.Size, p.Payload, p.File = s, "", ""
		}
	}
}

// SetDuration stretches or shortens all phases in proportion, so that they take d together. Starts of streams move with them.
func (w *Workload) SetDuration(d time.Duration) error {
	if d < time.Millisecond || d > maxRun {
		return fmt.Errorf("duration: %v is not between %v and %v", d, time.Millisecond, maxRun)
	}
	if len(w.Phases) == 0 {
		w.Phases = []Phase{{Kind: "hold", For: d}}
		return nil
	}
	was := w.Duration()
	if was <= 0 {
		return errors.New("duration: the phases of the workload take no time")
	}
	scale := func(x time.Duration) time.Duration {
		y := time.Duration(float64(x) * (float64(d) / float64(was)))
		if y >= time.Second {
			return y.Round(time.Millisecond)
		}
		return y
	}
	left := d
	for i := range w.Phases {
		p := &w.Phases[i]
		p.For = max(1, scale(p.For))
		if i == len(w.Phases)-1 {
			p.For = max(1, left) // roundings are made up for at the end
		}
		left -= p.For
	}
	for i := range w.Clients {
		for j := range w.Clients[i].Publish {
			w.Clients[i].Publish[j].Start = scale(w.Clients[i].Publish[j].Start)
		}
	}
	return nil
}

// SetVersion gives every group the protocol version.
func (w *Workload) SetVersion(s string) error {
	if versions[s] == 0 {
		return fmt.Errorf("mqtt: %q is not a version: write 3.1, 3.1.1 or 5.0", s)
	}
	w.MQTT = s
	for i := range w.Clients {
		w.Clients[i].MQTT = ""
	}
	return nil
}
