package main

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/supervisor"
)

// ranch is this program's own actor, with the node as its child. Whatever fails inside the node is the node's business:
// it never reaches the ranch's strategy, and the ranch learns only of its end. If the ranch is restarted, it spawns the
// node again, which hands back what it ran and goes on with a new session.
type ranch struct{ node *supervisor.Node }

// poke is the ranch's own message, see console.
type poke struct{ runner *actor.PID }

// started asks the ranch to have the node start a process, and to say when it has ended.
type started struct{ start *actors.Start }

// Receive implements actor.Actor. It never waits: what takes time is done by the node, which answers with messages.
func (r *ranch) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		if _, err := c.SpawnNamed(r.node.Props(), "drover"); err != nil {
			panic(err) // to the ranch's own supervisor
		}
	case *actor.Terminated:
		fmt.Println("the node has ended")
	case *poke:
		c.Request(m.runner, &actors.Poke{})
	case *actors.Drove: // a runner on this very system says so; one elsewhere does not answer
		fmt.Printf("drove for a %s, claimed %d, error %v\n", m.Reason, m.Claimed, m.Err)
	case *started:
		c.Request(r.node.PID(), m.start)
	case *actors.Accepted:
		fmt.Println("accepted", m.ID)
	case *actors.Refused:
		fmt.Println("refused", m.Err)
	case *actors.Ended:
		fmt.Println("ended", m.ID, m.Process.Status)
	}
}
