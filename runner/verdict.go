package runner

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"
)

// verdictKind is what is to be written of an attempt that ended.
type verdictKind int

const (
	verdictComplete verdictKind = iota
	verdictFail
	verdictCancel
	verdictRetry
	verdictSnooze
	verdictRelease
	verdictDiscard // nothing: the claim is not ours any more
)

// verdict is what an attempt's end means for its process.
type verdict struct {
	kind   verdictKind
	delay  time.Duration // of a retry or a snooze
	reason string
	err    string // for the history
	output json.RawMessage
}

// counters are the facts of the process that a verdict needs.
type counters struct {
	errors      int // before this attempt
	maxAttempts int
	backoff     time.Duration
}

// What ended processes say of why they did.
const (
	reasonTooManyErrors = "too many errors"
	reasonHandler       = "its handler said so"
	reasonTooLarge      = "output too large"
	reasonRefused       = "etcd refused its end"
)

// decide is the verdict on an attempt: cause is why its context was
// cancelled, nil if it was not; err is what the handler returned. It is a
// pure function but for the jitter of a retry, which comes from random, 0 to
// 1.
func decide(cause, err error, output json.RawMessage, c counters, random float64) verdict {
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
		return verdict{kind: verdictCancel, err: err.Error(), output: output}
	case errors.Is(cause, ErrShutdown):
		return verdict{kind: verdictRelease}
	}
	return retry(err, output, c, jittered(c.backoff, c.errors, random))
}

// decide is the verdict that a handler asked for.
func (e *verdictError) decide(err error, output json.RawMessage, c counters) verdict {
	v := e.verdict
	v.err = err.Error()
	switch v.kind {
	case verdictRetry:
		return retry(err, output, c, v.delay)
	case verdictFail, verdictCancel:
		v.reason, v.output = reasonHandler, output
	default:
	}
	return v
}

// retry fails the process once it had as many errors as it may have.
func retry(err error, output json.RawMessage, c counters, delay time.Duration) verdict {
	if c.errors+1 >= c.maxAttempts {
		return verdict{kind: verdictFail, reason: reasonTooManyErrors, err: err.Error(), output: output}
	}
	return verdict{kind: verdictRetry, delay: delay, err: err.Error()}
}

// maxBackoff is the longest delay before a retry.
const maxBackoff = 10 * time.Minute

// jittered is exponential back-off with full jitter: anything up to the base,
// doubled for each earlier error. Full jitter spreads the retries of many
// processes that failed together evenly.
func jittered(base time.Duration, errors int, random float64) time.Duration {
	ceiling := base
	for range errors {
		if ceiling >= maxBackoff/2 {
			ceiling = maxBackoff
			break
		}
		ceiling *= 2
	}
	return time.Duration(random * float64(min(ceiling, maxBackoff)))
}

func random() float64 { return rand.Float64() }
