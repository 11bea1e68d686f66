package fuzz

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Replay runs a script several times, each time on a fresh start of a target that is started here, and returns what was
// found: nothing, or one finding that says how often it came back. Where the script names its finding, it is looked for
// that one; else whatever the oracles notice counts. Other trouble is returned behind it.
func Replay(ctx context.Context, cfg Config, s *Script) ([]*Finding, error) {
	f, err := forReplay(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	want, err := f.firing(ctx, s)
	if err != nil || want == nil {
		return f.order, err
	}
	x := f.finding(want, s)
	for range f.cfg.Replays {
		if hit := f.fires(ctx, s, want, true, f.cfg.Patience); hit != nil {
			x.Confirmed++
		}
		x.Tried++
		if ctx.Err() != nil {
			return f.order, ctx.Err()
		}
	}
	f.order = append([]*Finding{x}, f.order...)
	return f.order, f.write(x)
}

// MinimiseFinding makes a script smaller that brings trouble about, for as long as Config.Minimise allows. The finding
// is nil where the script brings none about.
func MinimiseFinding(ctx context.Context, cfg Config, s *Script) (*Finding, error) {
	f, err := forReplay(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	want, err := f.firing(ctx, s)
	if err != nil || want == nil {
		return nil, err
	}
	x := f.finding(want, s)
	f.fatal = func(error) {}
	f.conclude(x, want, f.settleFinding(ctx, s, want, nil))
	return x, ctx.Err()
}

func forReplay(ctx context.Context, cfg Config) (*fuzzer, error) {
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	f, err := newFuzzer(ctx, cfg)
	if err != nil {
		return nil, err
	}
	f.started = time.Now()
	return f, nil
}

// firing runs the script and returns the trouble that it brings about, if any. Trouble that is not what the script names
// becomes a finding of its own.
func (f *fuzzer) firing(ctx context.Context, s *Script) (*trouble, error) {
	if len(s.Steps) == 0 {
		return nil, errors.New("the script has no steps")
	}
	if s.Oracle != "" {
		want := &trouble{oracle: s.Oracle, signature: s.Signature}
		for range f.cfg.Replays {
			if hit := f.fires(ctx, s, want, true, f.cfg.Patience); hit != nil {
				return hit, nil
			}
		}
	} else {
		for range f.cfg.Replays {
			f.replay.closeKnown, f.replay.closeForget, f.replay.closeWait = nil, nil, f.cfg.Patience
			r := f.replay.run(ctx, s)
			all := append([]trouble(nil), r.troubles...)
			if t := f.examine(ctx, f.cfg.Patience); t != nil {
				f.sick = true
				all = append([]trouble{*t}, all...)
			}
			if len(all) > 0 {
				f.later = append(f.later, all[1:]...)
				for i := range f.later {
					f.order = append(f.order, f.finding(&f.later[i], s))
				}
				return &all[0], nil
			}
		}
	}
	for i := range f.later {
		f.order = append(f.order, f.finding(&f.later[i], s))
	}
	return nil, ctx.Err()
}

// finding makes a finding of a trouble.
func (f *fuzzer) finding(t *trouble, s *Script) *Finding {
	return &Finding{
		Oracle: t.oracle, Signature: t.signature, Title: t.title, Rule: t.rule, Warn: t.warn, Detail: t.detail, Stderr: t.stderr,
		Script: s, Target: f.cfg.Name, Seed: f.cfg.Seed, Execs: f.execs.Load(), After: time.Since(f.started), At: time.Now().UTC(), Count: 1,
	}
}

// Describe returns the steps of a script in words, one a line.
func (s *Script) Describe() []string {
	lines := make([]string, 0, len(s.Steps))
	for i := range s.Steps {
		st := &s.Steps[i]
		line := fmt.Sprintf("c%d %s", st.Conn, st.Op)
		switch st.Op {
		case Answer:
			line += " " + st.Ack.String()
		case Settle, Pause:
			line += " " + st.Gap.String()
		case Churn:
			line = fmt.Sprintf("churn: %d connections", max(1, st.Size))
		case Meanwhile, Afterwards:
			line = st.Op.String()
		}
		if st.Repeat > 1 {
			line += fmt.Sprintf(" %d times", st.Repeat)
		}
		if st.Counting {
			line += " with Packet Identifiers that count up"
		}
		if len(st.Bytes) > 0 {
			line += " " + Words(st.Bytes, s.Version)
		}
		if st.Edit != "" {
			line += " [edit: " + st.Edit + "]"
		}
		lines = append(lines, line)
	}
	return lines
}
