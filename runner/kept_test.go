package runner_test

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// orphan makes an orphan of the owner-bound process x, which b has seen.
func orphan(t *testing.T, self lease.Identity, opts ...registry.StartOption) *bench {
	t.Helper()
	b := newBenchOf(t, registry.OwnerBound, noop)
	b.clock.stop()
	b.start("x", "k", append(opts, ownerBound)...)
	peer := b.peer("n2", 1, self)
	peer.claimed().Enter()
	peer.die()
	b.look()
	if p := b.get("x"); p.Status != registry.StatusOrphaned {
		t.Fatalf("%s, want orphaned", p.Status)
	}
	return b
}

func TestAnOrphanThatIsKeptIsEndedOnProof(t *testing.T) {
	kernel, self := process(t)
	b := orphan(t, self)
	kernel.kill()
	b.look()
	if p := b.get("x"); p.Status != registry.StatusAbandoned || p.Evidence == nil || p.Evidence.What != "proof of death" {
		t.Errorf("%s with the evidence %+v", p.Status, p.Evidence)
	}
}

func TestAnOrphanThatIsKeptIsEndedWhenItsDeadlinePasses(t *testing.T) {
	b := orphan(t, lease.Identity{}, registry.Deadline(time.Hour))
	b.clock.advance(time.Hour)
	b.look() // which makes the request
	b.look()
	p := b.get("x")
	if p.Status != registry.StatusFailed || p.OutcomeReason != "deadline passed" || p.Error != "session lost" || p.CancelRequested != nil {
		t.Errorf("%s: %s (%s), request %+v", p.Status, p.Error, p.OutcomeReason, p.CancelRequested)
	}
	if len(b.empty()) != 0 {
		t.Error("it was run again")
	}
}

func TestAnOrphanThatIsKeptIsEndedWhenSomebodyAbandonsIt(t *testing.T) {
	b := orphan(t, lease.Identity{})
	if _, err := b.registry.Cancel(t.Context(), "x", registry.Request{By: "me"}); err != nil {
		t.Fatal(err)
	}
	b.look()
	if p := b.get("x"); p.Status != registry.StatusOrphaned {
		t.Fatalf("%s, want it orphaned: only its holder can cancel it", p.Status)
	}
	ended, err := b.registry.Abandon(t.Context(), "x", registry.Request{By: "me", Reason: "the machine burnt down"})
	if err != nil || !ended {
		t.Fatalf("ended %t, error %v", ended, err)
	}
	b.look()
	p := b.get("x")
	if e := p.Evidence; p.Status != registry.StatusAbandoned || e == nil || e.What != "abandon request" || e.By != "me" || e.Reason != "the machine burnt down" {
		t.Errorf("%s with the evidence %+v", p.Status, p.Evidence)
	}
}

// The request was made while its holder lived, who died before he answered.
func TestAnAbandonRequestOutlivesTheHolder(t *testing.T) {
	b := newBenchOf(t, registry.OwnerBound, noop)
	b.start("x", "k", ownerBound)
	peer := b.peer("n2", 1, lease.Identity{})
	peer.claimed().Enter()
	if ended, err := b.registry.Abandon(t.Context(), "x", registry.Request{By: "me"}); err != nil || ended {
		t.Fatalf("ended %t, error %v, want it asked for", ended, err)
	}
	peer.die()
	b.look()
	p := b.get("x")
	if e := p.Evidence; p.Status != registry.StatusAbandoned || e == nil || e.What != "abandon request" || e.By != "me" {
		t.Errorf("%s with the evidence %+v", p.Status, e)
	}
}

// However many there are: they are reported once, and those that can be taken
// over are found behind them.
func TestOrphansThatAreKeptAreInNobodysWay(t *testing.T) {
	const many = 4
	core, logs := observer.New(zap.WarnLevel)
	b := newBench(t, 1)
	b.mux.Handle("bound", registry.OwnerBound, runner.HandlerFunc(noop))
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(noop))
	b.start("z", "k")
	for i := range many {
		b.start(fmt.Sprint("x", i), "bound", ownerBound)
	}
	peer := b.peer("n2", 2*many, lease.Identity{})
	peer.drive()
	if n := len(peer.empty()); n != many+1 {
		t.Fatalf("the peer claimed %d", n)
	}
	peer.die()
	b.log = zap.New(core)
	b.runner = b.make("default")
	b.runner.LimitOrphans(many - 1)
	if d := b.look(); d.Next.IsZero() || d.Next.After(time.Now()) {
		t.Errorf("drove %+v, want it to go on at once", d)
	}
	b.look()
	if got := ids(b.empty()); len(got) != 1 || got[0] != "z" {
		t.Errorf("adopted %v, want z", got)
	}
	if d := b.look(); !d.Next.IsZero() {
		t.Errorf("drove %+v, want nothing left to do", d)
	}
	if n := logs.Len(); n != many {
		t.Errorf("%d lines of log, want one for each orphan", n)
	}
}

func TestAnOrphanThatCantBeReadIsReportedOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	b := newBenchOf(t, registry.Rerunnable, noop)
	b.log = zap.New(core)
	b.runner = b.make("default")
	b.start("x", "k")
	peer := b.peer("n2", 1, lease.Identity{})
	peer.drive()
	if _, err := etcdtest.Client(t).Put(t.Context(), "/"+b.space+"/v1/process/x", "garbage"); err != nil {
		t.Fatal(err)
	}
	peer.die()
	for range 3 {
		b.look()
	}
	if n := logs.Len(); n != 1 {
		t.Errorf("%d lines of log, want 1: %v", n, logs.All())
	}
}
