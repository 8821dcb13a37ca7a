package runner

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/drover-run/drover/registry"
)

// orphanLimit is what a drive takes upon itself of orphans.
const orphanLimit = 1000

// adoptOrphans takes over what this node has slots for and knows; the rest it
// puts back into the queue, for whoever can run it.
func (r *Runner) adoptOrphans(ctx context.Context, s *registry.Session, d *Drove) error {
	requests, err := r.requestsForKept(ctx)
	if err != nil {
		return err
	}
	orphans, err := r.registry.OrphansBut(ctx, r.orphanLimit, func(o registry.Orphan) bool {
		request, asked := requests[o.ID]
		return r.isKept(o, asked, request.What)
	})
	if err = r.report(err); err != nil {
		return err
	}
	if len(orphans) == r.orphanLimit {
		r.orphans.Store(true)
		d.note(time.Now())
	}
	var g errgroup.Group
	g.SetLimit(inFlight)
	room := r.newRoom()
	adopted := make([]bool, len(orphans))
	for i, o := range orphans {
		run := r.serves(o) && room.take(o.Queue)
		g.Go(func() error {
			adopted[i] = r.adoptOne(ctx, s, o, run)
			return nil
		})
	}
	_ = g.Wait() // adoptOne keeps its errors
	d.Claimed += count(adopted)
	return context.Cause(ctx)
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
	_, known := r.mux.handling(o.Kind)
	return known && r.queues[o.Queue]
}

func (r *Runner) adoptOne(ctx context.Context, s *registry.Session, o registry.Orphan, run bool) bool {
	if ctx.Err() != nil {
		return false
	}
	ctx, cancel := outlive(ctx, claimGrace)
	defer cancel()
	c, err := r.registry.Adopt(ctx, s, o, run)
	switch {
	case errors.Is(err, registry.ErrNotClaimable):
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
