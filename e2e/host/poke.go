package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor"
)

// console does what somebody types.
type console struct {
	node     *supervisor.Node
	registry *registry.Registry
	ranch    *actor.PID
	system   *actor.ActorSystem
}

func (c *console) do(ctx context.Context, words []string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	switch {
	case len(words) == 0:
		return nil
	case words[0] == "count" && len(words) == 3:
		return c.count(words[1], words[2])
	case words[0] == "poke" && len(words) == 1:
		// The address is asked for each time: it changes when the node's actor is spawned again, and when remote starts.
		c.system.Root.Send(c.ranch, &poke{runner: c.node.RunnerPID()})
		return nil
	case words[0] == "poke" && len(words) == 2:
		return c.pokeOther(ctx, words[1])
	}
	return fmt.Errorf("%q is no command", strings.Join(words, " "))
}

// count has the node start a process. Its own node is poked by that, as soon as the process is durable.
func (c *console) count(id, duration string) error {
	d, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	input, err := json.Marshal(int(d / (100 * time.Millisecond)))
	if err != nil {
		return err
	}
	c.system.Root.Send(c.ranch, &started{&actors.Start{Await: true, Spec: registry.Spec{
		ID: id, Kind: kindCount, Disposition: registry.Rerunnable, Input: input,
	}}})
	return nil
}

// pokeOther pokes the nodes of this name in other processes. A poke that is lost, to a host that has died a moment ago,
// does no harm: nodes also watch the queue, and look at it from time to time.
func (c *console) pokeOther(ctx context.Context, name string) error {
	nodes, err := c.registry.Nodes(ctx)
	if err != nil {
		return err
	}
	known := false
	for _, n := range nodes {
		// The roster has the address of the node's own actor; "" if that can't be reached from elsewhere.
		host, id, ok := strings.Cut(n.Address, "/")
		if n.Name != name || !ok || host == c.system.Address() {
			continue
		}
		known = true
		c.system.Root.Send(actor.NewPID(host, id+"/runner"), &actors.Poke{})
		fmt.Println("poked", n.Name, "at", n.Address)
	}
	if !known {
		return fmt.Errorf("no other process has a node %s that can be reached", name)
	}
	return nil
}
