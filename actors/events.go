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
	idle  chan struct{} // closed when the goroutine has ended; nil if it does not run
}

// NewEvents makes the publisher of a node.
func NewEvents(system *actor.ActorSystem, log *zap.Logger) *Events {
	return &Events{system: system, log: orNop(log).Named("events")}
}

// Publish never blocks.
func (e *Events) Publish(event any) {
	e.mu.Lock()
	defer e.mu.Unlock()
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
