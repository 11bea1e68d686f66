package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"mqlab": main,
	})
}

// TestScript runs testdata/script: one file per behaviour of the program, as a user sees it.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error { // captures are binary, and cannot stand in a script
			dir, err := filepath.Abs(filepath.Join("testdata", "captures"))
			e.Setenv("CAPTURES", dir)
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": scriptExits,
			"json":  scriptJSON,
			"serve": scriptServe,
		},
	})
}

// scriptExits is "exits CODE COMMAND...": like exec, for one exit code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// scriptJSON is "json FILE [LENGTH]": the file, which may be stdout, holds one JSON value, a list of that length.
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json FILE [LENGTH]")
	}
	var v any
	if err := json.Unmarshal([]byte(ts.ReadFile(args[0])), &v); err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	if len(args) == 1 {
		return
	}
	list, ok := v.([]any)
	if want, err := strconv.Atoi(args[1]); err != nil || !ok || len(list) != want {
		ts.Fatalf("%s holds %d elements, want %s", args[0], len(list), args[1])
	}
}

// scriptServe is "serve mqlab broker FLAGS...": it starts the broker, sets URL1, URL2 and so on to
// what it listens on, and at the end of the script interrupts it, which must end it well.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || args[0] != "mqlab" {
		ts.Fatalf("usage: serve mqlab broker FLAGS...")
	}
	program := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if p := filepath.Join(dir, "mqlab"); program == "" && isFile(p) {
			program = p
		}
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	var log bytes.Buffer
	cmd.Stderr = &log
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			ts.Fatalf("the broker ended with %v: %s", err, log.String())
		}
	})
	lines := bufio.NewScanner(out)
	for n := range strings.Count(strings.Join(args, " "), "--listen") {
		if !lines.Scan() {
			ts.Fatalf("the broker listens on %d addresses only: %s", n, log.String())
		}
		url, ok := strings.CutPrefix(lines.Text(), "listening on ")
		if !ok {
			ts.Fatalf("the broker says %q instead of what it listens on", lines.Text())
		}
		ts.Setenv(fmt.Sprintf("URL%d", n+1), url)
	}
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
