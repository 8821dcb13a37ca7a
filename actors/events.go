package actors

import (
	"context"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// Events publishes on a system's EventStream, in order. Subscribers are called
// on the publisher's goroutine, and they are somebody else's code: so it is
// one of its own, and a subscriber that panics or blocks does neither to us.
type Events struct {
	system *actor.ActorSystem
	log    *zap.Logger

	mu    sync.Mutex
	queue []any
	lost  int           // ProcessEnded that did not fit, since the last one that did
	idle  chan struct{} // closed when the goroutine has ended; nil if it does not run
}

// maxQueued bounds what waits for a subscriber that blocks.
const maxQueued = 10_000

// NewEvents makes the publisher of a node.
func NewEvents(system *actor.ActorSystem, log *zap.Logger) *Events {
	return &Events{system: system, log: orNop(log).Named("events")}
}

// Publish never blocks. While 10,000 events wait for subscribers, further
// ProcessEnded are left out: there is no end to those, and of all others there
// are few.
func (e *Events) Publish(event any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, many := event.(*ProcessEnded); many && len(e.queue) >= maxQueued {
		if e.lost++; e.lost == 1 {
			e.log.Warn("subscribers of the event stream are too slow, ProcessEnded events are left out")
		}
		return
	}
	if e.lost > 0 {
		e.log.Warn("ProcessEnded events were left out", zap.Int("count", e.lost))
		e.lost = 0
	}
	e.queue = append(e.queue, event)
	if e.idle == nil {
		e.idle = make(chan struct{})
		go e.drain(e.idle)
	}
}

func (e *Events) drain(idle chan struct{}) {
	defer close(idle)
	for {
		e.mu.Lock()
		if len(e.queue) == 0 {
			e.idle = nil
			e.mu.Unlock()
			return
		}
		event := e.queue[0]
		e.queue = e.queue[1:]
		e.mu.Unlock()
		if err := recovered(func() { e.system.EventStream.Publish(event) }); err != nil {
			e.log.Error("a subscriber of the event stream panicked", zap.Error(err))
		}
	}
}

// Flush waits until everything is published, or ctx ends.
func (e *Events) Flush(ctx context.Context) {
	e.mu.Lock()
	idle := e.idle
	e.mu.Unlock()
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
