package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mqlab/mqlab/internal/ui"
)

// formatFlag and outputFlag mean the same in every command that has them. The first format is the default.
func formatFlag(formats ...string) cli.Flag {
	return &cli.StringFlag{Name: "format", Value: formats[0], Usage: "write the result as `FORMAT`: " + strings.Join(formats, ", ")}
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the result to `FILE` instead of standard output"}
}

// oneOf returns the known word that value stands for, in any case, or a usage error that lists them.
func oneOf(what, value string, known ...string) (string, error) {
	if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, value) }); i >= 0 {
		return known[i], nil
	}
	if near := closest(value, known); near != "" {
		return "", usagef("unknown %s %q; did you mean %s?", what, value, near)
	}
	return "", usagef("unknown %s %q; known are %s", what, value, strings.Join(known, ", "))
}

// output is where the result of a command goes, with what its look depends on.
type output struct {
	io.Writer
	ui    *ui.UI
	width int // 0: nothing has to be shortened
}

// writeResult lets write produce the result on standard output or, with a path, in that file. A file
// takes its place only when it is whole, so that an old result is not lost to a failed run.
func (e *env) writeResult(path string, write func(output) error) error {
	if path == "" {
		buf := bufio.NewWriter(e.stdout)
		if err := write(output{buf, e.ui(), e.width}); err != nil {
			_ = buf.Flush() // the part that was produced is still of use
			return err
		}
		if err := buf.Flush(); err != nil {
			return fmt.Errorf("write the result to standard output: %w", err)
		}
		return nil
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() { // a pipe or a device such as /dev/stdout
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
		return finish(f, write, func() error { return nil })
	}
	part := path + ".part"
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("write the result: %w; choose another --output", err)
	}
	err = finish(f, write, func() error { return os.Rename(part, path) })
	if err != nil {
		_ = os.Remove(part)
	}
	return err
}

func finish(f *os.File, write func(output) error, done func() error) error {
	buf := bufio.NewWriter(f)
	if err := write(output{buf, ui.Plain(), 0}); err != nil {
		_ = f.Close()
		return err
	}
	err := buf.Flush()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = done()
	}
	if err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// writeJSON writes v indented and with < > & as they are: results are read by people and programs, not by browsers.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
