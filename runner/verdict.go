package runner

import (
	"encoding/json"
	"errors"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// verdictKind is what is to be written of an attempt that ended.
type verdictKind int

const (
	verdictComplete verdictKind = iota
	verdictFail
	verdictCancel
	verdictRequested // what the request says that stands
	verdictRetry
	verdictSnooze
	verdictHandOff
	verdictRelease
	verdictAbandon
	verdictDiscard // nothing: the claim is not ours any more
)

// verdict is what an attempt's end means for its process.
type verdict struct {
	kind   verdictKind
	delay  time.Duration // of a retry or a snooze
	reason string
	err    string // for the history
	output json.RawMessage

	reference any    // of a hand-off; a json.RawMessage once it was judged
	authority string // likewise

	also []clientv3.Op // the handler's own writes, with completion
}

// counters are the facts of the process that a verdict needs.
type counters struct {
	errors      int // before this attempt
	maxAttempts int
	policy      Policy
	ownerBound  bool
}

// What ended processes say of why they did.
const (
	reasonTooManyErrors = "too many errors"
	reasonHandler       = "its handler said so"
	reasonTooLarge      = "output too large"
	reasonReference     = "its reference can't be stored"
	reasonRefused       = "etcd refused its end"
	reasonOwnerBound    = "owner-bound work is not run again"
)

// decide is the verdict on an attempt: cause is why its context was
// cancelled, nil if it was not; err is what the handler returned. It is a
// pure function but for the policy.
func decide(cause, err error, output json.RawMessage, c counters) verdict {
	if errors.Is(cause, ErrLeaseLost) {
		return verdict{kind: verdictDiscard}
	}
	if err == nil {
		// Also if it was asked to stop: it was done before it noticed.
		return verdict{kind: verdictComplete, output: output}
	}
	var said *verdictError
	if errors.As(err, &said) {
		return said.decide(err, output, c)
	}
	switch {
	case errors.Is(cause, ErrCancelRequested):
		return verdict{kind: verdictRequested, err: err.Error(), output: output}
	case errors.Is(cause, ErrShutdown) && c.ownerBound:
		return verdict{kind: verdictAbandon, err: err.Error(), output: output}
	case errors.Is(cause, ErrShutdown):
		return verdict{kind: verdictRelease}
	case errors.Is(cause, ErrAttemptTimeout) && !errors.Is(err, ErrAttemptTimeout):
		return c.retry(ErrAttemptTimeout.Error()+": "+err.Error(), output, func() time.Duration { return c.delay(err) })
	}
	return c.retry(err.Error(), output, func() time.Duration { return c.delay(err) })
}

// decide is the verdict that a handler asked for.
func (e *verdictError) decide(err error, output json.RawMessage, c counters) verdict {
	v := e.verdict
	v.err, v.output = err.Error(), output
	switch v.kind {
	case verdictRetry:
		return c.retry(v.err, output, func() time.Duration { return v.delay })
	case verdictSnooze:
		if c.ownerBound {
			return verdict{kind: verdictFail, reason: reasonOwnerBound, err: v.err, output: output}
		}
	case verdictFail, verdictCancel:
		v.reason = reasonHandler
	default:
	}
	return v
}

// retry fails the process once it had as many errors as it may have.
func (c counters) retry(why string, output json.RawMessage, delay func() time.Duration) verdict {
	switch {
	case c.ownerBound:
		return verdict{kind: verdictFail, reason: reasonOwnerBound, err: why, output: output}
	case c.errors+1 >= c.maxAttempts:
		return verdict{kind: verdictFail, reason: reasonTooManyErrors, err: why, output: output}
	}
	// The output is for the case that a request ends it instead.
	return verdict{kind: verdictRetry, delay: delay(), err: why, output: output}
}

func (c counters) delay(err error) time.Duration {
	return max(c.policy.Delay(c.errors+1, err), 0)
}
