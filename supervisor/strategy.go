package supervisor

import (
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"github.com/drover-run/drover/runner"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	// healthy is how long a child must have worked for its next failure to be
	// taken as the first.
	healthy = time.Minute
)

// child is an actor under the node. It belongs to the node's actor.
type child struct {
	name   string
	props  func() *actor.Props
	resume bool // go on with the next message, without a restart
	pid    *actor.PID
	pause  *backoff.ExponentialBackOff
	timer  *time.Timer // of the restart that is pending; nil if none is
	turn   int         // tells that restart from earlier ones
	failed time.Time   // when it last did
}

// restart is the end of a child's pause. It is a message, for the runtime's
// own delayed restart revives an actor that is being stopped.
type restart struct {
	name string
	turn int
}

// IgnoreDeadLetterLogging marks the message for Proto.Actor: it may come when
// the node has gone.
func (restart) IgnoreDeadLetterLogging() {}

func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = firstPause, maxPause, 2
	return b
}

// disarm forgets a restart that is pending.
func (ch *child) disarm() {
	if ch.timer != nil {
		ch.timer.Stop()
		ch.timer = nil
	}
	ch.turn++
}

// HandleFailure implements actor.SupervisorStrategy for the node's children.
// It runs on the node's own goroutine.
func (t *tree) HandleFailure(system *actor.ActorSystem, me actor.Supervisor, who *actor.PID,
	_ *actor.RestartStatistics, reason, _ any) {
	self := me.(actor.Context).Self()
	defer func() { t.survive(recover(), system, self) }()
	ch := t.child(who)
	if ch != nil && ch.resume {
		t.life.failing.note(ch.name, reason, time.Now())
		t.logFailure(ch, reason, 0)
		me.ResumeChildren(who)
		return
	}
	if ch == nil || t.life.ending() {
		me.StopChildren(who)
		return
	}
	if ch.timer != nil {
		return // it waits for its restart already
	}
	now := time.Now()
	if now.Sub(ch.failed) > healthy {
		ch.pause.Reset()
	}
	delay := ch.pause.NextBackOff()
	ch.failed = now.Add(delay) // it is well from its restart on
	t.life.failing.note(ch.name, reason, ch.failed)
	ch.turn++
	message, to := restart{ch.name, ch.turn}, self.Id
	ch.timer = time.AfterFunc(delay, func() { system.Root.Send(system.NewLocalPID(to), message) })
	t.logFailure(ch, reason, delay)
}

func (t *tree) logFailure(ch *child, reason any, delay time.Duration) {
	fields := []zap.Field{zap.String("actor", ch.name), zap.Duration("restart_in", delay)}
	err, ok := reason.(error)
	if !ok {
		err = fmt.Errorf("%v", reason)
	}
	fields = append(fields, zap.Error(err))
	if panicked, ok := errors.AsType[*runner.PanicError](err); ok {
		fields = append(fields, zap.ByteString("stack", panicked.Stack))
	}
	t.life.log.Error("an actor of the node failed", fields...)
}

// restart lets a child begin again, unless something else has become of it, or
// of the node, while it paused.
func (t *tree) restart(c actor.Context, m restart) {
	ch := t.children[m.name]
	if ch == nil || ch.timer == nil || ch.turn != m.turn || t.life.ending() {
		return
	}
	ch.timer = nil
	c.(actor.Supervisor).RestartChildren(ch.pid)
}

// guardian is the strategy above nodes that Start spawned. A guardian's panic
// would end the operating system's process, and a node never fails; so there
// is nothing to decide.
type guardian struct{}

// onlyStops is one for all nodes: Proto.Actor keeps a process for each
// strategy that it has seen, for ever.
var onlyStops = &guardian{}

// HandleFailure implements actor.SupervisorStrategy.
func (*guardian) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, who *actor.PID,
	_ *actor.RestartStatistics, _, _ any) {
	s.StopChildren(who)
}
