package runner

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// Report says how the run of a claim ended.
type Report struct {
	ID string
	// Outcome is the outcome that was written; empty if the process was given
	// back, or if the claim was lost.
	Outcome registry.Outcome
	// Err is why nothing could be written: it wraps registry.ErrClaimLost or
	// registry.ErrUnresolved, or ErrLeaseLost.
	Err error
}

// Run makes the attempt that the claim is for and writes how it ended. It
// returns when both are done, and never panics.
//
// ctx is the attempt's; it is to be cancelled with one of this package's
// causes. What is written afterwards is not bounded by it but by the session:
// an outcome is sent until etcd has answered or the session is over.
func (r *Runner) Run(ctx context.Context, c *registry.Claim) Report {
	// While the handler is at work the goroutine waits in these frames, and
	// there are thousands: what makes them large is in functions of its own.
	log := r.logOf(c)
	return r.conclude(ctx, c, r.attempt(ctx, c, log), log)
}

func (r *Runner) logOf(c *registry.Claim) *zap.Logger {
	return r.log.WithLazy(zap.String("process", c.ID), zap.String("kind", c.Kind),
		zap.Int("attempt", c.Attempt), zap.Int64("fence", c.Fence))
}

// conclude writes what the verdict says.
func (r *Runner) conclude(ctx context.Context, c *registry.Claim, v verdict, log *zap.Logger) Report {
	outcome, err := r.write(ctx, c, v)
	if err != nil && refused(err) {
		log.Error("etcd refused the end of an attempt, the process fails", zap.Error(err))
		outcome, err = r.write(ctx, c, verdict{kind: verdictFail, reason: reasonRefused, err: err.Error()})
	}
	if err != nil {
		log.Warn("the end of an attempt is not recorded", zap.Error(err))
	}
	return Report{ID: c.ID, Outcome: outcome, Err: err}
}

// refused says that etcd will not take what was to be written, now or later,
// as when it is larger than etcd's own limit. Left alone, the process would
// stay claimed; given back, it would come to the same again and again.
func refused(err error) bool {
	return !errors.Is(err, registry.ErrClaimLost) && !errors.Is(err, registry.ErrUnresolved) &&
		!errors.Is(err, registry.ErrDenied) && !errors.Is(err, ErrLeaseLost)
}

// Release gives back a claim that was not run.
func (r *Runner) Release(ctx context.Context, c *registry.Claim) error {
	_, err := r.write(ctx, c, verdict{kind: verdictRelease})
	return err
}

// attempt runs the handler, unless there is a reason not to enter it.
func (r *Runner) attempt(ctx context.Context, c *registry.Claim, log *zap.Logger) verdict {
	h, known := r.mux.handling(c.Kind)
	if v := unentered(ctx, c, known); v != nil {
		return *v
	}
	facts, timeout := h.limits(c)
	c.Enter()
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, ErrAttemptTimeout)
		defer cancel()
	}
	a := newAttempt(r.registry, c)
	result, err := call(ownSlot(ctx), h.handler, a, func(done <-chan struct{}) { r.await(ctx, done, c, log) })
	return r.returned(ctx, a, result, err, facts, log)
}

// unentered is the verdict on an attempt whose handler is not to be entered;
// nil if it is.
func unentered(ctx context.Context, c *registry.Claim, known bool) *verdict {
	switch cause := context.Cause(ctx); {
	case !c.Session.Alive():
		return &verdict{kind: verdictDiscard}
	case errors.Is(cause, ErrCancelRequested):
		return &verdict{kind: verdictRequested}
	case cause != nil || !known:
		return &verdict{kind: verdictRelease}
	}
	return nil
}

// returned is the verdict on what the handler returned.
func (r *Runner) returned(ctx context.Context, a *Attempt, result any, err error, facts counters, log *zap.Logger) verdict {
	also := a.finish()
	cause := context.Cause(ctx)
	if !a.claim.Session.Alive() {
		// Asked after the handler, on a clock that goes on in suspend: a
		// frozen node wakes up here before any timer of its own fires.
		cause = ErrLeaseLost
	}
	v := r.judge(cause, result, err, facts, log)
	v.also = also
	switch v.kind {
	case verdictRetry, verdictSnooze, verdictHandOff:
		a.progress.flush(ctx) // the last word of the attempt, until the next one has something to say
	default: // an outcome takes it away
	}
	return v
}

// judge makes the verdict. It runs code of the handler's once more, which may
// panic as the handler itself may: MarshalJSON of its output or its reference,
// Error of what it returned, such as a nil pointer in an error, and its policy.
func (r *Runner) judge(cause error, result any, err error, facts counters, log *zap.Logger) (v verdict) {
	defer func() {
		if value := recover(); value != nil {
			panicked := &PanicError{Value: value, Stack: debug.Stack()}
			log.Error("what a handler returned panicked", zap.Any("panic", value), zap.ByteString("stack", panicked.Stack))
			facts.policy = Exponential{} // it may be the one that panicked
			v = decide(cause, panicked, nil, facts)
		}
	}()
	if panicked, ok := errors.AsType[*PanicError](err); ok {
		log.Error("a handler panicked", zap.Any("panic", panicked.Value), zap.ByteString("stack", panicked.Stack))
	}
	output, err := encodeOutput(result, err)
	v = decide(cause, err, output, facts)
	if v.kind == verdictHandOff {
		return v.encodeReference()
	}
	return v
}

// encodeReference fails the process if its reference can't be marshalled: the
// next attempt would come to the same.
func (v verdict) encodeReference() verdict {
	value, err := registry.Encode(v.reference)
	if err != nil {
		return verdict{kind: verdictFail, reason: reasonReference, err: err.Error(), output: v.output}
	}
	v.reference = value
	return v
}

// errGoexit is what an attempt ended in whose handler ended its goroutine.
var errGoexit = errors.New("the handler called runtime.Goexit")

// call runs the handler on a goroutine of its own, so that one that panics or
// calls runtime.Goexit ends its attempt and nothing else. await is to return
// when done is closed.
func call(ctx context.Context, h Handler, a *Attempt, await func(done <-chan struct{})) (result any, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		returned := false
		defer func() {
			if value := recover(); value != nil {
				result, err = nil, &PanicError{Value: value, Stack: debug.Stack()}
			} else if !returned {
				result, err = nil, errGoexit
			}
		}()
		result, err = h.Handle(ctx, a)
		returned = true
	}()
	await(done)
	return result, err
}

// encodeOutput marshals what the handler returned. An output that can't be
// marshalled fails the process for good: the next attempt would return the
// same.
func encodeOutput(result any, err error) (json.RawMessage, error) {
	var carried *outputError
	if err != nil && errors.As(err, &carried) {
		result = carried.output
	} else if err != nil {
		return nil, err
	}
	if raw, ok := result.(json.RawMessage); result == nil || ok && len(raw) == 0 {
		return nil, err
	}
	output, encodeErr := registry.Encode(result)
	if encodeErr != nil {
		return nil, errors.Join(err, Fail(encodeErr))
	}
	return output, err
}

// record makes the transition that the verdict asks for.
func (r *Runner) record(ctx context.Context, c *registry.Claim, v verdict) (registry.Outcome, error) {
	due := r.registry.Now().Add(v.delay)
	switch v.kind {
	case verdictComplete:
		return r.complete(ctx, c, v)
	case verdictFail:
		return r.fail(ctx, c, v.err, v.reason, v.output)
	case verdictCancel:
		return ended(registry.Cancelled, orWithout(v.output, func(output json.RawMessage) error {
			return r.registry.EndCancelled(ctx, c, v.err, v.reason, output)
		}))
	case verdictRequested:
		return r.endRequested(ctx, c, v)
	case verdictAbandon:
		return ended(registry.Abandoned, orWithout(v.output, func(output json.RawMessage) error {
			return r.registry.AbandonOwn(ctx, c, v.err, output)
		}))
	case verdictHandOff:
		return r.handOff(ctx, c, v)
	case verdictRetry:
		return r.unlessRequested(ctx, c, v, r.registry.Retry(ctx, c, due, v.err))
	case verdictSnooze:
		return r.unlessRequested(ctx, c, v, r.registry.Snooze(ctx, c, due))
	case verdictRelease:
		return r.unlessRequested(ctx, c, v, r.registry.Release(ctx, c))
	default:
		return "", ErrLeaseLost
	}
}

// complete fails the process if its output is too large, as every further
// attempt would come to the same.
func (r *Runner) complete(ctx context.Context, c *registry.Claim, v verdict) (registry.Outcome, error) {
	err := r.registry.CompleteWith(ctx, c, v.output, v.also...)
	if large, ok := errors.AsType[*registry.TooLargeError](err); ok {
		return r.fail(ctx, c, large.Error(), reasonTooLarge, nil)
	}
	return ended(registry.Completed, err)
}

// fail drops an output that is too large: that the process failed matters
// more.
func (r *Runner) fail(ctx context.Context, c *registry.Claim, cause, reason string, output json.RawMessage) (registry.Outcome, error) {
	return ended(registry.Failed, orWithout(output, func(output json.RawMessage) error {
		return r.registry.Fail(ctx, c, cause, reason, output)
	}))
}

// endRequested ends a process as the request says that stands.
func (r *Runner) endRequested(ctx context.Context, c *registry.Claim, v verdict) (o registry.Outcome, err error) {
	err = orWithout(v.output, func(output json.RawMessage) (err error) {
		o, err = r.registry.EndRequested(ctx, c, v.err, output)
		return err
	})
	return ended(o, err)
}

// handOff fails the process if the reference can't be stored: what it refers
// to is nobody's then, and the next attempt would come to the same.
func (r *Runner) handOff(ctx context.Context, c *registry.Claim, v verdict) (registry.Outcome, error) {
	value, _ := v.reference.(json.RawMessage) // since it was judged
	err := r.registry.HandOff(ctx, c, registry.Reference{Value: value, Authority: v.authority})
	if err == nil || !refused(err) {
		return "", err
	}
	if errors.Is(err, registry.ErrRequested) {
		return r.endRequested(ctx, c, v)
	}
	return r.fail(ctx, c, err.Error(), reasonReference, nil)
}

// orWithout ends a process with its output, or without if that is too large.
func orWithout(output json.RawMessage, end func(json.RawMessage) error) error {
	err := end(output)
	if _, large := errors.AsType[*registry.TooLargeError](err); large {
		err = end(nil)
	}
	return err
}

// unlessRequested ends a process that could not be put back because a request
// to end it had come.
func (r *Runner) unlessRequested(ctx context.Context, c *registry.Claim, v verdict, err error) (registry.Outcome, error) {
	if errors.Is(err, registry.ErrRequested) {
		return r.endRequested(ctx, c, v)
	}
	return "", err
}

func ended(o registry.Outcome, err error) (registry.Outcome, error) {
	if err != nil {
		return "", err
	}
	return o, nil
}
