package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

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
	// together is how many claims, or takeovers, one goroutine sends.
	together = 64
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
	if err := r.spaceless(ctx); err != nil {
		return Drove{}, err
	}
	var d Drove
	everything := r.timeToLook(reason)
	if everything {
		r.window.Reset()
	}
	var failed []error
	if everything || r.orphans.Load() || r.timeForOrphans(&d) {
		failed = append(failed, r.lookAround(ctx, s, everything, &d))
	}
	_, next, err := r.registry.MatureWithin(ctx, matureLimit, r.horizon, func(id string) time.Duration {
		return waitFor(r.herd.anyRank(s.ID(), id), false)
	})
	failed = append(failed, r.report(err))
	d.note(next)
	r.missed.Store(false)
	r.starved.Store(true) // whoever frees a slot now makes a drive, see Drives
	failed = append(failed, r.claimPending(ctx, s, &d))
	r.starved.Store(d.Starved)
	if !d.Starved && r.missed.Load() {
		d.Starved = true
		r.starved.Store(true)
	}
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
// left that ended, and gives back what this node holds without knowing. One
// that could not be ended does not keep it from the others.
func (r *Runner) lookAround(ctx context.Context, s *registry.Session, everything bool, d *Drove) error {
	r.orphans.Store(false)
	survey, err := r.registry.Survey(ctx)
	if err != nil {
		r.orphans.Store(true)
		return fmt.Errorf("look for dead nodes: %w", err)
	}
	r.herd.Set(survey)
	if survey.Dying {
		r.orphans.Store(true)
		d.note(time.Now().Add(dyingInterval))
	}
	if survey.Failed != nil {
		r.orphans.Store(true)
		err = fmt.Errorf("end dead sessions: %w", survey.Failed)
	}
	if failed := r.adoptOrphans(ctx, s, survey, d); failed != nil {
		r.orphans.Store(true)
		return errors.Join(err, fmt.Errorf("take over orphans: %w", failed))
	}
	if !everything {
		return err
	}
	released, failed := r.registry.Strays(ctx, s)
	if released > 0 {
		r.log.Info("gave back claims that were answered too late", zap.Int("count", released))
	}
	return errors.Join(err, failed)
}
