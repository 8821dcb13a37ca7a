package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// brief is a context that ends soon, with which a Stop gives little time.
func brief(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func TestStopGivesAttemptsTheTimeOfItsContext(t *testing.T) {
	r := newRanch(t)
	entered, finish := make(chan string, 1), make(chan struct{})
	r.handle("patient", func(ctx context.Context, a *runner.Attempt) (any, error) {
		entered <- a.ID()
		select {
		case <-finish:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	n := r.start(r.config())
	r.process("first", "patient")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- n.Stop(t.Context()) }()
	// It stops claiming at once, and goes on with what it has.
	soon(t, "the node stops claiming", func() bool {
		answer, err := r.system.Root.RequestFuture(n.RunnerPID(), poke(), time.Second).Result()
		return err == nil && answer.(*drove).Err != nil
	})
	r.process("second", "patient")
	select {
	case err := <-stopped:
		t.Fatalf("Stop returned with %v while an attempt ran", err)
	case <-time.After(600 * time.Millisecond): // longer than a poll
	}
	close(finish)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	r.completed("first")
	if p := r.get("second"); p.Status != registry.StatusPending || p.Attempt != 0 {
		t.Errorf("second is %s after %d attempts, want pending and 0", p.Status, p.Attempt)
	}
}

func TestStopHandsBackWhatStillRuns(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n := r.start(r.config())
	r.process("p", "lingering")
	<-lingering.entered
	if err := n.Stop(brief(t)); err != nil {
		t.Fatal(err)
	}
	lingering.want(t, runner.ErrShutdown)
	r.wantHandedBack("p")
	if nodes := r.nodes(); len(nodes) != 0 {
		t.Errorf("the session is not over: %+v", nodes)
	}
	if err := n.Err(); err != nil {
		t.Errorf("Err: %v", err)
	}
}

// wantHandedBack: an attempt, not an error.
func (r *ranch) wantHandedBack(id string) {
	r.t.Helper()
	p := r.get(id)
	if p.Status != registry.StatusPending || p.Errors != 0 || p.Adoptions != 0 || len(p.History) != 1 ||
		p.History[0].Error != registry.HandedBack {
		r.t.Errorf("process %+v, want it pending with one attempt that was handed back", p)
	}
}

func TestStopTwiceAndAtOnce(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n := r.start(r.config())
	r.process("p", "lingering")
	<-lingering.entered
	var stops sync.WaitGroup
	for range 5 {
		stops.Go(func() {
			if err := n.Stop(t.Context()); err != nil {
				t.Errorf("a patient Stop: %v", err)
			}
		})
	}
	// The first context to end counts.
	if err := n.Stop(brief(t)); err != nil {
		t.Errorf("a brief Stop: %v", err)
	}
	stops.Wait()
	if err := n.Stop(t.Context()); err != nil {
		t.Errorf("a late Stop: %v", err)
	}
	r.wantHandedBack("p")
}

func TestStopBeforeSpawnKeepsNodeFromBeginning(t *testing.T) {
	r := newRanch(t)
	n, err := supervisor.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	if n.PID() != nil || n.RunnerPID() != nil {
		t.Errorf("addresses before the spawn: %v, %v", n.PID(), n.RunnerPID())
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	closed(t, "done", n.Done())
	pid := r.system.Root.Spawn(n.Props())
	r.gone(pid)
	if nodes := r.nodes(); len(nodes) != 0 {
		t.Errorf("a stopped node joined: %+v", nodes)
	}
}

func TestHandlerThatIgnoresItsContextIsNamed(t *testing.T) {
	r := newRanch(t)
	entered, release := make(chan string, 2), make(chan struct{})
	r.handle("deaf", func(_ context.Context, a *runner.Attempt) (any, error) {
		entered <- a.ID()
		<-release
		return nil, nil
	})
	c := r.config()
	c.ShutdownTimeout = 900 * time.Millisecond
	n := r.start(c)
	r.process("deaf", "deaf")
	<-entered
	begun := time.Now()
	err := n.Stop(brief(t))
	stuck, ok := errors.AsType[*supervisor.StuckError](err)
	if !ok || !slices.Equal(stuck.Processes, []string{"deaf"}) {
		t.Errorf("Stop: %v, want a StuckError that names deaf", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("Stop took %s", took)
	}
	if nodes := r.nodes(); len(nodes) != 0 {
		t.Errorf("the session is not over: %+v", nodes)
	}
	if p := r.get("deaf"); p.Status != registry.StatusOrphaned {
		t.Errorf("deaf is %s, want orphaned: others take it over", p.Status)
	}
	// They do: and what the deaf handler returns then is not recorded.
	next := r.start(r.config())
	<-entered
	close(release)
	r.completed("deaf")
	if p := r.get("deaf"); p.Adoptions != 1 || p.Attempt != 2 {
		t.Errorf("deaf had %d adoptions and attempt %d, want 1 and 2", p.Adoptions, p.Attempt)
	}
	if err := next.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStopWithoutEtcdEnds(t *testing.T) {
	r, server := newRanchOfItsOwn(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	c := r.config()
	c.TTL, c.ShutdownTimeout = time.Minute, 1500*time.Millisecond
	n := r.start(c)
	r.process("p", "lingering")
	<-lingering.entered
	server.Stop()
	err := n.Stop(brief(t))
	if err == nil {
		t.Error("Stop succeeded without etcd")
	}
	if _, ok := errors.AsType[*supervisor.StuckError](err); ok {
		t.Errorf("Stop: %v, but no handler ignored its context", err)
	}
	lingering.want(t, runner.ErrShutdown)
	closed(t, "done", n.Done())
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	r, server := newRanchOfItsOwn(t)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := supervisor.Start(ctx, r.system, r.config())
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v, want DeadlineExceeded", err)
	}
	server.Restart()
	r.start(r.config()) // the name is free again
}

func TestStartRefusesNameThatIsTaken(t *testing.T) {
	r := newRanch(t)
	r.start(r.config())
	if _, err := supervisor.Start(t.Context(), r.system, r.config()); err == nil {
		t.Fatal("two nodes with one name")
	}
	c := r.config()
	c.Name = "second"
	if n := r.start(c); n.RunnerPID().Id != "second/runner" {
		t.Errorf("runner at %s, want second/runner", n.RunnerPID().Id)
	}
}
