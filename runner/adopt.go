package runner

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/drover-run/drover/registry"
)

// orphanLimit is what a drive takes upon itself of orphans.
const orphanLimit = 1000

// unableWait is how long those get to take an orphan who can run it, before one
// who can't puts it back into the queue. It is far more than a node needs for a
// thousand.
const unableWait = 2 * time.Second

// adoptOrphans takes over what this node has slots for and knows; the rest it
// puts back into the queue, for whoever can run it.
//
// Each node does so with its own share, and with that of others when they had
// time to and did not.
func (r *Runner) adoptOrphans(ctx context.Context, s *registry.Session, survey registry.Survey, d *Drove) error {
	requests, err := r.requestsForKept(ctx)
	if err != nil {
		return err
	}
	turns := r.newOrphanTurns(s)
	defer turns.end(d)
	orphans, err := r.registry.OrphansBut(ctx, survey, r.orphanLimit, func(o registry.Orphan) bool {
		request, asked := requests[o.ID]
		return r.isKept(o, asked, request.What) || !turns.mine(o)
	})
	failed := r.report(err) // with some of them; the others are as good as ever
	if len(orphans) == r.orphanLimit {
		r.orphans.Store(true)
		d.note(time.Now())
	}
	lost := r.lost.Load()
	err = r.adoptAll(ctx, s, orphans, d)
	turns.took(r.lost.Load() > lost)
	return errors.Join(failed, err, context.Cause(ctx))
}

// adoptAll reads and takes over some at a time, side by side: while etcd
// writes the first, the next are read.
func (r *Runner) adoptAll(ctx context.Context, s *registry.Session, orphans []registry.Orphan, d *Drove) error {
	room := r.newRoom()
	run := make([]bool, len(orphans))
	for i, o := range orphans {
		run[i] = r.serves(o) && room.take(o.Queue)
	}
	var claimed atomic.Int64
	var g errgroup.Group
	g.SetLimit(inFlight / together)
	for first := 0; first < len(orphans); first += together {
		end := min(first+together, len(orphans))
		g.Go(func() error {
			some := orphans[first:end]
			if err := r.registry.ReadOrphans(ctx, some); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return nil
			}
			ctx, cancel := outlive(ctx, claimGrace)
			defer cancel()
			r.registry.AdoptAll(ctx, s, some, run[first:end], func(i int, c *registry.Claim, err error) {
				if r.adopted(some[i], c, err) {
					claimed.Add(1)
				}
			})
			return nil
		})
	}
	err := g.Wait()
	d.Claimed += int(claimed.Load())
	if n := claimed.Load(); n > 0 {
		r.log.Info("adopted what other sessions left", zap.Int64("count", n), zap.Strings("nodes", holders(orphans)))
	}
	return err
}

// holders are the names of the nodes that held the orphans.
func holders(orphans []registry.Orphan) (nodes []string) {
	for _, o := range orphans {
		if !slices.Contains(nodes, o.Holder()) {
			nodes = append(nodes, o.Holder())
		}
	}
	return nodes
}

// orphanTurns decides, for one look at the orphans, which are this node's to
// see to.
type orphanTurns struct {
	runner *Runner
	self   string
	now    time.Time
	left   map[string]time.Time // as Runner.left was, and as it is to be
	next   map[string]time.Time
	again  time.Time // when the first of those that are left is not any more
	others int       // how many of others' are taken
	most   int       // how many may be, and how many next time
}

func (r *Runner) newOrphanTurns(s *registry.Session) *orphanTurns {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &orphanTurns{
		runner: r, self: s.ID(), now: time.Now(), left: r.left, next: map[string]time.Time{}, most: max(r.leftMost, firstOthers),
	}
}

// mine says whether this node is to see to the orphan now. Of what others did
// not take in time a few are tried first: a node that has many to take over
// may need longer.
func (t *orphanTurns) mine(o registry.Orphan) bool {
	able := t.runner.serves(o)
	wait := waitFor(t.runner.herd.orphanRank(t.self, o.Queue, o.Kind, o.ID, able), false)
	switch {
	case wait == 0:
		return true
	case !able:
		wait = max(wait, unableWait)
	}
	since, known := t.left[o.Mark()]
	if !known {
		since = t.now
	}
	due := since.Add(wait)
	if !due.After(t.now) && t.others < t.most {
		t.others++
		return true
	}
	t.next[o.Mark()] = since
	if t.again.IsZero() || due.Before(t.again) {
		t.again = due
	}
	return false
}

// took notes what became of those that were tried. If one was lost, others see
// to theirs, and have as much time again; if none was, more are tried, at once.
func (t *orphanTurns) took(lost bool) {
	switch {
	case t.others == 0:
	case lost:
		now := time.Now()
		for mark := range t.next {
			t.next[mark] = now
		}
		t.most = 0
		if len(t.next) > 0 {
			t.again = now.Add(othersWait)
		}
	default:
		t.most = min(t.most*moreOthers, maxOthers)
	}
}

// end remembers what is left to others, and when to look again.
func (t *orphanTurns) end(d *Drove) {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left, r.lookNext, r.leftMost = t.next, t.again, t.most
	if len(t.next) == 0 {
		r.leftMost = 0
	}
	d.note(t.again)
}

// timeForOrphans says whether it is time to look for orphans again that were
// left to others. If it is not yet, d says when.
func (r *Runner) timeForOrphans(d *Drove) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lookNext.IsZero() || time.Now().Before(r.lookNext) {
		d.note(r.lookNext)
		return false
	}
	return true
}

// room is how much more this node may run, as a drive counts it.
type room struct {
	slots Slots
	free  int
	in    map[string]int
}

func (r *Runner) newRoom() *room {
	return &room{slots: r.slots, free: r.slots.Free(), in: map[string]int{}}
}

// take says whether there is a slot for one of the queue, and takes it.
func (r *room) take(queue string) bool {
	if _, known := r.in[queue]; !known {
		r.in[queue] = r.slots.FreeIn(queue)
	}
	if r.free <= 0 || r.in[queue] <= 0 {
		return false
	}
	r.free--
	r.in[queue]--
	return true
}

func (r *Runner) serves(o registry.Orphan) bool {
	return r.mux.able(o.Kind) && r.queues[o.Queue]
}

// adopted hands on what was taken over, and says whether it is run here.
func (r *Runner) adopted(o registry.Orphan, c *registry.Claim, err error) bool {
	r.tried.Add(1)
	switch {
	case errors.Is(err, registry.ErrNotClaimable):
		r.lost.Add(1)
		r.orphans.Store(true) // unless it was taken, something about it changed
		return false
	case errors.Is(err, registry.ErrOrphaned):
		if r.keep(o, false) {
			r.log.Warn("an owner-bound process is orphaned: it stays so until its holder is known to be dead, or until it is abandoned",
				zap.String("process", o.ID), zap.String("kind", o.Kind))
		}
		return false
	case isCorrupt(err):
		r.keep(o, true)
		if err := r.report(err); err != nil {
			r.log.Warn("an orphan can't be taken over", zap.String("process", o.ID), zap.Error(err))
		}
		return false
	case err != nil:
		r.adopting.Note(err, zap.String("process", o.ID)) // when etcd is away, hundreds say the same
		return false
	case c == nil:
		return false
	}
	r.adopting.Note(nil)
	r.log.Debug("adopted", zap.String("process", c.ID), zap.String("kind", c.Kind),
		zap.Int("attempt", c.Attempt), zap.Int64("fence", c.Fence))
	r.slots.Hand(c)
	return true
}
