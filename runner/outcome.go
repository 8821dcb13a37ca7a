package runner

import (
	"errors"
	"fmt"
	"time"

	"github.com/drover-run/drover/registry"
)

// Why the context of an attempt ended, as context.Cause tells it.
var (
	// ErrCancelRequested: somebody asked to cancel the process.
	ErrCancelRequested = errors.New("cancel requested")
	// ErrLeaseLost: the node's session is over, or can't be shown to live any
	// more. Somebody else may run the process from now on; nothing that this
	// attempt returns is recorded.
	ErrLeaseLost = errors.New("lease lost")
	// ErrAttemptTimeout: the attempt took longer than it may. What the handler
	// returns because of that is an error, to be retried as others.
	ErrAttemptTimeout = errors.New("attempt timed out")
	// ErrAbandonRequested: somebody asked to abandon the process. It is an
	// [ErrCancelRequested] as well.
	ErrAbandonRequested error = requestError("abandon requested")
	// ErrDeadline: the deadline of the process has passed. It is an
	// [ErrCancelRequested] as well.
	ErrDeadline error = requestError("deadline passed")
	// ErrShutdown: the node stops, and the time that attempts had is over.
	// The process is handed back for another node to run again; one that is
	// owner-bound is abandoned.
	ErrShutdown = errors.New("node shuts down")
)

// requestError is why a context ended because somebody asked for it.
type requestError string

func (e requestError) Error() string        { return string(e) }
func (e requestError) Is(target error) bool { return target == ErrCancelRequested }

// A handler speaks by what it returns. A plain error means that the attempt
// failed and may be retried, by the policy of the process. These say
// something else, however deep they are wrapped.

// Fail says that the process failed for good: no retry. err may be nil.
func Fail(err error) error { return &verdictError{verdict: verdict{kind: verdictFail}, err: err} }

// RetryAfter says that the attempt failed and is to be retried after d. It
// counts as an error, so the process fails once it had too many.
func RetryAfter(d time.Duration, err error) error {
	return &verdictError{verdict: verdict{kind: verdictRetry, delay: max(d, 0)}, err: err}
}

// Snooze says that there was nothing to do yet: the process is to be run again
// after d, at once if that is not positive. It is not an error and is not
// limited, so a handler that snoozes for too short keeps its node busy. Owner-bound work can't be
// snoozed, as it is not run again: it fails.
func Snooze(d time.Duration) error {
	return &verdictError{verdict: verdict{kind: verdictSnooze, delay: max(d, 0)}}
}

// HandOff says that somebody else goes on with the process, outside of drover:
// it is parked with the reference, which is marshalled as JSON (up to 4 KiB),
// until [registry.Registry.EndExternal] ends it. Only authority may do that,
// or whoever gives a name if it is "".
func HandOff(reference any, authority string) error {
	return &verdictError{verdict: verdict{kind: verdictHandOff, reference: reference, authority: authority}}
}

// Cancel says that the process is not to be done at all: it ends as
// cancelled. err may be nil.
func Cancel(err error) error {
	return &verdictError{verdict: verdict{kind: verdictCancel}, err: err}
}

// verdictError is an error by which a handler decides.
type verdictError struct {
	verdict verdict
	err     error
}

func (e *verdictError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	switch e.verdict.kind {
	case verdictSnooze:
		return fmt.Sprintf("snoozed for %s", e.verdict.delay)
	case verdictHandOff:
		return registry.HandedOff
	case verdictCancel:
		return "cancelled by its handler"
	default:
		return "failed"
	}
}

func (e *verdictError) Unwrap() error { return e.err }

// WithOutput attaches an output to an error. If the attempt's error ends the
// process, the output is kept with it. The output is marshalled as JSON.
func WithOutput(err error, output any) error { return &outputError{err: err, output: output} }

type outputError struct {
	err    error
	output any
}

func (e *outputError) Error() string { return e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// PanicError is what an attempt failed with when its handler panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
