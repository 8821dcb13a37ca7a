package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

// TestCutOffNodesStopBeforeAnotherOneGoesOn: however a node is kept from etcd, the contexts of its handlers have ended
// before another node runs the same.
func TestCutOffNodesStopBeforeAnotherOneGoesOn(t *testing.T) {
	t.Parallel()
	const namespace, many = "cutoff", 60
	c := newCluster(t, clusterOptions{})
	j, tr, h := newJournal(t), follow(t, c.client(), namespace), newHistory()
	r, err := registry.Open(t.Context(), c.client(), registry.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // nothing is under way any more
	weathers := map[string]func(*proxy){
		"cut": (*proxy).cut, "half-open": (*proxy).blackhole, "deaf": (*proxy).holdDown, "mute": (*proxy).holdUp,
	}
	nodes := map[string]*node{}
	for name := range weathers {
		nodes[name] = c.embed(name, j, namespace, 2*time.Second)
	}
	client := caller{registry: r, history: h}
	for i := range many {
		client.start(t.Context(), registry.Spec{
			ID: fmt.Sprint("p", i), Kind: kindGo, Disposition: registry.Rerunnable, Input: []byte(`{"lasts":"8s"}`),
		})
	}
	eventually(t, "all to run", func() bool { return len(j.read(t)) >= many })
	c.embed("well", j, namespace, 2*time.Second)
	for name, n := range nodes {
		n.network(weathers[name])
	}
	for i := range many {
		client.wait(t.Context(), fmt.Sprint("p", i))
	}
	for _, n := range nodes {
		n.network((*proxy).heal)
	}
	tr.upToDate(t)
	lost := map[string]int{} // by node
	tr.with(func(v *verifier) {
		v.explain(j.read(t), nil)
		for _, problem := range append(v.problems, v.settled()...) {
			t.Error(problem)
		}
		for _, l := range v.lives {
			if p := l.row.History[0]; strings.HasPrefix(p.Error, lostWithNode) {
				lost[p.Node]++
			}
		}
	})
	if len(lost) != len(weathers) {
		t.Errorf("attempts were lost with %v, want some of all %d nodes", lost, len(weathers))
	}
	linearizable(t, h.operations)
}
