package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/drover-run/drover/registry"
)

// The exit codes that scripts rely on.
const (
	exitDone        = 0
	exitFailed      = 1 // the process ended otherwise than completed, or the operation failed
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4 // another spec under that id, or not allowed in its state
	exitUnreachable = 5
	exitTimeout     = 6 // wait --timeout passed
)

// exitError ends the program with a code. err is printed; nil prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error { return &exitError{code: exitUsage, err: err} }

// exit prints what went wrong, in one line, and returns the exit code.
func (c *cli) exit(err error) int {
	if err == nil {
		return exitDone
	}
	code, text := c.judge(err)
	if text != "" {
		fmt.Fprintln(c.stderr, "drover:", oneLine(text))
	}
	return code
}

// judge says what an error means to a script and to a person.
func (c *cli) judge(err error) (code int, text string) {
	if e, ok := errors.AsType[*exitError](err); ok {
		if e.err == nil {
			return e.code, ""
		}
		if e.code == exitUsage {
			return e.code, e.err.Error() + " (see --help)"
		}
		return e.code, e.err.Error()
	}
	if code, text := c.judgeEtcd(err); code != exitDone {
		return code, text
	}
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return exitNotFound, err.Error()
	case errors.Is(err, registry.ErrConflict):
		return exitConflict, err.Error() + ": choose another id, or start it with the same spec"
	case errors.Is(err, registry.ErrEnded):
		return exitConflict, err.Error() + ": `drover retry` would begin it again"
	case errors.Is(err, registry.ErrNotEnded):
		return exitConflict, err.Error() + ": wait for its end with `drover wait`, or cancel it"
	case errors.Is(err, registry.ErrState), errors.Is(err, registry.ErrAuthority):
		return exitConflict, err.Error()
	case errors.Is(err, registry.ErrInvalid):
		return exitUsage, err.Error()
	}
	if text, ok := missed(err); ok {
		return exitFailed, text
	}
	if large, ok := errors.AsType[*registry.TooLargeError](err); ok {
		return exitUsage, large.Error()
	}
	return exitFailed, err.Error()
}

// judgeEtcd is judge for what ails etcd; exitDone if nothing does.
func (c *cli) judgeEtcd(err error) (code int, text string) {
	switch {
	case errors.Is(err, registry.ErrDenied):
		return exitFailed, "etcd refused permission: check --user and its password, or --cert, and the user's roles for /" + c.global.namespace + "/"
	case errors.Is(err, registry.ErrNoSpace):
		return exitFailed, "etcd is out of space and refuses writes: make room (drover prune, then compact and defragment it, or raise its quota), then disarm the alarm"
	case errors.Is(err, registry.ErrFull):
		return exitFailed, err.Error()
	case errors.Is(err, registry.ErrUnavailable), errors.Is(err, registry.ErrUnresolved):
		return exitUnreachable, c.unreachable(err)
	}
	return exitDone, ""
}

func (c *cli) unreachable(err error) string {
	text := fmt.Sprintf("etcd did not answer at %s within %s: is `drover serve` running there? Name another etcd with --endpoints",
		strings.Join(c.global.endpoints, ","), c.global.requestTimeout)
	if errors.Is(err, registry.ErrUnresolved) {
		text += "; what was asked may have happened: ask again to find out"
	}
	return text
}

func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\n", "; ")), " ")
}
