package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

const kindCount = "count"

// handlers are what nodes of this program can run. All of them must have the same ones, as any may run any process.
func handlers() *runner.Mux {
	mux := runner.NewMux()
	mux.Handle(kindCount, registry.Rerunnable,
		actors.HandlerFromProps(actor.PropsFromProducer(func() actor.Actor { return &counter{} })))
	return mux
}

// counter is a handler that is an actor: one is spawned for each attempt, and is stopped once it has answered.
// The input of its process is how many tenths of a second it counts; it may go on where an attempt before it was lost.
type counter struct {
	attempt *actors.Attempt
	asker   *actor.PID // who is to be answered
	timer   *time.Timer
	goal, n int
}

// counted is the counter's message to itself.
type counted struct{}

// Receive implements actor.Actor.
func (a *counter) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actors.Attempt:
		a.attempt, a.asker = m, c.Sender()
		if err := a.begin(); err != nil {
			c.Respond(runner.Fail(err)) // another attempt would find the same
			return
		}
		fmt.Printf("attempt %d of %s counts from %d to %d\n", m.Number(), m.ID(), a.n, a.goal)
		a.next(c)
	case *counted:
		a.n++
		if err := a.attempt.Checkpoint(a.attempt.Context, "n", a.n); err != nil {
			c.Send(a.asker, err) // the claim is lost, or etcd is away: retried like any other error
			return
		}
		a.next(c)
	case *actors.Cancelled:
		c.Send(a.asker, m.Cause)
	case *actor.Stopped:
		if a.timer != nil {
			a.timer.Stop()
		}
	}
}

func (a *counter) begin() error {
	if err := json.Unmarshal(a.attempt.Input(), &a.goal); err != nil {
		return err
	}
	_, err := a.attempt.Restore("n", &a.n)
	return err
}

// next answers with the number, or has the next message come in a tenth of a second. An actor.Context is for Receive
// alone: what another goroutine needs is taken out of it here.
func (a *counter) next(c actor.Context) {
	if a.n >= a.goal {
		c.Send(a.asker, a.n)
		return
	}
	root, self := c.ActorSystem().Root, c.Self()
	a.timer = time.AfterFunc(100*time.Millisecond, func() { root.Send(self, &counted{}) })
}
