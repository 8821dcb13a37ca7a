package runner

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/drover-run/drover/registry"
)

// progressInterval is between two writes of one attempt's progress.
const progressInterval = time.Second

// progress writes the latest value that it was given, at most one a second.
// While there is something to write a goroutine of its own does so; stop waits
// for it.
type progress struct {
	write func(context.Context, json.RawMessage) error

	mu      sync.Mutex
	next    json.RawMessage // nil if there is nothing to write
	failed  error           // of the last write
	stopped bool
	cancel  context.CancelFunc // of the goroutine; nil if none runs
	running sync.WaitGroup
	wrote   time.Time // when the last one was sent
}

func (p *progress) set(value json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return registry.ErrClaimLost
	}
	p.next = value
	if p.cancel == nil {
		ctx, cancel := context.WithCancel(context.Background())
		p.cancel = cancel
		p.running.Go(func() { p.run(ctx) })
	}
	return p.failed
}

// run ends when there is nothing to write for an interval, or when ctx does.
func (p *progress) run(ctx context.Context) {
	timer := time.NewTimer(time.Until(p.wrote.Add(progressInterval)))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		p.mu.Lock()
		value := p.next
		p.next = nil
		if value == nil {
			p.cancel()
			p.cancel = nil
			p.mu.Unlock()
			return
		}
		p.wrote = time.Now()
		p.mu.Unlock()
		err := p.write(ctx, value)
		p.mu.Lock()
		if p.failed = err; errors.Is(err, context.Canceled) {
			p.failed = nil // that of the attempt's end
		}
		p.mu.Unlock()
		timer.Reset(progressInterval)
	}
}

// flush writes what stop has left, in the goroutine of the caller. That it
// fails is no news for anybody: what is written next under the claim tells.
func (p *progress) flush(ctx context.Context) {
	p.mu.Lock()
	value := p.next
	p.next = nil
	p.mu.Unlock()
	if value == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), progressInterval)
	defer cancel()
	_ = p.write(ctx, value)
}

// stop ends the goroutine. What it has not written yet stays for flush.
func (p *progress) stop() {
	p.mu.Lock()
	p.stopped = true
	if p.cancel != nil {
		p.cancel()
	}
	p.mu.Unlock()
	p.running.Wait()
}
