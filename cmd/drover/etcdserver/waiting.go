package etcdserver

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// changingPatience is how long a holder is waited for that says it is starting
	// or stopping: a start reads the whole database, and a node's last handlers may
	// have some seconds.
	changingPatience = 30 * time.Second

	// otherPatience is for one that has failed and is about to end, and for one
	// that says nothing at all, which no drover does for longer than it takes to
	// write a line. With what a start costs besides, it stays below two seconds, as
	// does silentPatience.
	otherPatience = 1500 * time.Millisecond

	// servingPatience is how long a lock is tried whose holder says that it is
	// serving: longer than a new holder takes to replace the record of one that
	// was killed, and than probes of others last.
	servingPatience = 200 * time.Millisecond

	// silentPatience is how long one that serves may take to answer.
	silentPatience = 1500 * time.Millisecond
)

// waiting decides for how long the holder of a data directory is waited for.
// Every change of it begins anew: it shows that somebody is at work.
type waiting struct {
	serving  time.Duration // for one that says it is serving
	changing time.Duration // for one that says it is starting or stopping

	pid   int
	state State
	since time.Time
}

// over notes the holder as it is now, and reports whether it has been like that
// for long enough.
func (w *waiting) over(h Holder) bool {
	now := time.Now()
	if w.since.IsZero() || h.PID != w.pid || h.State != w.state {
		w.pid, w.state, w.since = h.PID, h.State, now
	}
	limit := otherPatience
	switch h.State {
	case Serving:
		limit = w.serving
	case Starting, Stopping:
		limit = w.changing
	default:
	}
	return now.Sub(w.since) >= limit
}

// pause waits for d, more or less, or returns the cause of ctx's end.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d/2 + rand.N(d)):
		return nil
	}
}
