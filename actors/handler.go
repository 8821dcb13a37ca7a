package actors

import (
	"context"
	"errors"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/runner"
)

var (
	// ErrNoSlot is what a handler of HandlerFromProps returns that was not
	// called by a node.
	ErrNoSlot = errors.New("a handler that is an actor runs in the slot of a node only")

	// ErrNoAnswer is why an attempt failed whose actor was stopped, by itself
	// or by somebody else, before it had answered.
	ErrNoAnswer = errors.New("the actor stopped without an answer")
)

// answerGrace is how long an actor has to answer once its attempt was
// cancelled. It is less than a node gives handlers when it stops.
const answerGrace = 5 * time.Second

// Attempt is the message by which an actor that [HandlerFromProps] has spawned
// is given the attempt to make.
//
// What the actor answers is what a handler returns. An error has the meaning
// that it has from a handler, with runner.Fail, runner.Snooze and their
// neighbours; anything else, also nil, is the output. The first answer counts.
// It need not be given in the same Receive, nor by the same actor: keep the
// Sender of this message, or forward the message.
type Attempt struct {
	*runner.Attempt
	// Context is that of the attempt, for calls that take one. It ends when
	// the attempt is cancelled or is over.
	Context context.Context //nolint:containedctx // a message is all that an actor gets
}

// Cancelled tells the actor of an attempt that the context of the attempt has
// ended. Cause is one of the runner's, such as runner.ErrCancelRequested,
// runner.ErrShutdown or runner.ErrLeaseLost. The actor may still answer, with
// what it has done in spite of it, or with an error, within 5 s; then it is
// stopped. After ErrLeaseLost no answer is recorded.
type Cancelled struct{ Cause error }

// HandlerFromProps makes a handler of an actor. For each attempt, an actor is
// spawned under the slot that the attempt is in. It is sent an [*Attempt], and
// answers it. Then it is stopped, with its children, and when all of them have
// terminated the outcome is written: what it does, it does under the claim.
//
// A panic in it is an error of the attempt, a *runner.PanicError; it is never
// restarted. So is what its children escalate, and [ErrNoAnswer] if it stops
// without an answer. It gets [*Cancelled] when the attempt is cancelled.
//
// An actor that does not return from Receive can't be stopped, and keeps its
// slot until it does. One that waits for another process in a Receive gets no
// Cancelled meanwhile; call runner.Await with the Attempt's Context in a
// goroutine, which gives the slot back, or send [*Await] to a node, which does
// not. A strategy for roots in the props (actor.WithGuardian) is left out.
func HandlerFromProps(props *actor.Props) runner.Handler {
	if props == nil {
		panic("actors: a handler from nil props")
	}
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		in, ok := ctx.Value(stallKey{}).(*stall)
		if !ok {
			return nil, ErrNoSlot
		}
		p := newAct(in, props, &Attempt{Attempt: a, Context: ctx})
		defer p.close()
		return p.perform(ctx)
	})
}

// perform has the actor make the attempt, and returns when it has terminated.
func (p *act) perform(ctx context.Context) (any, error) {
	p.in.send(perform{p})
	select {
	case <-p.begun:
	case <-p.in.gone:
	}
	select {
	case <-p.begun: // also if the slot has ended since
	default:
		return nil, ErrNoAnswer
	}
	if p.pid == nil {
		return nil, p.failure()
	}
	p.await(ctx)
	select {
	case <-p.ended:
	default:
		p.in.system.Root.Stop(p.pid)
		<-p.ended
	}
	return p.result(ctx)
}

// await returns when the actor has answered or ended, or when it does neither
// after it was cancelled.
func (p *act) await(ctx context.Context) {
	select {
	case <-p.answered:
		return
	case <-p.ended:
		return
	case <-ctx.Done():
	}
	p.in.system.Root.Send(p.pid, &Cancelled{Cause: context.Cause(ctx)})
	grace := time.NewTimer(answerGrace)
	defer grace.Stop()
	select {
	case <-p.answered:
	case <-p.ended:
	case <-grace.C:
	}
}

// result is what the handler returns.
func (p *act) result(ctx context.Context) (any, error) {
	select {
	case <-p.answered:
		if err, ok := p.answer.(error); ok {
			return nil, err
		}
		return p.answer, nil
	default:
	}
	if err := p.failure(); err != nil {
		return nil, err
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return nil, ErrNoAnswer
}
