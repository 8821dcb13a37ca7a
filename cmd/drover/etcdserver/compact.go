package etcdserver

import (
	"context"
	"time"
)

const (
	// scarce is the part of the quota from which on the history is compacted
	// earlier. What etcd does by itself keeps one to two minutes of it, which is
	// a gigabyte and more at full speed on a fast machine.
	scarce = 0.6
	// glance is how often it is looked, and keepGlances times as much of the
	// history is kept in any case: for those who watch, and for a feed that was
	// cut off for a moment.
	glance      = 2 * time.Second
	keepGlances = 5
)

// compactor compacts the history earlier than etcd does when space is scarce.
type compactor struct {
	revision func() int64
	fills    func() float64 // what data fill of the quota
	compact  func(ctx context.Context, revision int64)
}

// compactor of this server. The client and etcd outlive it.
func (s *Server) compactor() compactor {
	return compactor{
		revision: func() int64 { return s.etcd.Server.KV().Rev() },
		fills:    func() float64 { return float64(s.etcd.Server.Backend().SizeInUse()) / quotaBytes },
		compact: func(ctx context.Context, revision int64) {
			// That it was compacted already, or can't be just now, is no matter:
			// the next glance comes soon.
			_, _ = s.client.Compact(ctx, revision)
		},
	}
}

// run ends with ctx.
func (c compactor) run(ctx context.Context) {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var seen []int64 // revisions at the last glances
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if seen = append(seen, c.revision()); len(seen) <= keepGlances {
			continue
		}
		old := seen[0]
		seen = seen[1:]
		if c.fills() >= scarce && old < seen[0] {
			c.compact(ctx, old)
		}
	}
}
