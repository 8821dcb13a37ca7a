package runner

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// stuckAfter is how long a handler may take to return once its context ended
// before it is shown as stuck: a little more than commands get between SIGTERM
// and SIGKILL, 5 s.
const stuckAfter = 6 * time.Second

// Pending is an attempt that does not come to its end.
type Pending struct {
	ID, Kind string
	Attempt  int
	Fence    int64
	Since    time.Time
	Cause    error // why it is to end; nil if that is not the matter
}

// pending are attempts that don't come to their end, for one reason.
type pending struct {
	mu  sync.Mutex
	all map[*registry.Claim]Pending
}

func (p *pending) add(c *registry.Claim, since time.Time, cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*registry.Claim]Pending{}
	}
	p.all[c] = Pending{ID: c.ID, Kind: c.Kind, Attempt: c.Attempt, Fence: c.Fence, Since: since, Cause: cause}
}

func (p *pending) remove(c *registry.Claim) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, c)
	return len(p.all)
}

// list has the oldest first.
func (p *pending) list() []Pending {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Pending
	for _, one := range p.all {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b Pending) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// Stuck are the attempts whose contexts ended more than some seconds ago and
// whose handlers have not returned, the oldest first. Each keeps its slot.
func (r *Runner) Stuck() []Pending { return r.stuck.list() }

// await waits for a handler, and says when it ignores that its context ended.
func (r *Runner) await(ctx context.Context, done <-chan struct{}, c *registry.Claim, log *zap.Logger) {
	select {
	case <-done:
	case <-ctx.Done():
		r.awaitLate(ctx, done, c, log)
	}
}

func (r *Runner) awaitLate(ctx context.Context, done <-chan struct{}, c *registry.Claim, log *zap.Logger) {
	ended, cause := time.Now(), context.Cause(ctx)
	timer := time.NewTimer(stuckAfter)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	r.stuck.add(c, ended, cause)
	log.Warn("a handler ignores that its context ended, its slot stays taken", zap.Time("since", ended), zap.NamedError("cause", cause))
	<-done
	r.stuck.remove(c)
	log.Info("a handler that ignored that its context ended has returned", zap.Duration("for", time.Since(ended)))
}
