package main

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitNo          = 1
	exitUsage       = 2
	exitTrouble     = 3
	exitInterrupted = 130
)

// exitCodes says what the codes mean. The help of the program and the README show this table.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{exitOK, "done, and the answer is yes"},
	{exitNo, "done, and the answer is no: a check failed, a threshold was broken, a finding, a damaged capture"},
	{exitUsage, "the command line or an input file is wrong; nothing was done"},
	{exitTrouble, "it could not be done: the target is unreachable, the disk is full"},
	{exitInterrupted, "interrupted; the partial result was written"},
}

// exitError carries an exit code up to run. A nil err means that the result already says everything.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith ends a command with the given code. Errors without one end it with exitTrouble.
func exitWith(code int, err error) error { return &exitError{code, err} }

// usagef says in one sentence what is wrong with the command line or an input file, and what to write instead.
func usagef(format string, args ...any) error {
	return exitWith(exitUsage, fmt.Errorf(format, args...))
}

// errStopped is the result of a command whose normal end is that the user stops it, such as a broker.
var errStopped = errors.New("stopped")

// report writes what is left to say to w and returns the exit code of err.
func report(ctx context.Context, w io.Writer, err error) int {
	if errors.Is(err, errStopped) {
		return exitOK
	}
	// Whoever asks for an interrupted result must not take it for a whole one, whatever the command made of it.
	if ctx.Err() != nil {
		if err == nil || errors.Is(err, context.Canceled) || err.Error() == "" {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(w, "mqlab:", err)
		return exitInterrupted
	}
	if err == nil {
		return exitOK
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(w, "mqlab:", text)
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitTrouble
}
