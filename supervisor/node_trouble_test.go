package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

func TestTwoNodesOfOneNameShareTheWork(t *testing.T) {
	t.Parallel()
	r := newRanch(t)
	const each = 8
	entered, finish := make(chan string, 2*each), make(chan struct{})
	r.handle("patient", func(_ context.Context, a *runner.Attempt) (any, error) {
		entered <- a.ID()
		<-finish
		return nil, nil
	})
	c := r.config()
	c.MaxRunning = each
	first := r.start(c)
	c.Name = "second"
	second := r.start(c)
	var ids []string
	for i := range 2 * each {
		ids = append(ids, fmt.Sprintf("p%02d", i))
		r.process(ids[i], "patient")
	}
	var got []string
	for range ids {
		got = append(got, <-entered)
	}
	slices.Sort(got)
	if !slices.Equal(got, ids) {
		t.Errorf("ran %v, want each once", got)
	}
	a, b := first.Health(), second.Health()
	if !a.Healthy || !b.Healthy || a.Running != each || b.Running != each || a.Session.ID == b.Session.ID {
		t.Errorf("health %+v and %+v", a, b)
	}
	close(finish)
	r.completed(ids...)
	// The end of one is not the end of the other.
	if err := first.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if nodes := r.nodes(); len(nodes) != 1 || nodes[0].Name != "test" || nodes[0].Session != b.Session.ID {
		t.Errorf("roster %+v, want the second alone", nodes)
	}
	r.process("last", "patient")
	r.completed("last")
}

func TestNodeOutlivesHandlersThatPanic(t *testing.T) {
	t.Parallel()
	r := newRanch(t)
	says := map[string]string{}
	for kind, c := range map[string]struct {
		does func()
		says string
	}{
		"error":  {func() { panic(errors.New("an error")) }, "an error"},
		"string": {func() { panic("a string") }, "a string"},
		"nil":    {func() { panic(nil) }, "nil"}, //nolint:govet // that is the point
		"goexit": {runtime.Goexit, "runtime.Goexit"},
		"index":  {func() { _ = []int{}[len(kindOf(nil))] }, "index out of range"},
	} {
		r.handle(kind, func(context.Context, *runner.Attempt) (any, error) { c.does(); return nil, nil })
		says[kind] = c.says
	}
	r.handle("noop", noop)
	n := r.start(r.config())
	kinds := []string{"error", "string", "nil", "goexit", "index"}
	for _, kind := range kinds {
		spec := registry.Spec{
			ID: kind, Kind: kind, Disposition: registry.Rerunnable, MaxAttempts: 2, Backoff: registry.Duration(time.Millisecond),
		}
		if _, err := r.registry.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range kinds {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if _, err := r.registry.Wait(ctx, kind); err != nil {
			t.Fatal(err)
		}
		cancel()
		if p := r.get(kind); p.Status != registry.StatusFailed || p.Errors != 2 || !strings.Contains(p.Error, says[kind]) {
			t.Errorf("%s: %s after %d errors, %q; want failed after 2, for %s", kind, p.Status, p.Errors, p.Error, says[kind])
		}
	}
	r.process("p", "noop")
	r.completed("p")
	if h := n.Health(); !h.Healthy || h.Running != 0 {
		t.Errorf("health %+v", h)
	}
}

func kindOf([]int) string { return "" }

func TestHandlerThatIgnoresItsContextIsShownAsStuck(t *testing.T) {
	t.Parallel()
	x := newTroubled(t, clientOf(t))
	entered, release := make(chan string, 2), make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	x.handle("deaf", func(_ context.Context, a *runner.Attempt) (any, error) {
		entered <- a.ID()
		if a.Number() == 1 {
			<-release
			return "too late", nil
		}
		return "in time", nil
	})
	x.begin()
	x.process("p", "deaf")
	<-entered
	// Its session is ended, so somebody else may run it: this very node.
	if err := x.registry.EndSession(t.Context(), x.nodes()[0], "a test says so"); err != nil {
		t.Fatal(err)
	}
	<-entered
	x.completed("p")
	h := x.ill("1 handlers are stuck")
	if len(h.Stuck) != 1 || h.Stuck[0].ID != "p" || h.Stuck[0].Attempt != 1 || h.Stuck[0].Why == "" || h.Running != 1 || !h.Ready {
		t.Errorf("health %+v", h)
	}
	if since := time.Since(h.Stuck[0].Since); since < 6*time.Second || since > 20*time.Second {
		t.Errorf("it is stuck for %s", since)
	}
	x.works("q")
	once.Do(func() { close(release) })
	x.well()
	if p := x.get("p"); string(p.Output) != `"in time"` || p.Attempt != 2 {
		t.Errorf("p has output %s of attempt %d, want that of the second", p.Output, p.Attempt)
	}
	for _, line := range []string{
		"a handler ignores that its context ended, its slot stays taken",
		"a handler that ignored that its context ended has returned",
	} {
		if n := x.said(line); n != 1 {
			t.Errorf("%q was logged %d times, want once", line, n)
		}
	}
}

func TestStopDuringDrivesLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRanch(t)
	r.handle("noop", noop)
	var ids []string
	var specs sync.WaitGroup
	for i := range 400 {
		id := fmt.Sprintf("p%03d", i)
		ids = append(ids, id)
		specs.Go(func() { r.process(id, "noop") })
	}
	specs.Wait()
	for i := range 5 {
		c := r.config()
		c.Name, c.MaxRunning, c.TTL = fmt.Sprintf("brief%d", i), 10, 10*time.Second
		n := r.start(c)
		if i%2 == 0 {
			n.Poker().Poke()
		}
		if err := n.Stop(brief(t)); err != nil {
			t.Errorf("stop %d: %v", i, err)
		}
		if h := n.Health(); h.Healthy || h.Ready || !h.Stopping || !strings.Contains(strings.Join(h.Problems, " "), "the node has ended") {
			t.Errorf("after the end: %+v", h)
		}
	}
	c := r.config()
	c.TTL = 10 * time.Second // so that a busy machine costs no session
	r.start(c)
	r.completed(ids...)
	for _, id := range ids {
		if p := r.get(id); p.Errors != 0 || p.Adoptions != 0 {
			t.Errorf("%s had %d errors and %d adoptions, want none", id, p.Errors, p.Adoptions)
		}
	}
}
