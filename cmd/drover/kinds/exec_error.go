package kinds

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/drover-run/drover/supervisor"
)

// What a command that can't be started exits with, by the custom of shells.
const (
	codeBadDir        = 125
	codeNotExecutable = 126
	codeNotFound      = 127
	codeSignal        = 128 // and the signal
)

// StartError says that a command could not be started, for a reason that another attempt would meet as well. It did
// not run.
type StartError struct {
	ExitCode int // 127: not found, 126: not executable, 125: its directory
	Err      error
}

func (e *StartError) Error() string { return e.Err.Error() }
func (e *StartError) Unwrap() error { return e.Err }

// ExitError says that a command ran and did not succeed. The output that comes with it is valid.
type ExitError struct {
	Status string // "exit status 3" or "signal: killed"
	Stderr string // the last KiB of its standard error
}

func (e *ExitError) Error() string {
	if e.Stderr == "" {
		return e.Status
	}
	return e.Status + ": " + e.Stderr
}

func lookupError(name string, err error) *StartError {
	if errors.Is(err, fs.ErrPermission) {
		return &StartError{ExitCode: codeNotExecutable, Err: fmt.Errorf("%s: it is in PATH, but can't be executed: %w", name, err)}
	}
	return &StartError{ExitCode: codeNotFound, Err: fmt.Errorf("%s: command not found in PATH: %w", name, err)}
}

// startError tells what another attempt would meet as well, a StartError, from what may pass: no memory, a file that is
// just being written, a witness that is gone.
func startError(err error, dir string) error {
	gate, ok := errors.AsType[*supervisor.GateError](err)
	switch {
	case !ok || !slices.Contains(lasting, gate.Err):
		return err
	case gate.Op == "chdir":
		return &StartError{ExitCode: codeBadDir, Err: fmt.Errorf("the command's directory: %w", err)}
	case gate.Err == syscall.ENOEXEC:
		return &StartError{ExitCode: codeNotExecutable, Err: fmt.Errorf("%w (a script needs a first line such as #!/bin/sh)", err)}
	case gate.Err != syscall.ENOENT && gate.Err != syscall.ENOTDIR:
		return &StartError{ExitCode: codeNotExecutable, Err: err}
	}
	if _, statErr := os.Stat(from(dir, gate.Path)); statErr == nil {
		return &StartError{ExitCode: codeNotExecutable, Err: fmt.Errorf("%w (the file is there: its interpreter is missing)", err)}
	}
	return &StartError{ExitCode: codeNotFound, Err: err}
}

// lasting are the answers of the system that trying again does not change.
var lasting = []syscall.Errno{
	syscall.ENOENT, syscall.ENOTDIR, syscall.EACCES, syscall.EPERM, syscall.ENOEXEC, syscall.EISDIR, syscall.ELOOP,
	syscall.ENAMETOOLONG, syscall.E2BIG, syscall.EINVAL,
}

// exitCode is a command's, and 128 and the signal if one ended it, as shells have it.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return codeSignal + int(status.Signal())
	}
	return state.ExitCode()
}

func exitError(state *os.ProcessState, stderr *tail) *ExitError {
	return &ExitError{
		Status: strings.TrimSuffix(state.String(), " (core dumped)"),
		Stderr: strings.TrimRight(stderr.last(1024), "\n"),
	}
}
