package runner

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/drover-run/drover/registry"
)

// orphanLimit is how many orphans one drive takes over or puts back.
const orphanLimit = 1000

// adoptOrphans takes over what this node has slots for and knows; the rest it
// puts back into the queue, for whoever can run it.
func (r *Runner) adoptOrphans(ctx context.Context, s *registry.Session, d *Drove) error {
	orphans, err := r.registry.Orphans(ctx, orphanLimit)
	if err = r.report("orphans", err); err != nil {
		return err
	}
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
	d.Claimed += count(adopted)
	return context.Cause(ctx)
}

func (r *Runner) serves(o registry.Orphan) bool {
	_, known := r.mux.handler(o.Kind)
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
