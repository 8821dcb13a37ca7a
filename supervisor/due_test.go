package supervisor_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// onTime waits for what a handler says of its delay, and logs it. The bound is
// far from what is normal, for a machine with other things to do; a poll is
// much farther.
func onTime(t *testing.T, late <-chan time.Duration, n int) {
	t.Helper()
	var all []time.Duration
	for range n {
		select {
		case d := <-late:
			all = append(all, d)
		case <-time.After(patience):
			t.Fatalf("%d of %d ran", len(all), n)
		}
	}
	slices.Sort(all)
	median := all[len(all)/2]
	t.Logf("late by %s in the median, %s at the most", median, all[len(all)-1])
	if all[0] < 0 || median > 500*time.Millisecond {
		t.Errorf("late by %v, want that they run when they are due", all)
	}
}

func (r *ranch) punctual() <-chan time.Duration {
	late := make(chan time.Duration, 100)
	runner.NewKind[time.Time, any]("punctual", registry.Rerunnable).Handle(r.mux,
		func(_ context.Context, _ *runner.Attempt, due time.Time) (any, error) {
			late <- time.Since(due)
			return nil, nil
		})
	return late
}

func (r *ranch) startAt(id string, due time.Time) {
	r.t.Helper()
	input, err := registry.Encode(due)
	if err != nil {
		r.t.Fatal(err)
	}
	spec := registry.Spec{ID: id, Kind: "punctual", Disposition: registry.Rerunnable, Input: input, DueAt: due}
	if _, err := r.registry.Start(r.t.Context(), spec); err != nil {
		r.t.Fatal(err)
	}
}

func TestDueTimesAreMetBetweenPolls(t *testing.T) {
	r := newRanch(t)
	late := r.punctual()
	c := r.config()
	c.TTL, c.Poll = 10*time.Second, 10*time.Second
	// Before the node is there: it finds them when it begins.
	begun := time.Now()
	for i := range 3 {
		r.startAt(fmt.Sprint("early", i), begun.Add(3*time.Second+time.Duration(i)*700*time.Millisecond))
	}
	r.start(c)
	// And while it is: the watch tells it, in whatever order.
	for _, i := range []int{3, 1, 4, 2, 0} {
		r.startAt(fmt.Sprint("p", i), begun.Add(3300*time.Millisecond+time.Duration(i)*500*time.Millisecond))
	}
	onTime(t, late, 8)
}

func TestDueTimesSurviveRestart(t *testing.T) {
	r := newRanch(t)
	late := r.punctual()
	c := r.config()
	c.TTL, c.Poll = 10*time.Second, 10*time.Second
	n := r.start(c)
	r.startAt("p", time.Now().Add(2500*time.Millisecond))
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.start(c)
	onTime(t, late, 1)
}
