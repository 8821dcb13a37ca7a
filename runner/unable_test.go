package runner_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// moody has b's node run "moody" while it is told so, and "steady" always.
func moody(b *bench) (ready *atomic.Bool) {
	ready = new(atomic.Bool)
	b.mux = runner.NewMux()
	b.mux.Handle("moody", registry.Rerunnable, runner.HandlerFunc(noop), runner.WhileReady(ready.Load))
	b.mux.Handle("steady", registry.Rerunnable, runner.HandlerFunc(noop))
	b.runner = b.make("default")
	return ready
}

func TestWhatCannotBeRunNowIsNotClaimedAndTakesNobodysPlace(t *testing.T) {
	b := newBench(t, 1)
	ready := moody(b)
	for _, id := range []string{"a", "b", "c"} { // more than a list for one slot has room for
		b.start(id, "moody", registry.Priority(0))
	}
	b.start("z", "steady")
	if d := b.look(); d.Claimed != 1 || d.Starved {
		t.Errorf("drove %+v, want one claimed and nothing more waiting", d)
	}
	if got, want := ids(b.empty()), []string{"z"}; !slices.Equal(got, want) {
		t.Fatalf("claimed %v, want %v", got, want)
	}
	if p := b.get("a"); p.Status != registry.StatusPending || p.Attempt != 0 {
		t.Errorf("a is %s with %d attempts, want it untouched", p.Status, p.Attempt)
	}
	if b.runner.Notice(registry.Entry{ID: "a", Kind: "moody", Queue: "default"}) {
		t.Error("a drive is to be made for what can't be claimed")
	}
	ready.Store(true)
	b.drive()
	if got, want := ids(b.empty()), []string{"a"}; !slices.Equal(got, want) {
		t.Errorf("once it can be run: claimed %v, want %v", got, want)
	}
}

// The others get their time to, as it is theirs to run.
func TestOrphansThatCannotBeRunNowAreLeftToOthers(t *testing.T) {
	b := newBench(t, 30)
	ready := moody(b)
	ready.Store(true)
	var all []string
	for i := range 30 { // so many that some are its own by rank
		all = append(all, fmt.Sprint("p", i))
	}
	p := b.peer("dead", len(all), lease.Identity{})
	for _, id := range all {
		b.start(id, "moody")
	}
	p.look()
	if got := p.empty(); len(got) != len(all) {
		t.Fatalf("the peer runs %v, want all", ids(got))
	}
	p.die()
	b.silent("moody")
	ready.Store(false)
	if d := b.look(); d.Claimed != 0 || d.Next.IsZero() {
		t.Errorf("drove %+v, want none claimed, and another look soon", d)
	}
	for _, id := range all {
		if p := b.get(id); p.Status != registry.StatusOrphaned {
			t.Errorf("%s is %s, want it left as it is", id, p.Status)
		}
	}
	ready.Store(true)
	if d := b.look(); d.Claimed == 0 {
		t.Errorf("once it can be run nothing is taken over: %+v, p0 is %+v", d, b.get("p0"))
	}
}
