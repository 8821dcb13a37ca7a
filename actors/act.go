package actors

import (
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/runner"
)

// act is one attempt that an actor makes: what its slot actor, the actor
// itself and the handler's goroutine share.
type act struct {
	in      *stall
	user    *actor.Props
	attempt *Attempt
	mailbox *actor.PID // where the answer is sent to

	begun    chan struct{} // closed when the actor is spawned, or can't be
	pid      *actor.PID    // before begun is closed; nil if there is none
	answered chan struct{} // closed when there is an answer
	answer   any           // before answered is closed
	ended    chan struct{} // closed when the actor and its children have terminated
	end      func()

	stopping bool // the actor's alone

	mu     sync.Mutex
	taken  bool  // there is an answer
	failed error // why the actor failed, the first time
}

func newAct(in *stall, user *actor.Props, a *Attempt) *act {
	p := &act{
		in: in, user: user, attempt: a,
		begun: make(chan struct{}), answered: make(chan struct{}), ended: make(chan struct{}),
	}
	p.end = sync.OnceFunc(func() { close(p.ended) })
	registry := in.system.ProcessRegistry
	p.mailbox, _ = registry.Add(answers{p}, "answer"+registry.NextId())
	return p
}

// close makes dead letters of further answers.
func (p *act) close() { p.in.system.ProcessRegistry.Remove(p.mailbox) }

// fail keeps why the actor failed.
func (p *act) fail(reason any) {
	err, ok := reason.(error)
	if !ok {
		err = &runner.PanicError{Value: reason} // of a child that nothing guards
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
	}
}

func (p *act) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// props are the user's for this act: guarded as our own actors are, see
// guarded, and so that the stack of a panic is kept and the end is heard of.
func (p *act) props(log *zap.Logger) *actor.Props {
	return p.user.Clone(actor.WithGuardian(nil), actor.WithReceiverMiddleware(
		func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				defer func() { p.received(recover(), e.Message, log) }()
				if _, ok := e.Message.(*actor.Stopping); ok {
					p.stopping = true
				}
				next(c, e)
			}
		}))
}

// received gets what recover returned. A panic while the actor stops must not
// go on: the runtime would resurrect it, or never tell that it has terminated.
func (p *act) received(value, message any, log *zap.Logger) {
	_, stopped := message.(*actor.Stopped)
	if stopped {
		defer p.end()
	}
	if value == nil {
		return
	}
	failure := Recovered(value)
	p.fail(failure)
	if !p.stopping {
		panic(failure)
	}
	log.Error("the actor of an attempt panicked while it ended", zap.Stringer("actor", p.pid),
		zap.Error(failure), zap.ByteString("stack", failure.Stack))
}

// answers is the Sender of an Attempt. It is a process of Proto.Actor's, but
// neither an actor, which would cost more, nor a Future, which has a timeout
// and races.
type answers struct{ act *act }

// SendUserMessage implements actor.Process.
func (a answers) SendUserMessage(_ *actor.PID, message any) {
	_, answer, _ := actor.UnwrapEnvelope(message)
	a.act.mu.Lock()
	defer a.act.mu.Unlock()
	if !a.act.taken {
		a.act.taken, a.act.answer = true, answer
		close(a.act.answered)
	}
}

// SendSystemMessage implements actor.Process.
func (answers) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (answers) Stop(*actor.PID) {}
