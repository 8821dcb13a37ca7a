package registry

import (
	"context"
	"errors"
	"math"
	"time"
)

const (
	defaultKeepCompleted = 24 * time.Hour
	defaultKeepOthers    = 7 * 24 * time.Hour
	// leastKept is how long a process is kept in any case: who started it may
	// still want to know.
	leastKept = time.Minute
	// retainAtOnce is how many one Retain deletes of each kind, so that work
	// does not wait for it.
	retainAtOnce = 10_000
)

// Between the two parts of its quota that etcd's data fill, what nobody said
// how long to keep is kept for less and less: what has completed first.
var (
	shrinkCompleted = [2]float64{0.50, 0.65}
	shrinkOthers    = [2]float64{0.65, 0.75}
)

// Retention is how long processes that have ended are kept: 24 hours if
// Completed is zero, 7 days if Others is, or less when space is needed. A
// negative one is for ever. What is given is kept to, however full etcd is.
type Retention struct {
	Completed time.Duration
	Others    time.Duration // that failed, or were cancelled or abandoned
}

// within is what becomes of it when etcd's data fill that part of its quota.
func (k Retention) within(fills float64) Retention {
	if k.Completed == 0 {
		k.Completed = shrink(defaultKeepCompleted, fills, shrinkCompleted)
	}
	if k.Others == 0 {
		k.Others = shrink(defaultKeepOthers, fills, shrinkOthers)
	}
	return k
}

// shrink goes from all to leastKept by equal factors. That all nodes come to
// the same by themselves, and that what is deleted now but compacted only in a
// minute is not made up for twice, is why it is a time and not a number.
func shrink(all time.Duration, fills float64, between [2]float64) time.Duration {
	part := (fills - between[0]) / (between[1] - between[0])
	part = min(max(part, 0), 1)
	return time.Duration(float64(all) * math.Pow(float64(leastKept)/float64(all), part)).Round(time.Second)
}

// Retain prunes what has been kept for long enough, by what is known of the
// space, and says whether there is more: it deletes up to 10,000 that completed
// and as many others at a time, those that ended first. Several nodes may do so
// at the same time. Errors are those of [Registry.Prune].
func (r *Registry) Retain(ctx context.Context, keep Retention, s Space) (pruned int, more bool, err error) {
	now := r.now()
	keep = keep.within(s.Fills())
	var errs []error
	prune := func(keep time.Duration, outcomes ...Outcome) {
		if keep < 0 {
			return
		}
		n, err := r.Prune(ctx, PruneOptions{Before: now.Add(-keep), Outcomes: outcomes, Limit: retainAtOnce})
		pruned, more, errs = pruned+n, more || n >= retainAtOnce, append(errs, err)
	}
	prune(keep.Completed, Completed)
	prune(keep.Others, Failed, Cancelled, Abandoned)
	return pruned, more, errors.Join(errs...)
}
