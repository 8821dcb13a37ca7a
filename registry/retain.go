package registry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

const (
	defaultKeepCompleted = 24 * time.Hour
	defaultKeepOthers    = 7 * 24 * time.Hour
	// leastKept is how long a process is kept in any case: who started it may
	// still want to know.
	leastKept = time.Minute
	// leastKeptOnce is that of what may never run twice: who started it and was
	// not answered starts it again by its id, and once the row is deleted that is
	// a new process.
	leastKeptOnce = time.Hour
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
// Completed is zero, 7 days if Others is, or less when space is needed, down to
// a minute, or to an hour what is owner-bound or external. A negative one is for
// ever. What is given is kept to, however full etcd is.
type Retention struct {
	Completed time.Duration
	Others    time.Duration // that failed, or were cancelled or abandoned
}

// Within is what becomes of it by what is known of the space; nothing is zero
// then. What is owner-bound or external is kept for an hour at the least, unless
// a shorter time was given.
func (k Retention) Within(s Space) Retention { return k.within(s.Fills()) }

// within is that when etcd's data fill that part of its quota.
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
	least := Retention{Completed: leastOnce(keep.Completed), Others: leastOnce(keep.Others)}
	keep = keep.Within(s)
	var errs []error
	prune := func(keep, least time.Duration, outcomes ...Outcome) {
		if keep < 0 {
			return
		}
		p := &pruner{r: r, limit: retainAtOnce}
		for _, outcome := range outcomes {
			if err := p.retire(ctx, outcome, now.Add(-keep), now.Add(-max(keep, least))); err != nil {
				errs = append(errs, fmt.Errorf("prune: %w", err))
				break
			}
		}
		n := int(p.pruned.Load())
		pruned, more, errs = pruned+n, more || n >= retainAtOnce, append(errs, p.corrupt...)
	}
	prune(keep.Completed, least.Completed, Completed)
	prune(keep.Others, least.Others, Failed, Cancelled, Abandoned)
	return pruned, more, errors.Join(errs...)
}

func leastOnce(given time.Duration) time.Duration {
	if given != 0 {
		return 0
	}
	return leastKeptOnce
}

// retire deletes what ended before one time, or before an earlier one if it may
// not run twice.
func (p *pruner) retire(ctx context.Context, outcome Outcome, before, onceBefore time.Time) error {
	first := p.r.keys.ended(outcome)
	between, end := first+ordinal(onceBefore.UnixNano()), first+ordinal(before.UnixNano())
	p.sparing = false
	if err := p.run(ctx, first, between); err != nil {
		return err
	}
	from := max(between, p.r.spared.from(outcome))
	if from >= end {
		return nil
	}
	p.sparing, p.seen = true, from
	if err := p.run(ctx, from, end); err != nil {
		return err
	}
	p.r.spared.set(outcome, p.seen)
	return nil
}

// spared is how far the index was read of what had to be kept because it may not
// run twice: it would be read again in each pass for an hour. What comes to the
// index before that point later, by a clock that was behind, waits for its hour.
type spared struct {
	mu   sync.Mutex
	seen map[Outcome]string
}

func (s *spared) from(o Outcome) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[o]
}

func (s *spared) set(o Outcome, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[Outcome]string{}
	}
	s.seen[o] = key
}
