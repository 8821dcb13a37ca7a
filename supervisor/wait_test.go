package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// family is a kind whose processes start one of the next generation, wait for
// it, and return how many generations there are.
type family struct {
	kind    runner.Kind[int, int]
	on      runner.Starter
	running atomic.Int64 // those that don't wait
	most    atomic.Int64 // at a time
}

func newFamily(r *ranch, on runner.Starter) *family {
	f := &family{on: on}
	f.kind = runner.NewKind[int, int]("family", registry.Rerunnable)
	f.kind.Handle(r.mux, func(ctx context.Context, a *runner.Attempt, depth int) (int, error) {
		f.begin()
		defer f.running.Add(-1)
		if depth == 0 {
			return 1, nil
		}
		child, err := f.kind.Start(ctx, f.on, depth-1, registry.ID(a.ID()+"/child"))
		if err != nil {
			return 0, err
		}
		f.running.Add(-1)
		n, err := child.Wait(ctx)
		f.begin()
		return n + 1, err
	})
	return f
}

func (f *family) begin() {
	now := f.running.Add(1)
	for {
		most := f.most.Load()
		if now <= most || f.most.CompareAndSwap(most, now) {
			return
		}
	}
}

func (f *family) start(t *testing.T, id string, depth int) runner.Ref[int] {
	t.Helper()
	ref, err := f.kind.Start(t.Context(), f.on, depth, registry.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestParentGivesItsSlotToItsChild(t *testing.T) {
	for name, on := range map[string]func(r *registry.Registry) runner.Starter{
		"on a driver":     func(r *registry.Registry) runner.Starter { return supervisor.NewDriver(r, actors.Poker{}) },
		"on the registry": func(r *registry.Registry) runner.Starter { return r },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRanch(t)
			f := newFamily(r, on(r.registry))
			c := r.config()
			c.MaxRunning = 1
			n := r.start(c)
			for i := range 5 {
				if got, err := f.start(t, fmt.Sprint("p", i), 2).Wait(t.Context()); err != nil || got != 3 {
					t.Fatalf("%d generations, %v; want 3", got, err)
				}
			}
			// And many side by side, whose parents come back all at once.
			var refs []runner.Ref[int]
			for i := range 10 {
				refs = append(refs, f.start(t, fmt.Sprint("q", i), 2))
			}
			for _, ref := range refs {
				if got, err := ref.Wait(t.Context()); err != nil || got != 3 {
					t.Fatalf("%d generations, %v; want 3", got, err)
				}
			}
			if most := f.most.Load(); most != 1 {
				t.Errorf("%d ran at a time, want 1", most)
			}
			if p := r.get("p0"); p.Attempt != 1 || len(p.History) > 1 {
				t.Errorf("the parent needed %d attempts, want 1", p.Attempt)
			}
			if err := n.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStopHandsBackParentWhoseChildDoesNotRun(t *testing.T) {
	r := newRanch(t)
	entered, causes := make(chan struct{}), make(chan error, 1)
	r.handle("parent", func(ctx context.Context, _ *runner.Attempt) (any, error) {
		close(entered)
		_, err := runner.Await(ctx, r.registry, "child")
		causes <- context.Cause(ctx)
		return nil, err
	})
	n := r.start(r.config())
	r.process("child", "unknown")
	r.process("p", "parent")
	<-entered
	if err := n.Stop(brief(t)); err != nil {
		t.Fatal(err)
	}
	if cause := <-causes; !errors.Is(cause, runner.ErrShutdown) {
		t.Errorf("the parent's context ended with %v, want ErrShutdown", cause)
	}
	r.wantHandedBack("p")
}

func TestCancelReachesParentThatWaits(t *testing.T) {
	r := newRanch(t)
	entered := make(chan struct{})
	r.handle("parent", func(ctx context.Context, _ *runner.Attempt) (any, error) {
		close(entered)
		return runner.Await(ctx, r.registry, "child")
	})
	c := r.config()
	c.MaxRunning = 1
	n := r.start(c)
	r.process("child", "unknown")
	r.process("p", "parent")
	<-entered
	if _, err := r.registry.Cancel(t.Context(), "p", registry.Request{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	p, err := r.registry.Wait(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	if p.Status != registry.StatusCancelled {
		t.Errorf("p is %s, want cancelled", p.Status)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
