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
	// inFlight is how many claims a drive sends at a time.
	inFlight = 16
	// rounds is how often a drive lists again because others were faster. It
	// is bounded so that a crowd can't keep a drive for ever.
	rounds = 4
	// orphanLimit is how many orphans one drive takes over or puts back.
	orphanLimit = 1000
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
	matured, next, err := r.registry.Mature(ctx, matureLimit)
	r.report("a timer can't be matured", err)
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
		entries, more, err := r.window.List(ctx, free+r.unfitNow())
		if err != nil && entries == nil {
			return err
		}
		r.report("what is pending can't be read", err)
		entries = r.fit(entries)
		if len(entries) > free {
			entries, more = entries[:free], true
		}
		won := r.claimAll(ctx, s, entries)
		d.Claimed += won
		if won == len(entries) {
			d.Starved = more
			return ctx.Err()
		}
		// Somebody else was faster with some: there may be others behind.
	}
	d.note(time.Now()) // soon, but let others have their turn
	return ctx.Err()
}

// claimAll claims entries side by side and hands each to a slot as it comes.
func (r *Runner) claimAll(ctx context.Context, s *registry.Session, entries []registry.Entry) (won int) {
	got := make([]bool, len(entries))
	var g errgroup.Group
	g.SetLimit(inFlight)
	for i, e := range entries {
		g.Go(func() error {
			got[i] = r.claimOne(ctx, s, e)
			return nil
		})
	}
	_ = g.Wait() // claimOne keeps its errors
	for _, ok := range got {
		if ok {
			won++
		}
	}
	return won
}

func (r *Runner) claimOne(ctx context.Context, s *registry.Session, e registry.Entry) bool {
	c, err := r.registry.Claim(ctx, s, e)
	var corrupt *registry.CorruptError
	switch {
	case err == nil:
		r.slots.Hand(c)
		return true
	case errors.Is(err, registry.ErrNotClaimable):
	case errors.As(err, &corrupt):
		if r.setUnfit(e) {
			r.log.Error("a process can't be run, it is left as it is", zap.String("process", e.ID), zap.Error(err))
		}
	default:
		r.log.Warn("a claim failed", zap.String("process", e.ID), zap.String("kind", e.Kind), zap.Error(err))
	}
	return false
}

// adoptOrphans takes over what this node has slots for and knows; the rest it
// puts back into the queue, for whoever can run it.
func (r *Runner) adoptOrphans(ctx context.Context, s *registry.Session, d *Drove) error {
	orphans, err := r.registry.Orphans(ctx, orphanLimit)
	if err != nil && orphans == nil {
		return err
	}
	r.report("an orphan can't be read", err)
	if len(orphans) == orphanLimit {
		r.orphans.Store(true)
		d.note(time.Now())
	}
	var g errgroup.Group
	g.SetLimit(inFlight)
	free := r.slots.Free()
	adopted := make([]bool, len(orphans))
	for i, o := range orphans {
		run := r.serves(o) && free > 0
		if run {
			free--
		}
		g.Go(func() error {
			adopted[i] = r.adoptOne(ctx, s, o, run)
			return nil
		})
	}
	_ = g.Wait() // adoptOne keeps its errors
	for _, ok := range adopted {
		if ok {
			d.Claimed++
		}
	}
	return ctx.Err()
}

func (r *Runner) serves(o registry.Orphan) bool {
	_, known := r.mux.handler(o.Kind)
	return known && r.queues[o.Queue]
}

func (r *Runner) adoptOne(ctx context.Context, s *registry.Session, o registry.Orphan, run bool) bool {
	c, err := r.registry.Adopt(ctx, s, o, run)
	switch {
	case errors.Is(err, registry.ErrNotClaimable):
		return false
	case err != nil:
		r.log.Warn("an orphan can't be taken over", zap.String("process", o.ID), zap.Error(err))
		return false
	case c == nil:
		return false
	}
	r.log.Info("adopted", zap.String("process", c.ID), zap.String("kind", c.Kind),
		zap.Int("attempt", c.Attempt), zap.Int64("fence", c.Fence))
	r.slots.Hand(c)
	return true
}

// report logs what concerns single keys and does not end a drive.
func (r *Runner) report(what string, err error) {
	if err != nil {
		r.log.Warn(what, zap.Error(err))
	}
}
