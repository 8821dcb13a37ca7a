package runner

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/drover-run/drover/registry"
)

const (
	// farther is how many entries more than a node's own share are listed, as
	// the share is uneven among few.
	farther = 16
	// muchFarther is what a list is multiplied by that showed none of its own.
	muchFarther = 8
	// maxLook bounds a list that looks for a node's own share.
	maxLook = 4096
)

// claimPending claims what is pending until the slots are full or nothing is
// left that is this node's to take.
func (r *Runner) claimPending(ctx context.Context, s *registry.Session, d *Drove) error {
	look := r.herd.spread(s.ID())
	for range rounds {
		done, short, err := r.claimSome(ctx, s, look, d)
		if done || err != nil {
			return err // not at once again: it would fail again
		}
		if short {
			look *= muchFarther
		}
		// Else somebody was faster with some: there may be others behind.
	}
	d.note(time.Now()) // soon, but let others have their turn
	return context.Cause(ctx)
}

// claimSome makes one list and claims what is this node's to take of it. spread
// is how many entries are looked at for each free slot. done says that there is
// nothing to be gained by another list now; short that this one did not reach as
// far as there may be more of the node's own.
func (r *Runner) claimSome(ctx context.Context, s *registry.Session, spread int, d *Drove) (done, short bool, err error) {
	free := r.slots.Free()
	if free <= 0 {
		r.idle.full()
		d.Starved = true
		return true, false, nil
	}
	look := r.lookOf(spread)
	entries, more, err := r.window.List(ctx, look(free), func(queue string) int { return look(r.slots.FreeIn(queue)) })
	if err = r.report(err); err != nil {
		return false, false, err
	}
	beyond := more && spread > 1 && len(entries) >= look(free) && len(entries) < maxLook
	t := r.turns(s, r.fit(entries), !beyond)
	short = beyond && t.own < free
	entries, full := r.fitting(t.now)
	won, err := r.claimAll(ctx, s, entries)
	d.Claimed += won
	r.noteIdle(t.own, len(entries), won, full)
	if err != nil || won < len(entries) || !full && (t.more || short) {
		return false, short, err
	}
	d.Starved = more || full
	if r.seen.wake == nil {
		d.note(t.next)
	}
	return true, false, context.Cause(ctx)
}

// noteIdle notes what became of a list, and whether there is room left.
func (r *Runner) noteIdle(own, tried, won int, full bool) {
	r.idle.took(own, tried, won == tried)
	if full || r.slots.Free() <= 0 {
		r.idle.full()
	}
}

// lookOf says how many entries to list for so many free slots: so many that
// this node's own share among them fills the slots, and those that are passed
// over besides.
func (r *Runner) lookOf(spread int) func(free int) int {
	unfit := r.unfitNow()
	return func(free int) int {
		look := free
		if spread > 1 && free > 0 {
			look = max(free, min((free+farther)*spread, maxLook))
		}
		return look + unfit
	}
}

// turns are the entries of a list that are this node's to take now: first its
// own, in the order of the queue, with a few of others' that have waited long:
// a node that is full, or stands still, must not hold its share back for as long
// as others have enough of their own. Then what others had time to take and did
// not, that first for which fewer come before this node.
type turns struct {
	now  []registry.Entry
	own  int       // how many of them are its own
	more bool      // there is more of what others did not take
	next time.Time // when there is more of it; zero if there is none
}

// turns are the node's own only, if others' are not to be taken.
func (r *Runner) turns(s *registry.Session, entries []registry.Entry, withOthers bool) (t turns) {
	type other struct {
		entry registry.Entry
		wait  time.Duration
	}
	var others []other
	at, long := time.Now(), 0
	for _, e := range entries {
		wait := r.wait(s, e)
		if wait == 0 {
			t.now = append(t.now, e)
			continue
		}
		due := r.seen.see(placeOf(e), r.idle.since(e), wait)
		if long < firstOthers && r.seen.longAgo(placeOf(e), at) {
			long++
			t.now = append(t.now, e)
			continue
		}
		if !due.After(at) {
			others = append(others, other{e, wait})
		} else if t.next.IsZero() || due.Before(t.next) {
			t.next = due
		}
	}
	t.own = len(t.now)
	if !withOthers {
		return t
	}
	slices.SortStableFunc(others, func(a, b other) int { return cmp.Compare(a.wait, b.wait) })
	some := min(len(others), r.idle.allowance())
	for _, o := range others[:some] {
		t.now = append(t.now, o.entry)
	}
	t.more = some < len(others)
	return t
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
	g.SetLimit(inFlight / together)
	for first := 0; first < len(entries); first += together {
		some := entries[first:min(first+together, len(entries))]
		g.Go(func() error {
			if ctx.Err() != nil {
				failed[first] = context.Cause(ctx)
				return nil
			}
			ctx, cancel := outlive(ctx, claimGrace)
			defer cancel()
			r.registry.ClaimAll(ctx, s, some, func(i int, c *registry.Claim, err error) {
				got[first+i], failed[first+i] = r.claimed(some[i], c, err)
			})
			return nil
		})
	}
	_ = g.Wait() // one's error is not the others'
	return count(got), oneOf(failed)
}

// oneOf returns the first error: when etcd is away, hundreds say the same.
func oneOf(all []error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

func count(all []bool) (n int) {
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// claimed hands on what was claimed.
func (r *Runner) claimed(e registry.Entry, c *registry.Claim, err error) (won bool, _ error) {
	r.tried.Add(1)
	switch {
	case err == nil:
		r.slots.Hand(c)
		return true, nil
	case errors.Is(err, registry.ErrNotClaimable):
		r.lost.Add(1)
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
