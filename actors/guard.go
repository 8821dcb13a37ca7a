package actors

import (
	"runtime/debug"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/runner"
)

// guarded are the options of all actors here. In Proto.Actor a panic in
// Stopping resurrects the actor, and after one in Stopped nobody hears that it
// has terminated: those are swallowed, as are those in Restarting. Elsewhere a
// panic goes on to the supervisor, with its stack, which the runtime drops.
func guarded(log *zap.Logger) actor.PropsOption {
	return actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
			defer func() {
				value := recover()
				if value == nil {
					return
				}
				failure := Recovered(value)
				switch e.Message.(type) {
				case *actor.Stopping, *actor.Stopped, *actor.Restarting:
					log.Error("an actor panicked while it ended", zap.Stringer("actor", c.Self()),
						zap.Error(failure), zap.ByteString("stack", failure.Stack))
				default:
					panic(failure)
				}
			}()
			next(c, e)
		}
	})
}

// Recovered makes an error of what recover returned. It is for the deferred
// function that called recover: the stack is that of the panic then. A panic
// that was caught before keeps its own.
func Recovered(value any) *runner.PanicError {
	if caught, ok := value.(*runner.PanicError); ok {
		return caught
	}
	return &runner.PanicError{Value: value, Stack: debug.Stack()}
}
