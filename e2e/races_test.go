package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

// TestCancelsRaceWithEnds: clients cancel what is just about to complete, fail, be run again, or be opened again.
func TestCancelsRaceWithEnds(t *testing.T) {
	t.Parallel()
	const namespace = "races"
	clients, each := 16, 25
	if *long {
		each = 250
	}
	c := newCluster(t, clusterOptions{Size: 1})
	j, tr, h := newJournal(t), follow(t, c.client(), namespace), newHistory()
	for i := range 2 {
		c.embed("go"+itoa(i+1), j, namespace, 5*time.Second)
	}
	r, err := registry.Open(t.Context(), c.client(), registry.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // nothing is under way any more
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for n := range clients {
		group.Go(func() {
			c, dice := caller{number: n, registry: r, history: h}, rand.New(rand.NewPCG(1, uint64(n)))
			for i := range each {
				c.race(ctx, dice, fmt.Sprintf("p%d-%d", n, i))
			}
		})
	}
	group.Wait()
	tr.upToDate(t)
	outcomes := map[string]int{}
	tr.with(func(v *verifier) {
		v.explain(j.read(t), nil)
		for _, problem := range append(v.problems, v.settled()...) {
			t.Error(problem)
		}
		for _, l := range v.lives {
			for _, e := range l.ends {
				outcomes[e.outcome]++
			}
		}
	})
	linearizable(t, h.operations)
	// To fail, one must do so twice before its cancel comes: on a busy machine none of a few hundred may be as quick.
	if h.unknown > 0 || outcomes["completed"] == 0 || outcomes["cancelled"] == 0 || *long && outcomes["failed"] == 0 {
		t.Errorf("%d calls were not answered, ends %v: want some of each outcome", h.unknown, outcomes)
	}
	t.Logf("ends %v", outcomes)
}

// race starts one process and cancels it about when it ends, some after a retry.
func (c caller) race(ctx context.Context, dice *rand.Rand, id string) {
	lasts := time.Duration(dice.IntN(20)) * time.Millisecond
	input, err := json.Marshal(goInput{Lasts: registry.Duration(lasts), Fails: dice.IntN(3)})
	if err != nil {
		panic(err) // two numbers
	}
	c.start(ctx, registry.Spec{
		ID: id, Kind: kindGo, Disposition: registry.Rerunnable, Input: input, MaxAttempts: 2,
	}.With(registry.ConstantBackoff(10*time.Millisecond)))
	for {
		<-time.After(lasts + time.Duration(dice.IntN(30))*time.Millisecond)
		c.cancel(ctx, id)
		c.wait(ctx, id)
		if dice.IntN(3) > 0 || ctx.Err() != nil {
			return
		}
		c.retry(ctx, id)
	}
}
