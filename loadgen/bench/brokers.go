//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/internal/ui"
)

// mode is one row of the table of brokers.
type mode struct {
	name, about string
	run         func(ctx context.Context, p *process, d time.Duration) (figures, error)
}

// figures are what one mode gave with one broker.
type figures struct {
	rate     float64 // delivered per second
	cpu      float64 // broker's processor seconds for one million delivered
	own      float64 // the loader's
	lost     uint64
	p50, p99 int64   // microseconds, where the load is paced
	cores    float64 // of the broker, where the load is paced
	each     float64 // bytes for each subscription or connection, where that is measured
	perSec   float64 // connections or subscriptions made per second
}

// The window of closed modes: messages of one publisher that are not acknowledged or not delivered.
const (
	window       = 20
	windowFanOut = 100
)

var modes = []mode{
	{"fan-in-0", "50 publishers to 1 subscriber, QoS 0", closed(fanIn(0), window, 10)},
	{"fan-in-1", "50 publishers to 1 subscriber, QoS 1", closed(fanIn(1), window, 1)},
	{"fan-out-0", "1 publisher to 50 subscribers, QoS 0", closed(fanOut, windowFanOut, 50)},
	{"pairs-1", "25 publishers to a subscriber each, QoS 1", closed(pairs(25, 1), window, 1)},
	{"pairs-2", "25 publishers to a subscriber each, QoS 2", closed(pairs(25, 2), window, 1)},
	{"subs", "100,000 subscriptions of 50 clients, random topics, QoS 0", closed(manyTopics, windowFanOut, 50)},
	{"paced-1", "10,000 messages/s over 10 pairs, QoS 1", paced},
	{"idle", "5,000 connections that do nothing", idle},
	{"flood", "50 publishers to 1 subscriber, QoS 0, no window", flood},
}

func benchBrokers(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench brokers", flag.ContinueOnError)
	duration := flags.Duration("time", 5*time.Second, "how long each mode is measured, after one second of warming up")
	runs := flags.Int("runs", 1, "how often; the median is shown")
	only := flags.String("modes", "", "only these modes, with commas between them")
	var others []server
	flags.Func("broker", "`NAME=COMMAND` of a further broker, with {port} for its port; may be repeated", func(s string) error {
		name, text, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("write NAME=COMMAND")
		}
		others = append(others, command(name, text))
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	wanted := modes
	if *only != "" {
		wanted = nil
		for name := range strings.SplitSeq(*only, ",") {
			i := slices.IndexFunc(modes, func(m mode) bool { return m.name == name })
			if i < 0 {
				return fmt.Errorf("there is no mode %q", name)
			}
			wanted = append(wanted, modes[i])
		}
	}
	servers := []server{embedded}
	if mosquittoPath() != "" {
		servers = append(servers, mosquitto)
	}
	servers = append(servers, others...)

	fmt.Fprintf(out, "%d cores shared by broker and loader, messages of %d bytes, MQTT 3.1.1, %v a mode, median of %d\n\n", runtime.NumCPU(), payload, *duration, *runs)
	for _, m := range wanted {
		fmt.Fprintf(out, "%s: %s\n", m.name, m.about)
		columns := []ui.Column{{Title: "broker"}, {Title: "delivered", Right: true}, {Title: "broker CPU-s/1M", Right: true}, {Title: "loader", Right: true}, {Title: "lost", Right: true}, {Title: "p50 us", Right: true}, {Title: "p99 us", Right: true}, {Title: "cores", Right: true}, {Title: "each", Right: true}, {Title: "made", Right: true}}
		var rows [][]string
		for _, s := range servers {
			f, err := median(ctx, s, m, *duration, *runs)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				rows = append(rows, []string{s.name, "failed: " + err.Error()})
				continue
			}
			rows = append(rows, append([]string{s.name}, f.cells()...))
		}
		fmt.Fprintln(out, ui.Plain().Table(0, columns, rows))
	}
	return nil
}

func (f figures) cells() []string {
	show := func(ok bool, format string, a ...any) string {
		if !ok {
			return ""
		}
		return fmt.Sprintf(format, a...)
	}
	cells := []string{
		show(f.rate > 0, "%s", ui.Rate(f.rate)), show(f.cpu > 0, "%.2f", f.cpu), show(f.own > 0, "%.2f", f.own),
		show(f.rate > 0, "%d", f.lost), show(f.p50 > 0, "%d", f.p50), show(f.p99 > 0, "%d", f.p99), show(f.cores > 0, "%.2f", f.cores),
		show(f.each > 0, "%s", ui.Bytes(int64(f.each))), show(f.perSec > 0, "%s", ui.Rate(f.perSec)),
	}
	return cells
}

// median runs a mode several times, on a fresh broker each, and returns the run in the middle by rate.
func median(ctx context.Context, s server, m mode, d time.Duration, runs int) (figures, error) {
	var all []figures
	for range max(runs, 1) {
		f, err := func() (figures, error) {
			p, err := s.start(ctx)
			if err != nil {
				return figures{}, err
			}
			defer p.stop()
			return m.run(ctx, p, d)
		}()
		if err != nil {
			return f, err
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b figures) int { return cmp.Compare(a.rate, b.rate) })
	return all[len(all)/2], nil
}

// layout connects clients and names publishers.
type layout func(l *loop, p *process, f *figures) error

// topic returns a topic of 20 bytes.
func topic(kind string, n int) string { return fmt.Sprintf("bench/%s/%0*d", kind, 20-7-len(kind), n) }

func fanIn(qos codec.QoS) layout {
	return func(l *loop, p *process, _ *figures) error {
		if _, err := l.dial(p.addr(), "sub", qos, "bench/in/#"); err != nil {
			return err
		}
		return l.publishers(p, 50, qos, 1, "in")
	}
}

func (l *loop) publishers(p *process, n int, qos codec.QoS, copies int, kind string) error {
	for i := range n {
		c, err := l.dial(p.addr(), fmt.Sprintf("pub-%d", i), 0)
		if err != nil {
			return err
		}
		if err := l.publisher(c, qos, copies, topic(kind, i)); err != nil {
			return err
		}
	}
	return nil
}

func fanOut(l *loop, p *process, _ *figures) error {
	const subscribers = 50
	for i := range subscribers {
		if _, err := l.dial(p.addr(), fmt.Sprintf("sub-%d", i), 0, topic("out", 0)); err != nil {
			return err
		}
	}
	return l.publishers(p, 1, 0, subscribers, "out")
}

func pairs(n int, qos codec.QoS) layout {
	return func(l *loop, p *process, _ *figures) error {
		for i := range n {
			if _, err := l.dial(p.addr(), fmt.Sprintf("sub-%d", i), qos, topic("pair", i)); err != nil {
				return err
			}
		}
		return l.publishers(p, n, qos, 1, "pair")
	}
}

func manyTopics(l *loop, p *process, f *figures) error {
	const subscriptions, subscribers = 100_000, 50
	topics := make([]string, subscriptions)
	for i := range topics {
		topics[i] = topic("many", i)
	}
	before, err := p.usage()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range subscribers {
		per := subscriptions / subscribers
		if _, err := l.dial(p.addr(), fmt.Sprintf("sub-%d", i), 0, topics[i*per:(i+1)*per]...); err != nil {
			return err
		}
	}
	f.perSec = subscriptions / time.Since(began).Seconds()
	after, err := p.usage()
	if err != nil {
		return err
	}
	f.each = float64(after.rss-before.rss) / subscriptions
	rand.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
	c, err := l.dial(p.addr(), "pub", 0)
	if err != nil {
		return err
	}
	return l.publisher(c, 0, 1, topics...)
}

// meter measures from mark to figures.
type meter struct {
	at             time.Time
	broker         usage
	own            float64
	delivered, out uint64
}

func mark(l *loop, p *process) (meter, error) {
	u, err := p.usage()
	return meter{time.Now(), u, ownCPU(), l.delivered, l.sent}, err
}

func (m meter) figures(l *loop, p *process, f *figures) error {
	u, err := p.usage()
	if err != nil {
		return err
	}
	took, n := time.Since(m.at).Seconds(), float64(l.delivered-m.delivered)
	f.rate = n / took
	f.cpu = (u.cpu - m.broker.cpu) / n * 1e6
	f.own = (ownCPU() - m.own) / n * 1e6
	f.cores = (u.cpu - m.broker.cpu) / took
	return nil
}

// stall is how long nothing may come back before messages at QoS 0 count as lost, and others as a fault.
const stall = 2 * time.Second

// closed publishes whenever a publisher has room for a batch in its window.
func closed(setup layout, window, batch uint64) func(context.Context, *process, time.Duration) (figures, error) {
	return func(ctx context.Context, p *process, d time.Duration) (f figures, err error) {
		l, err := newLoop()
		if err != nil {
			return f, err
		}
		defer l.close()
		if err := setup(l, p, &f); err != nil {
			return f, err
		}
		fill := func() {
			for _, c := range l.pubs {
				for free := window - c.outstanding(); free >= batch; free -= batch {
					for range batch {
						l.publish(c, time.Since(l.began))
					}
				}
			}
		}
		progress := func(until time.Time, more bool) error {
			last, seen := time.Now(), l.delivered
			for time.Now().Before(until) && ctx.Err() == nil {
				if more {
					fill()
				}
				if err := l.flush(); err != nil {
					return err
				}
				if _, err := l.poll(100 * time.Millisecond); err != nil {
					return err
				}
				switch now := time.Now(); {
				case l.delivered != seen:
					last, seen = now, l.delivered
				case !more:
					if l.settled() {
						return nil
					}
				case now.Sub(last) > stall:
					if l.pubs[0].qos > 0 {
						return fmt.Errorf("nothing came back for %v", stall)
					}
					f.lost += l.forgive()
					last = now
				}
			}
			return ctx.Err()
		}
		if err := progress(time.Now().Add(time.Second), true); err != nil {
			return f, err
		}
		m, err := mark(l, p)
		if err != nil {
			return f, err
		}
		if err := progress(time.Now().Add(d), true); err != nil {
			return f, err
		}
		if err := m.figures(l, p, &f); err != nil {
			return f, err
		}
		f.cores = 0
		if err := progress(time.Now().Add(stall), false); err != nil {
			return f, err
		}
		f.lost += l.forgive()
		return f, nil
	}
}

// settled reports whether nothing is under way.
func (l *loop) settled() bool {
	return !slices.ContainsFunc(l.pubs, func(c *conn) bool { return c.outstanding() > 0 })
}

// forgive counts what was not delivered as lost, and as done.
func (l *loop) forgive() (lost uint64) {
	for _, c := range l.pubs {
		lost += c.sent*c.copies - c.delivered
		c.delivered = c.sent * c.copies
	}
	return lost
}

// paced publishes at instants that are fixed beforehand.
func paced(ctx context.Context, p *process, d time.Duration) (f figures, err error) {
	l, err := newLoop()
	if err != nil {
		return f, err
	}
	defer l.close()
	if err := pairs(10, 1)(l, p, &f); err != nil {
		return f, err
	}
	const every = 100 * time.Microsecond
	if err := l.tick(every); err != nil {
		return f, err
	}
	due, n := time.Since(l.began), 0
	run := func(until time.Time) error {
		for time.Now().Before(until) && ctx.Err() == nil {
			for now := time.Since(l.began); due <= now; due += every {
				l.publish(l.pubs[n%len(l.pubs)], due)
				n++
			}
			if err := l.flush(); err != nil {
				return err
			}
			if _, err := l.poll(10 * time.Millisecond); err != nil {
				return err
			}
		}
		return ctx.Err()
	}
	if err := run(time.Now().Add(time.Second)); err != nil {
		return f, err
	}
	l.latency.Reset()
	m, err := mark(l, p)
	if err != nil {
		return f, err
	}
	if err := run(time.Now().Add(d)); err != nil {
		return f, err
	}
	if err := m.figures(l, p, &f); err != nil {
		return f, err
	}
	f.p50, f.p99 = l.latency.ValueAtQuantile(50), l.latency.ValueAtQuantile(99)
	for end := time.Now().Add(stall); !l.settled() && time.Now().Before(end); {
		if err := l.flush(); err != nil {
			return f, err
		}
		if _, err := l.poll(10 * time.Millisecond); err != nil {
			return f, err
		}
	}
	f.lost = l.forgive()
	return f, nil
}

// idle measures memory of connections that do nothing.
func idle(ctx context.Context, p *process, _ time.Duration) (f figures, err error) {
	l, err := newLoop()
	if err != nil {
		return f, err
	}
	defer l.close()
	before, err := p.usage()
	if err != nil {
		return f, err
	}
	const n = 5000
	began := time.Now()
	for i := range n {
		if _, err := l.dial(p.addr(), fmt.Sprintf("idle-%d", i), 0); err != nil {
			return f, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	f.perSec = n / time.Since(began).Seconds()
	select {
	case <-time.After(2 * time.Second): // for what ends by itself: handshakes, timers
	case <-ctx.Done():
		return f, ctx.Err()
	}
	after, err := p.usage()
	f.each = float64(after.rss-before.rss) / n
	return f, err
}

// flood publishes as fast as the sockets take it.
func flood(ctx context.Context, p *process, d time.Duration) (f figures, err error) {
	l, err := newLoop()
	if err != nil {
		return f, err
	}
	defer l.close()
	if err := fanIn(0)(l, p, &f); err != nil {
		return f, err
	}
	m, err := mark(l, p)
	if err != nil {
		return f, err
	}
	for until := time.Now().Add(d); time.Now().Before(until) && ctx.Err() == nil; {
		for _, c := range l.pubs {
			for range 100 {
				if c.writable {
					break
				}
				l.publish(c, time.Since(l.began))
			}
		}
		if err := l.flush(); err != nil {
			return f, err
		}
		if _, err := l.poll(time.Millisecond); err != nil {
			return f, err
		}
	}
	if err := m.figures(l, p, &f); err != nil {
		return f, err
	}
	f.cores = 0
	for last, seen := time.Now(), uint64(0); time.Since(last) < stall && ctx.Err() == nil; {
		if _, err := l.poll(100 * time.Millisecond); err != nil {
			return f, err
		}
		if l.delivered != seen {
			last, seen = time.Now(), l.delivered
		}
		if l.settled() {
			break
		}
	}
	f.lost = l.forgive()
	return f, ctx.Err()
}
