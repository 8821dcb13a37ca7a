package actors

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// loop is a goroutine that an actor starts and supervises, and that goes on
// while the actor is restarted: a session must not end because of that. A
// panic in it is sent to the actor, which fails with it, and starts the loop
// anew when its supervisor has restarted it.
type loop struct {
	actor address

	mu      sync.Mutex
	closed  bool
	running chan struct{}           // closed when the goroutine has ended
	cancel  context.CancelCauseFunc // of the goroutine
}

// ensure starts the goroutine unless it runs or the loop was closed.
func (l *loop) ensure(body func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.running != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	l.running, l.cancel = done, cancel
	go func() {
		err := recovered(func() { body(ctx) })
		cancel(nil)
		l.mu.Lock()
		l.running = nil
		l.mu.Unlock()
		close(done)
		if err != nil {
			l.actor.send(loopDied{err})
		}
	}()
}

// close ends the goroutine for good and waits for it.
func (l *loop) close(ctx context.Context, cause error) error {
	l.mu.Lock()
	l.closed = true
	running := l.running
	if running != nil {
		l.cancel(cause)
	}
	l.mu.Unlock()
	l.actor.clear()
	if running == nil {
		return nil
	}
	select {
	case <-running:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recovered turns a panic into a *runner.PanicError.
func recovered(f func()) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Recovered(value)
		}
	}()
	f()
	return nil
}

// newPause spaces out repeats of what failed. Its limit is a part of how long a
// node takes to be ready when etcd is back, and costs next to nothing: a try
// without a connection fails in this process.
func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 500*time.Millisecond
	return b
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
