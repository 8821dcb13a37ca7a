package actors

import (
	"context"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// WatchOptions are for NewWatch. All but Logger are required. The functions
// must not block.
type WatchOptions struct {
	// Follow watches until ctx ends or the watch is lost:
	// registry.Registry.Follow.
	Follow func(ctx context.Context, e registry.Events) error
	// Requests reads all requests that stand.
	Requests func(ctx context.Context) (map[string]registry.Request, error)
	Serves   func(e registry.Entry) bool // may this node claim it?
	Lower    func(e registry.Entry)      // it is there
	Reset    func()                      // anything may be there
	Orphans  func()                      // there may be orphans
	Due      func(at time.Time)
	Poker    Poker
	Slots    *Slots
	Logger   *zap.Logger
}

// Watch follows what changes in etcd and passes it on. What it passes on are
// hints: pokes, and flags for the drive that they lead to. It is the state of
// a WatcherActor that outlives its restarts.
type Watch struct {
	options WatchOptions
	log     *zap.Logger
	loop    loop
}

// NewWatch makes the watch of a node; its actor starts it.
func NewWatch(o WatchOptions) *Watch {
	return &Watch{options: o, log: orNop(o.Logger).Named("watch")}
}

// Props makes the WatcherActor, which starts the goroutine that watches and
// fails when that panics.
func (w *Watch) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &loopActor{loop: &w.loop, body: w.follow}
	}, guarded(w.log))
}

// Stop ends the watch and waits for it until ctx ends.
func (w *Watch) Stop(ctx context.Context) error { return w.loop.close(ctx, ErrStopped) }

// follow watches until ctx ends. A watch that is lost is replaced.
func (w *Watch) follow(ctx context.Context) {
	pause := newPause()
	for ctx.Err() == nil {
		begun := time.Now()
		err := w.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > healthy {
			pause.Reset()
		}
		w.log.Warn("the watch was lost, a new one is made", zap.Error(err))
		rest(ctx, pause.NextBackOff())
	}
}

// once is one watch, with a read of the requests as soon as it stands.
func (w *Watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel(nil) // before the wait
	o := w.options
	err := o.Follow(ctx, registry.Events{
		Ready: func() {
			o.Slots.ReadRequests()
			reading.Go(func() {
				if err := w.readRequests(ctx); err != nil {
					cancel(err)
				}
			})
			o.Reset()
			o.Orphans()
			o.Poker.Poke()
		},
		Pending: func(e registry.Entry) {
			if o.Serves(e) {
				o.Lower(e)
				o.Poker.Poke()
			}
		},
		Timer: o.Due,
		SessionEnded: func(string) {
			o.Orphans()
			o.Poker.Poke()
		},
		Requested: o.Slots.Requested,
		Poked:     o.Poker.Poke,
	})
	if cause := context.Cause(ctx); cause != nil && err == nil {
		return cause
	}
	return err
}

func (w *Watch) readRequests(ctx context.Context) (err error) {
	if panicked := recovered(func() {
		var all map[string]registry.Request
		if all, err = w.options.Requests(ctx); err == nil {
			w.options.Slots.SetRequests(all)
		}
	}); panicked != nil {
		return panicked
	}
	return err
}
