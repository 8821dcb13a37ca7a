package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// shouter is a handler that is an actor: one is spawned for each attempt, and
// stopped when it has answered.
type shouter struct{}

func (*shouter) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actors.Attempt:
		word := strings.Trim(string(m.Input()), `"`)
		if word == "" {
			c.Respond(runner.Fail(errors.New("nothing to shout")))
			return
		}
		c.Respond(strings.ToUpper(word) + "!")
	case *actors.Cancelled:
		c.Respond(m.Cause)
	}
}

// clerk is an actor of the host's that has a node start processes, and hears
// of their ends, without waiting in Receive.
type clerk struct {
	node *actor.PID
	said chan string
}

func (a *clerk) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case registry.Spec:
		c.Request(a.node, &actors.Start{Spec: m, Await: true})
	case *actors.Accepted:
		a.said <- "accepted " + m.ID
	case *actors.Refused:
		a.said <- "refused: " + m.Err.Error()
	case *actors.Ended:
		a.said <- fmt.Sprintf("%s %s %s%s", m.ID, m.Process.Status, m.Process.Output, m.Process.Error)
	}
}

// A handler and a starter that are actors.
func Example_actors() {
	etcd := etcdtest.ExampleClient()
	defer etcd.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reg, err := registry.Open(ctx, etcd, registry.Options{Namespace: "actors"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reg.Close()

	mux := runner.NewMux()
	mux.Handle("shout", registry.Rerunnable,
		actors.HandlerFromProps(actor.PropsFromProducer(func() actor.Actor { return &shouter{} })))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.DiscardHandler)
	}))
	node, err := supervisor.Start(ctx, system, supervisor.Config{Registry: reg, Mux: mux})
	if err != nil {
		fmt.Println(err)
		return
	}

	said := make(chan string)
	clerk := system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor {
		return &clerk{node: node.PID(), said: said}
	}))
	for _, spec := range []registry.Spec{
		{ID: "first", Kind: "shout", Disposition: registry.Rerunnable, Input: []byte(`"hello"`)},
		{ID: "second", Kind: "shout", Disposition: registry.Rerunnable},
	} {
		system.Root.Send(clerk, spec)
		fmt.Println(<-said)
		fmt.Println(<-said)
	}
	system.Root.Stop(clerk)
	if err := node.Stop(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// accepted first
	// first completed "HELLO!"
	// accepted second
	// second failed nothing to shout
}
