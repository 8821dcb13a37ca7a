package runner_test

import (
	"context"
	"errors"
	"os/exec"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

func TestOwnerBoundWorkFailsInsteadOfBeingRunAgain(t *testing.T) {
	for name, test := range map[string]struct {
		returned error
		errors   int
		why      string
	}{
		"an error":         {errBroken, 1, "broken"},
		"a retry later":    {runner.RetryAfter(time.Minute, errBroken), 1, "broken"},
		"a snooze":         {runner.Snooze(time.Minute), 1, "snoozed for 1m0s"},
		"a wrapped snooze": {errors.Join(errBroken, runner.Snooze(time.Minute)), 1, "broken\nsnoozed for 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, registry.OwnerBound, func(context.Context, *runner.Attempt) (any, error) { return nil, test.returned })
			b.start("x", "k", ownerBound)
			report := b.runNext(t.Context())
			p := b.get("x")
			if report.Outcome != registry.Failed || p.Errors != test.errors || p.Error != test.why || p.OutcomeReason != "owner-bound work is not run again" {
				t.Errorf("%+v after %d errors: %s (%s)", report, p.Errors, p.Error, p.OutcomeReason)
			}
		})
	}
}

func TestOwnerBoundWorkThatTimesOutFails(t *testing.T) {
	b := newBenchOf(t, registry.OwnerBound, stuck, runner.WithAttemptTimeout(5*time.Millisecond))
	b.start("x", "k", ownerBound)
	report := b.runNext(t.Context())
	if p := b.get("x"); report.Outcome != registry.Failed || p.Error != "attempt timed out" {
		t.Errorf("%+v: %s", report, p.Error)
	}
}

// Its owner knows that the handler has ended, so nobody has to prove it.
func TestAShutdownAbandonsOwnerBoundWork(t *testing.T) {
	ctx, shutdown := context.WithCancelCause(t.Context())
	returned := false
	b := newBenchOf(t, registry.OwnerBound, func(ctx context.Context, _ *runner.Attempt) (any, error) {
		shutdown(runner.ErrShutdown)
		<-ctx.Done()
		returned = true
		return nil, runner.WithOutput(errBroken, "half")
	})
	b.start("x", "k", ownerBound)
	report := b.runNext(ctx)
	p := b.get("x")
	if report.Outcome != registry.Abandoned || !returned || p.Status != registry.StatusAbandoned || p.Error != "broken" || string(p.Output) != `"half"` {
		t.Fatalf("%+v, returned %t: %+v", report, returned, p)
	}
	if e := p.Evidence; e == nil || e.What != "owner drain" || e.Node != "n1" || e.Session != b.session.ID() {
		t.Errorf("evidence %+v", e)
	}
	if p.Errors != 0 || p.Attempt != 1 || len(p.History) != 1 {
		t.Errorf("%d errors, %d attempts, history %+v", p.Errors, p.Attempt, p.History)
	}
}

func TestOwnerBoundWorkThatWasNotEnteredIsGivenBack(t *testing.T) {
	entered := 0
	b := newBenchOf(t, registry.OwnerBound, func(context.Context, *runner.Attempt) (any, error) { entered++; return nil, nil })
	b.start("x", "k", ownerBound)
	ctx, shutdown := context.WithCancelCause(t.Context())
	shutdown(runner.ErrShutdown)
	b.runNext(ctx)
	if p := b.get("x"); entered != 0 || p.Status != registry.StatusPending || p.Attempt != 0 {
		t.Fatalf("entered %d times, %s after %d attempts", entered, p.Status, p.Attempt)
	}
	if err := b.runner.Release(t.Context(), b.claimed()); err != nil {
		t.Fatal(err)
	}
	if report := b.runNext(t.Context()); report.Outcome != registry.Completed || entered != 1 {
		t.Errorf("then %+v, entered %d times", report, entered)
	}
}

// interloper is slots that let something happen between the list of a drive
// and its claims: the drive asks for the room in queues before it lists, and
// for free slots again before it claims.
type interloper struct {
	*bench
	lists bool
	act   func()
}

func (i *interloper) FreeIn(queue string) int {
	i.lists = true
	return i.bench.FreeIn(queue)
}

func (i *interloper) Free() int {
	if act := i.act; i.lists && act != nil {
		i.act = nil
		act()
	}
	return i.bench.Free()
}

// A peer that starts owner-bound work and dies between this node's list and
// its claim must not get it run twice.
func TestOwnerBoundWorkOfAPeerThatDiesIsNotRunTwice(t *testing.T) {
	kernel, peer := process(t)
	entered, dead := 0, false
	var a, b *bench
	a = newBenchOf(t, registry.OwnerBound, func(context.Context, *runner.Attempt) (any, error) {
		entered++
		b.die()
		return "unheard", nil
	})
	a.start("x", "k", ownerBound)
	b = a.peer("n2", 1, peer)
	slots := &interloper{bench: a, act: func() {
		if report := b.runNext(t.Context()); !errors.Is(report.Err, runner.ErrLeaseLost) {
			t.Errorf("the peer: %+v, want its session to be over", report)
		}
		dead = true
	}}
	r, err := runner.New(runner.Options{
		Registry: a.registry, Mux: a.mux, Slots: slots, Queues: []string{"default"},
		Session: func() *registry.Session { return a.session },
	})
	if err != nil {
		t.Fatal(err)
	}
	a.runner = r
	if d := a.drive(); !dead || d.Claimed != 0 {
		t.Fatalf("%+v, and the peer died meanwhile: %t", d, dead)
	}
	for range 3 {
		a.look()
		if p := a.get("x"); p.Status != registry.StatusOrphaned || len(a.empty()) != 0 {
			t.Fatalf("%s, want it orphaned while nothing proves that its holder is dead", p.Status)
		}
	}
	kernel.kill()
	a.look()
	p := a.get("x")
	if p.Status != registry.StatusAbandoned || p.Attempt != 1 || p.Adoptions != 0 || entered != 1 {
		t.Errorf("%s after %d attempts and %d adoptions, entered %d times", p.Status, p.Attempt, p.Adoptions, entered)
	}
	if e := p.Evidence; e == nil || e.What != "proof of death" || e.Node != "n2" || e.Session != b.session.ID() || e.Proof == "" {
		t.Errorf("evidence %+v", e)
	}
	if len(p.History) != 1 || p.History[0].Error != "session lost" || p.History[0].Node != "n2" {
		t.Errorf("history %+v", p.History)
	}
}

// Listed, and put back under the very same key in the meantime: a claim is
// made of what was listed, or not at all.
func TestAClaimIsOfTheProcessAsItWasListed(t *testing.T) {
	entered := 0
	a := newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) {
		entered++
		return nil, runner.RetryAfter(0, errBroken)
	})
	a.start("x", "k")
	entries, _, err := a.runner.Window().List(t.Context(), 10, nil)
	if err != nil || len(entries) != 1 {
		t.Fatalf("listed %d, error %v", len(entries), err)
	}
	a.peer("n2", 1, lease.Identity{}).runNext(t.Context())
	if p := a.get("x"); p.Status != registry.StatusPending || entered != 1 {
		t.Fatalf("%s, entered %d times", p.Status, entered)
	}
	if _, err := a.registry.Claim(t.Context(), a.session, entries[0]); !errors.Is(err, registry.ErrNotClaimable) {
		t.Errorf("claimed what was listed before: %v, want ErrNotClaimable", err)
	}
}

type victim struct {
	t       *testing.T
	command *exec.Cmd
}

// process starts a process that can be killed, for a node to be.
func process(t *testing.T) (victim, lease.Identity) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sleep", "600")
	if err := command.Start(); err != nil {
		t.Skip("there is nothing to kill: ", err)
	}
	v := victim{t, command}
	t.Cleanup(v.kill)
	self, err := lease.Of(command.Process.Pid)
	if err != nil || self.BootID == "" {
		t.Skip("this system can't prove that a process is gone: ", err)
	}
	return v, self
}

func (v victim) kill() {
	_ = v.command.Process.Kill() // or it is gone
	_ = v.command.Wait()         // it was killed, which is an error
}
