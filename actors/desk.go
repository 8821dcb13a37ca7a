package actors

import (
	"context"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// starting is how many starts that were asked for by message are on at a
// time.
const starting = 64

// Start asks a node, by a message to its actor (Node.PID), to start a process.
// The sender, if there is one and it is on the same actor system, gets an
// [*Accepted] or a [*Refused]; with Await, an [*Ended] after an Accepted. No
// order is kept among several.
type Start struct {
	Spec  registry.Spec
	Await bool
}

// Await asks a node to tell when a process has ended, wherever it runs. The
// sender gets an [*Ended]. It costs the node a goroutine, and etcd a read; all
// that wait share a watch.
type Await struct{ ID string }

// Accepted answers a Start: the process is durable.
type Accepted struct {
	ID       string
	Existing bool // it was there already, with the same spec
}

// Refused answers a Start that failed. Err is that of Registry.Start, or wraps
// ErrStopped if the node ended before; then the process may have been started
// all the same.
type Refused struct {
	ID  string // that of the Spec, which may be empty
	Err error
}

// Ended answers an Await, and a Start with Await. If Err is nil, Process is the
// process with its outcome. Else it is not known to have ended: Err is that of
// Registry.Wait, and wraps ErrStopped if the node ended before.
type Ended struct {
	ID      string
	Process registry.Process
	Err     error
}

// DeskOptions are for NewDesk. All but Logger are required.
type DeskOptions struct {
	Start  func(ctx context.Context, s registry.Spec) (registry.Started, error)
	Wait   func(ctx context.Context, id string) (registry.Process, error)
	Logger *zap.Logger
}

// Desk serves the Start and Await messages of a node, each on a goroutine of
// its own, which ends with the node.
type Desk struct {
	options DeskOptions
	log     *zap.Logger
	room    chan struct{} // held by each start
	within  func() context.Context
	end     context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	serving int
	idle    chan struct{} // closed when it is closed and serves nobody any more
}

// NewDesk makes the desk of a node.
func NewDesk(o DeskOptions) *Desk {
	ctx, end := context.WithCancelCause(context.Background())
	return &Desk{
		options: o, log: orNop(o.Logger).Named("desk"), room: make(chan struct{}, starting),
		within: func() context.Context { return ctx }, end: end, idle: make(chan struct{}),
	}
}

// Receive takes the message of c if it is for the desk. A nil Desk refuses.
func (d *Desk) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *Start:
		d.start(answerer(c), *m)
	case Start:
		d.start(answerer(c), m)
	case *Await:
		d.await(answerer(c), m.ID)
	case Await:
		d.await(answerer(c), m.ID)
	}
}

// answerer sends to the sender of c's message, from any goroutine. What is not
// protobuf does not cross, so a sender elsewhere is not answered.
func answerer(c actor.Context) func(any) {
	to, system := c.Sender(), c.ActorSystem()
	if to == nil || !isLocal(c, to) {
		return func(any) {}
	}
	return func(answer any) { system.Root.Send(to, answer) }
}

func (d *Desk) start(answer func(any), m Start) {
	d.serve(func(ctx context.Context) {
		started, err := d.startOne(ctx, m.Spec)
		if err != nil {
			answer(&Refused{ID: m.Spec.ID, Err: err})
			return
		}
		answer(&Accepted{ID: started.ID, Existing: started.Existing})
		if m.Await {
			answer(d.wait(ctx, started.ID))
		}
	}, func(err error) { answer(&Refused{ID: m.Spec.ID, Err: err}) })
}

func (d *Desk) startOne(ctx context.Context, s registry.Spec) (registry.Started, error) {
	select {
	case d.room <- struct{}{}:
	case <-ctx.Done():
		return registry.Started{}, context.Cause(ctx)
	}
	defer func() { <-d.room }()
	return d.options.Start(ctx, s)
}

func (d *Desk) await(answer func(any), id string) {
	d.serve(func(ctx context.Context) { answer(d.wait(ctx, id)) },
		func(err error) { answer(&Ended{ID: id, Err: err}) })
}

func (d *Desk) wait(ctx context.Context, id string) *Ended {
	p, err := d.options.Wait(ctx, id)
	return &Ended{ID: id, Process: p, Err: err}
}

// serve does it on a goroutine. fail answers instead when the desk is closed,
// or after a panic.
func (d *Desk) serve(do func(ctx context.Context), fail func(error)) {
	if d == nil {
		fail(ErrStopped)
		return
	}
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.serving++
	}
	d.mu.Unlock()
	if closed {
		fail(ErrStopped)
		return
	}
	go func() {
		defer d.served()
		if err := recovered(func() { do(d.within()) }); err != nil {
			d.log.Error("a start or a wait panicked", zap.Error(err))
			fail(err)
		}
	}()
}

func (d *Desk) served() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.serving--; d.serving == 0 && d.closed {
		close(d.idle)
	}
}

// Stop ends what is on, which is answered with ErrStopped, and waits for it
// until ctx ends. It may be called once.
func (d *Desk) Stop(ctx context.Context) error {
	d.mu.Lock()
	d.closed = true
	if d.serving == 0 {
		close(d.idle)
	}
	d.mu.Unlock()
	d.end(ErrStopped)
	select {
	case <-d.idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
