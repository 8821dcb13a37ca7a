package supervisor

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
)

const (
	// lookInterval is about how long it takes until some node looks how full
	// etcd is: with more nodes each looks less often.
	lookInterval = 2 * time.Second
	// scarceInterval is that when space is scarce: it can be filled in seconds.
	scarceInterval = lookInterval / 4
	// lookTimeout bounds one look.
	lookTimeout = 10 * time.Second
	// pruneInterval is about how long a node waits between its looks at what may
	// be deleted, while there is space.
	pruneInterval = time.Minute
)

// upkeep looks how full etcd is and deletes what has been kept long enough, on a
// goroutine of its own.
type upkeep struct {
	look   func(context.Context) (registry.Space, error)
	retain func(context.Context, registry.Space) (pruned int, more bool, err error)
	keep   registry.Retention // as retain has it, to say what becomes of it
	log    *zap.Logger
	done   chan struct{} // closed when the goroutine has ended

	// The goroutine's alone.
	pruneAt time.Time
	space   registry.Space // as last seen
	short   bool           // it was said that less is kept than by default
	said    map[string]string

	mu     sync.Mutex
	cancel context.CancelFunc // nil before start
}

func newUpkeep(
	look func(context.Context) (registry.Space, error),
	retain func(context.Context, registry.Space) (pruned int, more bool, err error),
	log *zap.Logger,
) *upkeep {
	return &upkeep{look: look, retain: retain, log: log.Named("upkeep"), done: make(chan struct{}), said: map[string]string{}}
}

// start is to be called once at the most, and not after stop.
func (u *upkeep) start() {
	ctx, cancel := context.WithCancel(context.Background())
	u.mu.Lock()
	defer u.mu.Unlock()
	u.cancel = cancel
	go func() {
		defer close(u.done)
		u.loop(ctx)
	}()
}

// loop begins anywhere in an interval, and no two intervals are alike: nodes
// that were started together are not to look together.
func (u *upkeep) loop(ctx context.Context) {
	u.pruneAt = time.Now().Add(time.Duration(rand.Float64() * float64(pruneInterval)))
	pause := time.Duration(rand.Float64() * float64(lookInterval))
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = u.once(ctx)
	}
}

func jittered(d time.Duration) time.Duration {
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(d))
}

// once says how long to wait for the next time.
func (u *upkeep) once(ctx context.Context) (pause time.Duration) {
	defer func() {
		if value := recover(); value != nil {
			failure := actors.Recovered(value)
			u.log.Error("upkeep panicked", zap.Error(failure), zap.ByteString("stack", failure.Stack))
			pause = jittered(lookInterval)
		}
	}()
	u.lookAtSpace(ctx)
	pause = jittered(u.interval() * time.Duration(max(u.space.Nodes, 1)))
	if time.Now().Before(u.pruneAt) && !u.space.Scarce() {
		return pause
	}
	u.pruneAt = time.Now().Add(jittered(pruneInterval))
	began := time.Now()
	pruned, more, err := u.retain(ctx, u.space)
	u.report(ctx, "what was kept long enough can't be deleted, it is tried again", err)
	if pruned > 0 {
		u.log.Debug("deleted what was kept long enough", zap.Int("processes", pruned))
	}
	if more && (err == nil || pruned > 0) { // a key that can't be read stays, and keeps nothing from going
		// It is to take half of the time at the most: there is work to do.
		u.pruneAt = time.Now()
		pause = min(pause, time.Since(began))
	}
	return pause
}

func (u *upkeep) interval() time.Duration {
	if u.space.Scarce() {
		return scarceInterval
	}
	return lookInterval
}

func (u *upkeep) lookAtSpace(ctx context.Context) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s, err := u.look(look)
	if errors.Is(err, registry.ErrUnavailable) {
		return // others say so
	}
	u.report(ctx, "how full etcd is can't be found out, it is tried again", err)
	if err != nil {
		return
	}
	percent := zap.Int("percent", int(s.Fills()*100))
	switch {
	case s.Full && !u.space.Full:
		u.log.Warn("etcd is nearly full, nothing new is started", percent)
	case !s.Full && u.space.Full:
		u.log.Info("etcd has room again", percent)
	}
	u.space = s
	u.sayKept(s)
}

// spacious is far enough from where less is begun to be kept that it is not said
// again and again.
const spacious = 0.45

// sayKept says when what has ended is kept for less than by default, and when no
// more.
func (u *upkeep) sayKept(s registry.Space) {
	keeps, by := u.keep.Within(s), u.keep.Within(registry.Space{})
	switch short := keeps.Completed < by.Completed || keeps.Others < by.Others; {
	case short && !u.short:
		u.short = true
		u.log.Warn("what has ended is kept for less than by default, space is scarce", zap.Int("percent", int(s.Fills()*100)),
			zap.Duration("completed", keeps.Completed), zap.Duration("others", keeps.Others))
	case u.short && s.Fills() < spacious:
		u.short = false
		u.log.Info("what has ended is kept for as long as by default again", zap.Int("percent", int(s.Fills()*100)))
	}
}

// report logs what goes wrong when it begins, not every time: a key that can't
// be read stays as it is.
func (u *upkeep) report(ctx context.Context, what string, err error) {
	text := ""
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		text = err.Error()
	}
	if text != "" && text != u.said[what] {
		u.log.Warn(what, zap.Error(err))
	}
	u.said[what] = text
}

// stop waits for the goroutine until ctx ends.
func (u *upkeep) stop(ctx context.Context) error {
	u.mu.Lock()
	cancel := u.cancel
	u.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-u.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
