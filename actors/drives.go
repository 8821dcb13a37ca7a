package actors

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/trouble"
	"github.com/drover-run/drover/runner"
)

const (
	// driveTimeout ends a drive that hangs. It is far more than one takes.
	driveTimeout = 30 * time.Second
	// retryPause is between a drive that failed and the next, if the interval
	// is longer.
	retryPause = 400 * time.Millisecond
	// stopGrace is for a drive to return once its context has ended.
	stopGrace = 3 * time.Second
)

// DrivesOptions are for NewDrives. All but Logger are required.
type DrivesOptions struct {
	Handle runner.RunHandle
	Poker  Poker         // of the node; not the zero one
	Poll   time.Duration // between the end of a drive and the next, if nobody pokes
	Logger *zap.Logger
}

// Drives is the state of a RunnerActor that outlives its restarts: what is
// owed, whether a drive is on, and the timer.
type Drives struct {
	handle runner.RunHandle
	bell   *bell
	log    *zap.Logger
	ticker ticker
	own    *residence // in bell.runner, if it is ours; the actor's alone

	// startup: the next drive is one for start-up. Nothing drives before the
	// first.
	startup atomic.Bool
	begun   atomic.Bool
	// starved: something claimable waits for a slot.
	starved atomic.Bool

	mu     sync.Mutex
	closed bool
	askers []*actor.PID            // to be answered by the next drive
	cancel context.CancelCauseFunc // of the drive that is on
	ended  chan struct{}           // closed when it has ended; nil if none is on

	trouble *trouble.Trouble
}

// NewDrives makes the state of a RunnerActor.
func NewDrives(o DrivesOptions) *Drives {
	d := &Drives{handle: o.Handle, bell: o.Poker.bell, log: orNop(o.Logger).Named("drive")}
	d.ticker = ticker{interval: o.Poll, fire: func(turn int) { d.send(tick{turn}) }}
	d.trouble = trouble.New(d.log, "a drive failed, the next are logged once one succeeds", "drives succeed again")
	return d
}

// Startup makes a drive with the reason "startup": the node has a session, the
// first or another one. The first call begins the ticks.
func (d *Drives) Startup() {
	d.startup.Store(true)
	d.begun.Store(true)
	d.ticker.start()
	d.send(wake{})
}

// Due makes a drive when something is due, on the wall clock.
func (d *Drives) Due(at time.Time) { d.ticker.dueAt(at) }

// SlotFreed is to be called after a slot has become free. It pokes if there
// was too little room for what could have been claimed.
func (d *Drives) SlotFreed() {
	if d.starved.Load() {
		d.bell.ring()
	}
}

// Stop ends the loop: no drive begins any more. One that is on may go on until
// ctx ends; then it is cancelled, with [runner.ErrShutdown]. Stop returns
// ErrDriving if it does not end in spite of that.
func (d *Drives) Stop(ctx context.Context) error {
	d.ticker.stop()
	d.mu.Lock()
	d.closed = true
	ended, askers := d.ended, d.askers
	d.askers = nil
	d.mu.Unlock()
	d.answer(askers, &Drove{Err: ErrStopped})
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	d.mu.Lock()
	if d.cancel != nil {
		d.cancel(runner.ErrShutdown)
	}
	d.mu.Unlock()
	select {
	case <-ended:
		return nil
	case <-time.After(stopGrace):
		return ErrDriving
	}
}

func (d *Drives) send(message any) {
	if r := d.bell.runner.Load(); r != nil {
		r.send(message)
	}
}

// drive begins a drive unless one is on. The reason is "startup" if there has
// been none, whatever it was begun for.
func (d *Drives) drive(reason runner.Reason) {
	if !d.begun.Load() || !d.bell.driving.CompareAndSwap(false, true) {
		return
	}
	// The context is the drive's own: it is not cancelled by what began it.
	ctx, expire := context.WithTimeoutCause(context.Background(), driveTimeout, ErrDriveTimeout)
	ctx, cancel := context.WithCancelCause(ctx)
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		cancel(nil)
		expire()
		d.bell.driving.Store(false)
		return
	}
	askers, ended := d.askers, make(chan struct{})
	d.askers, d.cancel, d.ended = nil, cancel, ended
	d.mu.Unlock()
	// Before it lists, or a poke for what comes after the list would be taken
	// for served.
	d.bell.owed.Store(false)
	if d.startup.Swap(false) {
		reason = runner.Startup
	}
	go func() {
		defer expire()
		defer cancel(nil)
		done := d.pass(ctx, reason)
		d.mu.Lock()
		d.cancel, d.ended = nil, nil
		d.mu.Unlock()
		d.bell.driving.Store(false)
		close(ended)
		d.send(drove{})
		d.answer(askers, done)
	}()
}

// pass is one drive, on a goroutine of its own.
func (d *Drives) pass(ctx context.Context, reason runner.Reason) *Drove {
	// Before the drive asks how many slots are free: one that becomes free
	// later must poke.
	d.starved.Store(true)
	var result runner.Drove
	var err error
	if panicked := recovered(func() { result, err = d.handle.ClaimAndRunPending(ctx, reason) }); panicked != nil {
		err = panicked
	}
	if err == nil {
		d.starved.Store(result.Starved)
		d.ticker.dueAt(result.Next)
	} else if !errors.Is(err, runner.ErrNoSession) {
		// It was begun for something, which is still there.
		d.ticker.dueAt(time.Now().Add(retryPause))
	}
	d.ticker.driveEnded()
	if !errors.Is(err, runner.ErrNoSession) && !errors.Is(context.Cause(ctx), runner.ErrShutdown) {
		d.note(reason, err)
	}
	if entry := d.log.Check(zap.DebugLevel, "drove"); entry != nil { // the fields would cost more than the rest
		entry.Write(zap.String("reason", string(reason)), zap.Int("claimed", result.Claimed), zap.Error(err))
	}
	return &Drove{Reason: reason, Claimed: result.Claimed, Err: err}
}

// ask puts a sender down for the answer of the next drive. One on another
// system is not answered: what is not protobuf does not cross.
func (d *Drives) ask(c actor.Context) {
	sender := c.Sender()
	if sender == nil || !isLocal(c, sender) {
		return
	}
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.askers = append(d.askers, sender)
	}
	d.mu.Unlock()
	if closed {
		c.Send(sender, &Drove{Err: ErrStopped})
	}
}

func (d *Drives) answer(askers []*actor.PID, with *Drove) {
	r := d.bell.runner.Load()
	if r == nil {
		return
	}
	for _, asker := range askers {
		r.system.Root.Send(asker, with)
	}
}

// note logs when drives begin to fail and when they succeed again, and not
// every 400 ms in between.
func (d *Drives) note(reason runner.Reason, err error) {
	fields := []zap.Field{zap.String("reason", string(reason))}
	if panicked, ok := errors.AsType[*runner.PanicError](err); ok {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	d.trouble.Note(err, fields...)
}

// Failing says since when drives fail, and why, if they do.
func (d *Drives) Failing() (trouble.State, bool) { return d.trouble.Now() }

func orNop(log *zap.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	return log
}
