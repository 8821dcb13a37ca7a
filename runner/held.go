package runner

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/trouble"
	"github.com/drover-run/drover/registry"
)

// heldAfter is how long the end of an attempt may take to be written before it
// is shown as held back. It is more than etcd takes to elect a leader.
const heldAfter = 2 * time.Second

// errHeld is why an end is held back when nobody knows better.
var errHeld = errors.New("etcd has not taken it yet")

// held are the attempts that have ended and whose ends etcd has not taken: they
// are kept in memory until it does, or until the session is over.
type held struct {
	pending
	trouble *trouble.Trouble
}

func newHeld(log *zap.Logger) *held {
	return &held{trouble: trouble.New(log,
		"etcd does not take how an attempt ended, it is kept in memory until it does",
		"nothing is kept any more that etcd did not take")}
}

// Held are the attempts that have ended without etcd having taken it, for
// some seconds, the oldest first. Each keeps its slot. Cause is why.
func (r *Runner) Held() []Pending { return r.held.list() }

// hold ends the write when the session does, and notes when it takes long.
func (r *Runner) hold(c *registry.Claim, cancel context.CancelCauseFunc, written <-chan struct{}) {
	begun := time.Now()
	timer := time.NewTimer(heldAfter)
	defer timer.Stop()
	over, shown := c.Session.Done(), false
	defer func() {
		if shown && r.held.remove(c) == 0 {
			r.held.trouble.Note(nil)
		}
	}()
	for {
		select {
		case <-over:
			cancel(ErrLeaseLost)
			over = nil
		case <-timer.C:
			why := r.whyHeld()
			r.held.add(c, begun, why)
			r.held.trouble.NoteSince(begun, why, zap.String("process", c.ID))
			shown = true
		case <-written:
			return
		}
	}
}

func (r *Runner) whyHeld() error {
	if err := r.registry.Unanswered(); err != nil {
		return err
	}
	return errHeld
}

// write records the verdict under the claim, for as long as the session
// lives. While etcd refuses permission it is tried again: somebody has made a
// mistake, and will correct it, and what the attempt did is not to be lost.
func (r *Runner) write(ctx context.Context, c *registry.Claim, v verdict) (registry.Outcome, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	written := make(chan struct{})
	defer close(written)
	go r.hold(c, cancel, written)
	pause := newPause()
	for {
		outcome, err := r.record(ctx, c, v)
		if !errors.Is(err, registry.ErrDenied) {
			return outcome, err
		}
		if len(v.also) > 0 && r.registry.Writable(ctx) == nil {
			// It is what the handler wants to write beside it that is refused.
			v = verdict{kind: verdictFail, reason: reasonRefused, err: err.Error()}
			continue
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return outcome, err
		}
	}
}

// newPause spaces out repeats of what was refused.
func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 100*time.Millisecond, 2*time.Second
	return b
}

// spaceless is why nothing is to be claimed as etcd is out of space: claims
// would be refused too, and what runs needs what room there is. Whether there
// is room again, it asks with one request.
func (r *Runner) spaceless(ctx context.Context) error {
	if !errors.Is(r.registry.Unanswered(), registry.ErrNoSpace) {
		return nil
	}
	return r.registry.Writable(ctx)
}
