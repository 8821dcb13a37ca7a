package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/drover-run/drover/registry"
)

const (
	// lookInterval is how often a drive looks at everything, so that nothing
	// depends on a watch or on a floor being right.
	lookInterval = 5 * time.Second
	// dyingInterval is how soon to look again at a node of this host that is
	// gone while its witness still kills what it had started.
	dyingInterval = 50 * time.Millisecond
	// matureLimit is how many due processes one drive makes claimable.
	matureLimit = 256
	// inFlight is how many claims a drive sends at a time: enough to fill the
	// batches that they travel in.
	inFlight = 256
	// rounds is how often a drive lists again because others were faster. It
	// is bounded so that a crowd can't keep a drive for ever.
	rounds = 4
	// claimGrace is how long a claim that was sent is waited for when its drive
	// has ended. One that is given up is likely to land all the same, as a
	// stray; of a node that stops, as an orphan, which counts as a lost attempt.
	claimGrace = 2 * time.Second
)

// ErrNoSession says that the node has no session, or one that can't be shown
// to live. It claims nothing until it has one.
var ErrNoSession = errors.New("no session")

// Drive makes one pass: what is due becomes claimable, orphans are taken
// over, and what is claimable is claimed and handed to free slots, the most
// urgent first. It returns without waiting for any handler.
//
// What concerns a single process, such as a corrupt row, is logged and does
// not end the pass. [ErrNoSession] means that nothing was tried.
func (r *Runner) Drive(ctx context.Context, reason Reason) (Drove, error) {
	s := r.session()
	if s == nil || !s.Alive() {
		return Drove{}, ErrNoSession
	}
	var d Drove
	everything := r.timeToLook(reason)
	if everything {
		r.window.Reset()
	}
	var failed []error
	if everything || r.orphans.Load() {
		failed = append(failed, r.lookAround(ctx, s, everything, &d))
	}
	matured, next, err := r.registry.MatureWithin(ctx, matureLimit, r.horizon)
	failed = append(failed, r.report(err))
	d.note(next)
	if matured == matureLimit {
		d.note(time.Now())
	}
	failed = append(failed, r.claimPending(ctx, s, &d))
	return d, errors.Join(failed...)
}

// note keeps the earliest time.
func (d *Drove) note(t time.Time) {
	if !t.IsZero() && (d.Next.IsZero() || t.Before(d.Next)) {
		d.Next = t
	}
}

func (r *Runner) timeToLook(reason Reason) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if reason != Startup && time.Since(r.lookedAt) < lookInterval {
		return false
	}
	r.lookedAt = time.Now()
	return true
}

// lookAround ends sessions that are provably over, takes over what sessions
// left that ended, and gives back what this node holds without knowing.
func (r *Runner) lookAround(ctx context.Context, s *registry.Session, everything bool, d *Drove) error {
	r.orphans.Store(false)
	_, dying, err := r.registry.EndDeadSessions(ctx)
	if err != nil {
		r.orphans.Store(true)
		return fmt.Errorf("look for dead nodes: %w", err)
	}
	if dying {
		r.orphans.Store(true)
		d.note(time.Now().Add(dyingInterval))
	}
	if err := r.adoptOrphans(ctx, s, d); err != nil {
		r.orphans.Store(true)
		return fmt.Errorf("take over orphans: %w", err)
	}
	if !everything {
		return nil
	}
	released, err := r.registry.Strays(ctx, s)
	if released > 0 {
		r.log.Info("gave back claims that were answered too late", zap.Int("count", released))
	}
	return err
}

// claimPending claims what is pending until the slots are full or nothing is
// left.
func (r *Runner) claimPending(ctx context.Context, s *registry.Session, d *Drove) error {
	for range rounds {
		free := r.slots.Free()
		if free <= 0 {
			d.Starved = true
			return nil
		}
		entries, more, err := r.window.List(ctx, free+r.unfitNow(), func(queue string) int {
			return r.slots.FreeIn(queue) + r.unfitNow()
		})
		if err = r.report(err); err != nil {
			return err
		}
		entries, full := r.fitting(r.fit(entries))
		more = more || full
		won, err := r.claimAll(ctx, s, entries)
		d.Claimed += won
		if err != nil {
			return err // not at once again: it would fail again
		}
		if won == len(entries) {
			d.Starved = more
			return context.Cause(ctx)
		}
		// Somebody else was faster with some: there may be others behind.
	}
	d.note(time.Now()) // soon, but let others have their turn
	return context.Cause(ctx)
}

// fitting leaves out what there are no slots for, and says whether that was
// any.
func (r *Runner) fitting(entries []registry.Entry) (some []registry.Entry, full bool) {
	room := r.newRoom()
	for _, e := range entries {
		if room.take(e.Queue) {
			some = append(some, e)
		}
	}
	return some, len(some) < len(entries)
}

// claimAll claims entries side by side and hands each to a slot as it comes.
// That others were faster is no error.
func (r *Runner) claimAll(ctx context.Context, s *registry.Session, entries []registry.Entry) (won int, err error) {
	got, failed := make([]bool, len(entries)), make([]error, len(entries))
	var g errgroup.Group
	g.SetLimit(inFlight)
	for i, e := range entries {
		g.Go(func() error {
			got[i], failed[i] = r.claimOne(ctx, s, e)
			return nil
		})
	}
	_ = g.Wait() // one's error is not the others'
	return count(got), errors.Join(failed...)
}

func count(all []bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

func (r *Runner) claimOne(ctx context.Context, s *registry.Session, e registry.Entry) (won bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	ctx, cancel := outlive(ctx, claimGrace)
	defer cancel()
	c, err := r.registry.Claim(ctx, s, e)
	switch {
	case err == nil:
		r.slots.Hand(c)
		return true, nil
	case errors.Is(err, registry.ErrNotClaimable):
		return false, nil
	}
	if isCorrupt(err) {
		r.setUnfit(e)
	}
	return false, r.report(err)
}

// outlive returns a context that ends, with the same cause, that much later
// than ctx does.
func outlive(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-later.Done():
		case <-timer.C:
			cancel(context.Cause(ctx))
		}
	})
	return later, func() {
		stop()
		cancel(nil)
	}
}
