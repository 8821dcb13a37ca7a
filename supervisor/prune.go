package supervisor

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/actors"
)

// pruneInterval is about how long a node waits between its looks at what may
// be deleted.
const pruneInterval = time.Minute

// pruning deletes what has been kept long enough, on a goroutine of its own.
type pruning struct {
	prune func(ctx context.Context) (int, error)
	log   *zap.Logger
	done  chan struct{} // closed when the goroutine has ended
	said  string        // the error that was logged last; the goroutine's alone

	mu     sync.Mutex
	cancel context.CancelFunc // nil before start
}

func newPruning(prune func(ctx context.Context) (int, error), log *zap.Logger) *pruning {
	return &pruning{prune: prune, log: log.Named("prune"), done: make(chan struct{})}
}

// start is to be called once at the most, and not after stop.
func (p *pruning) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cancel = cancel
	go func() {
		defer close(p.done)
		p.loop(ctx)
	}()
}

// loop begins anywhere in an interval, and no two intervals are alike: nodes
// that were started together are not to look together.
func (p *pruning) loop(ctx context.Context) {
	pause := time.Duration(rand.Float64() * float64(pruneInterval))
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		p.once(ctx)
		pause = time.Duration((0.8 + 0.4*rand.Float64()) * float64(pruneInterval))
	}
}

func (p *pruning) once(ctx context.Context) {
	defer func() {
		if value := recover(); value != nil {
			failure := actors.Recovered(value)
			p.log.Error("pruning panicked", zap.Error(failure), zap.ByteString("stack", failure.Stack))
		}
	}()
	pruned, err := p.prune(ctx)
	if ctx.Err() == nil {
		p.report(err)
	}
	if pruned > 0 {
		p.log.Debug("deleted what was kept long enough", zap.Int("processes", pruned))
	}
}

// report logs what goes wrong when it begins, not every minute: a key that
// can't be read stays as it is.
func (p *pruning) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != p.said {
		p.log.Warn("what was kept long enough can't be deleted, it is tried again", zap.Error(err))
	}
	p.said = text
}

// stop waits for the goroutine until ctx ends.
func (p *pruning) stop(ctx context.Context) error {
	p.mu.Lock()
	cancel := p.cancel
	p.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
