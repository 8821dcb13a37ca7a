package e2e

import (
	"context"
	"testing"
	"time"
)

func TestHarnessMembers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{})
	client := c.client()
	put := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Put(ctx, "k", "v")
		return err
	}
	works := func() bool { return put() == nil }
	if !works() {
		t.Error("a put fails")
	}
	first := c.leader()
	c.moveLeader()
	if c.leader() == first {
		t.Error("the leader did not move")
	}

	// Alone, the leader can't write, the others find another leader.
	first = c.leader()
	c.isolate(first)
	eventually(t, "another leader", func() bool { l := c.leads(); return l != nil && l != first })
	eventually(t, "a put on the majority", works)
	c.heal()

	// Without a majority nobody can.
	c.members[0].kill()
	c.members[1].freeze()
	if err := put(); err == nil {
		t.Error("one of three members took a put")
	}
	c.heal()
	c.leader()
	eventually(t, "a put after the majority came back", works)
	if got, err := client.Get(t.Context(), "k"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("%v: %v", got, err)
	}
}

func TestHarnessNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, clusterOptions{})
	n := c.serve("n1", "--ttl", "2s")
	cl := c.commands()
	cl.must("start", "noop", "--id", "a", "--wait")

	for name, bad := range map[string]func(*proxy){"cut": (*proxy).cut, "black hole": (*proxy).blackhole, "deaf": (*proxy).holdDown, "mute": (*proxy).holdUp} {
		n.network(bad)
		cl.must("start", "noop", "--id", name)
		eventually(t, name+": the session to end", func() bool { return cl.must("nodes", "-o", "json") == "" })
		n.network((*proxy).heal)
		cl.must("wait", name, "--timeout", "50s")
	}
	n.kill()
	n.restart()
	n.ready()
	cl.must("start", "noop", "--id", "b", "--wait")
	n.freeze()
	eventually(t, "the session of a frozen node to end", func() bool { return cl.must("nodes", "-o", "json") == "" })
	n.thaw()
	cl.must("start", "noop", "--id", "c", "--wait")
}
