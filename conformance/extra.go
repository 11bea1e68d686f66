package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mqlab/mqlab/codec"
	"github.com/mqlab/mqlab/conformance/rules"
	"github.com/mqlab/mqlab/scenarios"
)

// extraSection is the section of rules that are not the standard's but the user's.
const extraSection = "extra"

// LoadExtra reads the exchange scenarios of a folder, every .yaml and .yml file in it, as checks of
// the user's own. Each is named extra/FILE and judges the rule that the file names: one of the
// registry, or any other id, by default X-FILE. All problems are reported at once.
func LoadExtra(dir string) ([]*Check, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []*Check
	var errs []error
	for _, entry := range entries {
		ext := filepath.Ext(entry.Name())
		if entry.IsDir() || ext != ".yaml" && ext != ".yml" {
			continue
		}
		c, err := loadExtra(filepath.Join(dir, entry.Name()))
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", entry.Name(), err))
			continue
		}
		c.folder = dir
		if slices.ContainsFunc(out, func(o *Check) bool { return o.Name == c.Name }) {
			errs = append(errs, fmt.Errorf("%s: another file gives a check of the name %s", entry.Name(), c.Name))
		}
		out = append(out, c)
	}
	if len(out) == 0 && len(errs) == 0 {
		errs = append(errs, fmt.Errorf("%s holds no .yaml file", dir))
	}
	return out, errors.Join(errs...)
}

func loadExtra(path string) (*Check, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x, err := scenarios.LoadExchange(f)
	if err != nil {
		return nil, err
	}
	return extraCheck(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), x)
}

// extraCheck makes a check of an exchange.
func extraCheck(name string, x *scenarios.Exchange) (*Check, error) {
	var v Versions
	switch x.Version() {
	case codec.V4:
		v = MQTT311
	case codec.V5:
		v = MQTT5
	default:
		return nil, fmt.Errorf("mqtt: the suite speaks 3.1.1 and 5.0, not %s", x.MQTT)
	}
	rule := x.Rule
	if rule == "" {
		rule = "X-" + name
	}
	return &Check{Name: "extra/" + name, Rules: []string{rule}, Versions: v, Run: runExchange(x), exchange: x}, nil
}

// runExchange runs the exchange as a check: it is judged by the first step that the target does not follow.
func runExchange(x *scenarios.Exchange) func(*T) {
	return func(t *T) {
		cfg := t.run.replay(t.watchedDial)
		cfg.Transcript = t.transcript
		out, err := scenarios.Run(t.ctx, x, cfg)
		switch {
		case t.ctx.Err() != nil:
			t.Inconclusive("the run was interrupted")
		case err != nil:
			t.Inconclusive("the exchange could not be run: %v", err)
		}
		if d := out.Departure(); d != nil {
			t.Judge().Thatf(false, x.Title, "step %d, %s: %s", d.Number, d.Step, d.Detail)
			return
		}
		t.Judge().Thatf(true, x.Title, "every one of %d steps was followed", len(out.Steps))
	}
}

// extraFolder is where the checks of the user's own came from; empty: there are none.
func (c *Config) extraFolder() string {
	for _, ck := range c.Checks {
		if ck.folder != "" {
			return ck.folder
		}
	}
	return ""
}

// extraRules are the rules of checks that the registry does not know.
func (r *run) extraRules() []rules.Rule {
	var out []rules.Rule
	for _, c := range r.cfg.Checks {
		if c.exchange == nil || !r.cfg.Versions.Has(c.Versions) {
			continue
		}
		id := c.Rules[0]
		known := slices.ContainsFunc(out, func(o rules.Rule) bool { return o.ID == id && o.Version == c.Versions })
		if _, ok := rules.Lookup(c.Versions, id); !ok && !known {
			out = append(out, rules.Rule{ID: id, Version: c.Versions, Section: extraSection, Level: rules.LevelMust, Text: c.exchange.Title})
		}
	}
	return out
}
