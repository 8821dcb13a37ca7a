package actors

import (
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// address is where an actor is to be found. Each incarnation sets it when it
// starts, so that goroutines which outlive incarnations can reach the present
// one.
type address struct{ at atomic.Pointer[residence] }

type residence struct {
	system *actor.ActorSystem
	id     string
}

// set must come before the actor looks at the state that wake-ups are about:
// who changed it before found no address, and relies on that look.
func (a *address) set(c actor.Context) {
	a.at.Store(&residence{system: c.ActorSystem(), id: c.Self().Id})
}

func (a *address) clear() { a.at.Store(nil) }

// send never blocks. Without an actor there the message is dropped.
func (a *address) send(message any) {
	if r := a.at.Load(); r != nil {
		r.send(message)
	}
}

// send makes a new PID each time: one that was kept would go on with the
// address that the system had before its host started Proto.Actor's remote.
func (r *residence) send(message any) {
	r.system.Root.Send(r.system.NewLocalPID(r.id), message)
}

// isLocal says whether an actor is on the system of c. Addresses that were
// made before the host started Proto.Actor's remote stay good there.
func isLocal(c actor.Context, pid *actor.PID) bool {
	return pid.Address == c.ActorSystem().Address() || pid.Address == beforeRemote
}

const beforeRemote = "nonhost"
