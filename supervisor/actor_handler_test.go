package supervisor_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// actor makes a handler of an actor that stops when it is cancelled.
func (r *ranch) actor(kind string, attempt func(c actor.Context, a *actors.Attempt)) {
	r.mux.Handle(kind, registry.Rerunnable, actors.HandlerFromProps(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actors.Attempt:
			attempt(c, m)
		case *actors.Cancelled:
			c.Stop(c.Self())
		}
	})))
}

func (r *ranch) ended(id string) registry.Process {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	p, err := r.registry.Wait(ctx, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func TestHandlersThatAreActors(t *testing.T) {
	r := newRanch(t)
	r.actor("value", func(c actor.Context, a *actors.Attempt) { c.Respond(map[string]any{"id": a.ID(), "n": a.Number()}) })
	r.actor("fail", func(c actor.Context, _ *actors.Attempt) { c.Respond(runner.Fail(errors.New("no good"))) })
	r.actor("retry", func(c actor.Context, a *actors.Attempt) {
		if a.Number() < 3 {
			c.Respond(runner.RetryAfter(time.Millisecond, errors.New("not yet")))
			return
		}
		c.Respond("at last")
	})
	var panics atomic.Int64
	r.actor("panic", func(actor.Context, *actors.Attempt) {
		panics.Add(1)
		panic("fell over")
	})
	r.actor("silent", func(c actor.Context, _ *actors.Attempt) { c.Stop(c.Self()) })
	n := r.start(r.config())
	for _, kind := range []string{"value", "fail", "retry", "panic", "silent"} {
		spec := registry.Spec{ID: kind, Kind: kind, Disposition: registry.Rerunnable, MaxAttempts: 1}
		if kind == "retry" {
			spec.MaxAttempts = 5
		}
		if _, err := n.Driver().Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]struct {
		status   registry.Status
		output   string
		err      string
		attempts int
	}{
		"value":  {registry.StatusCompleted, `{"id":"value","n":1}`, "", 1},
		"fail":   {registry.StatusFailed, "", "no good", 1},
		"retry":  {registry.StatusCompleted, `"at last"`, "", 3},
		"panic":  {registry.StatusFailed, "", "panic: fell over", 1},
		"silent": {registry.StatusFailed, "", "the actor stopped without an answer", 1},
	} {
		p := r.ended(id)
		if p.Status != want.status || string(p.Output) != want.output || p.Error != want.err || p.Attempt != want.attempts {
			t.Errorf("%s: %s after %d attempts, output %s, error %q; want %+v", id, p.Status, p.Attempt, p.Output, p.Error, want)
		}
	}
	if got := panics.Load(); got != 1 {
		t.Errorf("the actor that panicked was given the attempt %d times, want once", got)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestActorWritesUnderItsClaim(t *testing.T) {
	r := newRanch(t)
	r.actor("step", func(c actor.Context, a *actors.Attempt) {
		var kept string
		found, err := a.Restore("one", &kept)
		switch {
		case err != nil:
			c.Respond(err)
		case found:
			c.Respond(kept)
		default:
			if err := a.Checkpoint(a.Context, "one", "kept"); err != nil {
				c.Respond(err)
				return
			}
			c.Respond(runner.RetryAfter(time.Millisecond, errors.New("half done")))
		}
	})
	n := r.start(r.config())
	r.process("p", "step")
	if p := r.ended("p"); string(p.Output) != `"kept"` || p.Attempt != 2 {
		t.Errorf("p is %s with %s (%s) after %d attempts, want what the first one kept", p.Status, p.Output, p.Error, p.Attempt)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelReachesHandlerThatIsAnActor(t *testing.T) {
	r := newRanch(t)
	entered := make(chan string, 1)
	r.actor("lingering", func(_ actor.Context, a *actors.Attempt) { entered <- a.ID() })
	n := r.start(r.config())
	r.process("p", "lingering")
	<-entered
	if _, err := r.registry.Cancel(t.Context(), "p", registry.Request{Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if p := r.ended("p"); p.Status != registry.StatusCancelled {
		t.Errorf("p is %s, want cancelled", p.Status)
	}
	// A stop that is hard, too.
	r.process("q", "lingering")
	<-entered
	if err := n.Stop(brief(t)); err != nil {
		t.Fatal(err)
	}
	r.wantHandedBack("q")
}

// What the actor's children do in their end, they do before somebody else can
// run the process.
func TestActorsChildrenEndBeforeTheOutcome(t *testing.T) {
	r := newRanch(t)
	statuses := make(chan registry.Status, 1)
	child := actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(*actor.Stopping); ok {
			p, err := r.registry.Get(context.Background(), "p")
			if err != nil {
				t.Error(err)
			}
			statuses <- p.Status
		}
	})
	r.actor("parent", func(c actor.Context, _ *actors.Attempt) {
		c.Spawn(child)
		c.Respond("done")
	})
	n := r.start(r.config())
	r.process("p", "parent")
	r.completed("p")
	if got := <-statuses; got != registry.StatusRunning {
		t.Errorf("p was %s when the child ended, want running", got)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStartAndAwaitAsMessages(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", func(context.Context, *runner.Attempt) (any, error) { return json.RawMessage("7"), nil })
	n := r.start(r.config())
	answers := make(chan any, 10)
	asker := r.system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *actors.Accepted, *actors.Refused, *actors.Ended:
			answers <- m
		}
	}))
	t.Cleanup(func() { r.system.Root.Stop(asker); r.gone(asker) })
	ask := func(m any) { r.system.Root.RequestWithCustomSender(n.PID(), m, asker) }
	next := func() any {
		select {
		case m := <-answers:
			return m
		case <-time.After(patience):
			t.Fatal("no answer")
			return nil
		}
	}
	spec := registry.Spec{ID: "p", Kind: "noop", Disposition: registry.Rerunnable}
	ask(&actors.Start{Spec: spec, Await: true})
	if m, ok := next().(*actors.Accepted); !ok || m.ID != "p" || m.Existing {
		t.Errorf("answer %+v, want that p is accepted", m)
	}
	if m, ok := next().(*actors.Ended); !ok || m.Err != nil || m.Process.Status != registry.StatusCompleted || string(m.Process.Output) != "7" {
		t.Errorf("answer %+v, want that p has completed with 7", m)
	}
	ask(&actors.Start{Spec: spec})
	if m, ok := next().(*actors.Accepted); !ok || !m.Existing {
		t.Errorf("answer %+v, want that p exists", m)
	}
	ask(&actors.Start{Spec: registry.Spec{Kind: "noop"}})
	if m, ok := next().(*actors.Refused); !ok || !errors.Is(m.Err, registry.ErrInvalid) {
		t.Errorf("answer %+v, want ErrInvalid", m)
	}
	ask(&actors.Await{ID: "unknown"})
	if m, ok := next().(*actors.Ended); !ok || !errors.Is(m.Err, registry.ErrNotFound) {
		t.Errorf("answer %+v, want ErrNotFound", m)
	}
	// Who waits when the node ends is told.
	r.process("q", "unknown")
	ask(&actors.Await{ID: "q"})
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if m, ok := next().(*actors.Ended); !ok || m.ID != "q" || !errors.Is(m.Err, actors.ErrStopped) {
		t.Errorf("answer %+v, want ErrStopped", m)
	}
}

func TestProcessEndedIsPublishedIfAskedFor(t *testing.T) {
	for _, asked := range []bool{false, true} {
		r := newRanch(t)
		r.handle("noop", noop)
		r.handle("fail", func(context.Context, *runner.Attempt) (any, error) { return nil, runner.Fail(errors.New("no")) })
		ended := make(chan *actors.ProcessEnded, 10)
		r.system.EventStream.Subscribe(func(event any) {
			if m, ok := event.(*actors.ProcessEnded); ok {
				ended <- m
			}
		})
		c := r.config()
		c.PublishEnded = asked
		n := r.start(c)
		session := r.nodes()[0].Session
		r.process("p", "noop")
		r.completed("p")
		r.process("q", "fail")
		r.ended("q")
		if err := n.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		close(ended)
		var got []actors.ProcessEnded
		for m := range ended {
			m.Fence = 0 // some revision
			got = append(got, *m)
		}
		if !asked {
			if len(got) > 0 {
				t.Errorf("published unasked: %+v", got)
			}
			continue
		}
		want := []actors.ProcessEnded{
			{Node: "test", Session: session, ID: "p", Kind: "noop", Queue: "default", Attempt: 1, Outcome: registry.Completed},
			{Node: "test", Session: session, ID: "q", Kind: "fail", Queue: "default", Attempt: 1, Outcome: registry.Failed},
		}
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("published %+v, want %+v", got, want)
		}
	}
}

// What can't be run again is given up by the node that leaves it, while it
// still may say so.
func TestStopAbandonsOwnerBoundWork(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.mux.Handle("bound", registry.OwnerBound, runner.HandlerFunc(lingering.run))
	n := r.start(r.config())
	spec := registry.Spec{ID: "p", Kind: "bound", Disposition: registry.OwnerBound}
	if _, err := r.registry.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	<-lingering.entered
	if err := n.Stop(brief(t)); err != nil {
		t.Fatal(err)
	}
	lingering.want(t, runner.ErrShutdown)
	p := r.get("p")
	if p.Status != registry.StatusAbandoned || p.Evidence == nil || p.Evidence.What != "owner drain" {
		t.Errorf("p is %s by %+v, want it abandoned by the owner's drain", p.Status, p.Evidence)
	}
}
