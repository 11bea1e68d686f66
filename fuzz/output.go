package fuzz

import (
	"fmt"
	"os"
	"path/filepath"
)

// write writes the files of a finding.
func (f *fuzzer) write(x *Finding) error {
	dir := f.cfg.Out
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write the finding: %w", err)
	}
	s := x.Best()
	if s == nil {
		return nil
	}
	name := filepath.Join(dir, x.Slug()+".txt")
	if err := os.WriteFile(name, []byte(s.Text()), 0o644); err != nil {
		return fmt.Errorf("write the finding: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	x.Files = map[string]string{"script": name}
	return nil
}
