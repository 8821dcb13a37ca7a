package actors

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/trouble"
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
	Notice   func(e registry.Entry) bool // it is there; is it this node's to take?
	Gone     func(e registry.Entry)      // it is not there any more
	Reset    func()                      // anything may be there
	Joined   func(p registry.Peer) bool  // does somebody leave its share to others now?
	Ended    func(sid string)
	Orphans  func() // there may be orphans
	Due      func(id string, at time.Time)
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
	stands  atomic.Bool
	trouble *trouble.Trouble
}

// settled is how long a watch must stand for the trouble with it to be over:
// one that is cut again and again is one trouble.
const settled = 5 * time.Second

// NewWatch makes the watch of a node; its actor starts it.
func NewWatch(o WatchOptions) *Watch {
	w := &Watch{options: o, log: orNop(o.Logger).Named("watch")}
	w.trouble = trouble.New(w.log, "the watch was lost, a new one is made", "the watch stands again")
	return w
}

// Lost says since when there is trouble with the watch, and why, if there is:
// none stands, or one after the other is lost. That one was lost once and
// replaced at once is none.
func (w *Watch) Lost() (s trouble.State, is bool) {
	s, is = w.trouble.Now()
	return s, is && (s.Failed > 1 || !w.stands.Load())
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
		w.trouble.Note(err)
		rest(ctx, pause.NextBackOff())
	}
}

// once is one watch, with a read of the requests as soon as it stands.
func (w *Watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel(nil) // before the wait
	defer w.stands.Store(false)
	o := w.options
	err := o.Follow(ctx, registry.Events{
		Ready: func() {
			w.stands.Store(true)
			reading.Go(func() { w.settle(ctx) })
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
			// A poke for what is another's would make as many lists for each
			// process as there are nodes.
			if o.Serves(e) && o.Notice(e) {
				o.Poker.Poke()
			}
		},
		Gone: func(e registry.Entry) {
			if o.Serves(e) {
				o.Gone(e)
			}
		},
		Timer: o.Due,
		Joined: func(p registry.Peer) {
			if o.Joined(p) {
				o.Poker.Poke()
			}
		},
		SessionEnded: func(sid string) {
			o.Ended(sid)
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

// settle ends the trouble if the watch stands for long enough.
func (w *Watch) settle(ctx context.Context) {
	if _, ok := w.trouble.Now(); !ok {
		return
	}
	rest(ctx, settled)
	if ctx.Err() == nil {
		w.trouble.Note(nil)
	}
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
