package supervisor_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

func TestQueueHasAConcurrencyOfItsOwn(t *testing.T) {
	r := newRanch(t)
	var mu sync.Mutex
	running, most := map[string]int{}, map[string]int{}
	finish := make(chan struct{})
	both := make(chan struct{})
	r.handle("k", func(ctx context.Context, a *runner.Attempt) (any, error) {
		mu.Lock()
		running[a.Queue()]++
		most[a.Queue()] = max(most[a.Queue()], running[a.Queue()])
		if running["slow"] == 2 && running["fast"] == 8 {
			close(both)
		}
		mu.Unlock()
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			running[a.Queue()]--
		}()
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return nil, nil
	})
	c := r.config()
	c.Queues, c.MaxRunning, c.QueueLimits = []string{"slow", "fast"}, 10, map[string]int{"slow": 2}
	c.TTL, c.Poll = 10*time.Second, 10*time.Second // a slot that becomes free must wake it
	var ids []string
	for i := range 20 {
		for _, queue := range []string{"slow", "fast"} { // slow ones stand before fast ones
			id := fmt.Sprint(queue, i)
			ids = append(ids, id)
			spec := registry.Spec{ID: id, Kind: "k", Queue: queue, Disposition: registry.Rerunnable}
			if queue == "slow" {
				spec = spec.With(registry.Priority(0))
			}
			if _, err := r.registry.Start(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.start(c)
	closed(t, "both queues run all that they may", both)
	close(finish)
	begun := time.Now()
	r.completed(ids...)
	t.Logf("40 processes in %s", time.Since(begun))
	if took := time.Since(begun); took > 9*time.Second {
		t.Errorf("it took %s, want that nobody waits for a poll", took)
	}
	if most["slow"] != 2 || most["fast"] > 10 {
		t.Errorf("%v ran at a time, want 2 of slow at the most", most)
	}
}

func TestResumedQueueIsServedBeforeThePoll(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	c := r.config()
	c.TTL, c.Poll = 20*time.Second, 20*time.Second
	r.start(c)
	if err := r.registry.Pause(t.Context(), "default", "a test"); err != nil {
		t.Fatal(err)
	}
	r.process("p", "noop")
	if p := r.get("p"); p.Status != registry.StatusPending {
		t.Errorf("p is %s in a queue that is paused, want pending", p.Status)
	}
	begun := time.Now()
	if err := r.registry.Resume(t.Context(), "default"); err != nil {
		t.Fatal(err)
	}
	r.completed("p")
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s, want that nobody waits for a poll", took)
	}
}
