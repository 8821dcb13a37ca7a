package registry

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
)

func TestAdoptTakesOverAndCountsTheLostAttempt(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p", input(`"in"`))
	a, b := join(t, r, "a"), join(t, r, "b")
	lost := claim(t, r, a, "p")
	leave(t, a)
	p := wants(t, r, "p", StatusOrphaned, 1, 0, 0, 0)
	if p.Claim.Node != "a" || p.Claim.Fence != lost.Fence {
		t.Errorf("held by %+v", p.Claim)
	}
	o := orphanOf(t, r, "p")
	if o.Kind != "k" || o.Queue != "default" {
		t.Errorf("the orphan is %+v", o)
	}
	c, err := r.Adopt(t.Context(), b, o, true)
	noErr(t, err)
	if c.Attempt != 2 || c.Fence <= lost.Fence || string(c.Input) != `"in"` || c.Errors() != 0 {
		t.Errorf("the claim is %+v", c)
	}
	p = wants(t, r, "p", StatusRunning, 2, 0, 1, 0)
	want := PastAttempt{Attempt: 1, Node: "a", Fence: lost.Fence, Error: SessionLost}
	got := p.History[0]
	got.StartedAt, got.EndedAt = time.Time{}, time.Time{}
	if len(p.History) != 1 || got != want {
		t.Errorf("history %+v", p.History)
	}
	c.Enter()
	noErr(t, r.Complete(t.Context(), c, nil))
	wants(t, r, "p", StatusCompleted, 2, 0, 1, 0)
}

func TestOnlyOneNodeAdopts(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b, c := join(t, r, "a"), join(t, r, "b"), join(t, r, "c")
	claim(t, r, a, "p")
	leave(t, a)
	o := orphanOf(t, r, "p")
	_, err := r.Adopt(t.Context(), b, o, true)
	noErr(t, err)
	_, err = r.Adopt(t.Context(), c, o, true)
	wantErr(t, err, ErrNotClaimable)
	wants(t, r, "p", StatusRunning, 2, 0, 1, 0)
}

func TestAdoptWithoutASlotPutsItBack(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	c, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), false)
	noErr(t, err)
	if c != nil {
		t.Error("a claim on what is not to be run")
	}
	p := wants(t, r, "p", StatusPending, 1, 0, 1, 0)
	if p.History[0].Error != SessionLost {
		t.Errorf("history %+v", p.History)
	}
	if c := claim(t, r, b, "p"); c.Attempt != 2 {
		t.Errorf("attempt %d, want 2", c.Attempt)
	}
}

// What was matured long ago must not wait again for the time it once was due.
func TestAnOrphanThatWasDueOnceIsPutBackAsPending(t *testing.T) {
	r := newRegistry(t)
	clock := time.Now()
	r.options.Now = func() time.Time { return clock }
	start(t, r, "p", At(clock.Add(time.Minute)))
	clock = clock.Add(time.Hour)
	_, _, err := r.Mature(t.Context(), 10)
	noErr(t, err)
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	clock = clock.Add(-2 * time.Hour)
	_, err = r.Adopt(t.Context(), b, orphanOf(t, r, "p"), false)
	noErr(t, err)
	wants(t, r, "p", StatusPending, 1, 0, 1, 0)
}

func TestARequestEndsAnOrphan(t *testing.T) {
	for _, run := range []bool{true, false} {
		r := newRegistry(t)
		start(t, r, "p")
		a, b := join(t, r, "a"), join(t, r, "b")
		lost := claim(t, r, a, "p")
		leave(t, a)
		o := orphanOf(t, r, "p")
		ended, err := r.Cancel(t.Context(), "p", Request{By: "me", Reason: "not wanted"})
		noErr(t, err)
		if ended {
			t.Error("the canceller ended an orphan")
		}
		c, err := r.Adopt(t.Context(), b, o, run)
		noErr(t, err)
		if c != nil {
			t.Error("a claim on what somebody asked to end")
		}
		p := wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
		if p.OutcomeReason != "not wanted" || p.Error != SessionLost || p.Fence != lost.Fence || p.CancelRequested == nil {
			t.Errorf("it is %+v", p)
		}
	}
}

func TestARequestThatCannotBeReadStillEndsAnOrphan(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	write(t, r, r.keys.request("p"), "{")
	_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
	wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
}

func TestEndSessionFreesItsClaimsAtOnce(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	claim(t, r, join(t, r, "a"), "p")
	nodes, err := r.Nodes(t.Context())
	noErr(t, err)
	if len(nodes) != 1 || nodes[0].Name != "a" || nodes[0].Running != 1 || nodes[0].Max != 8 || !slices.Equal(nodes[0].Queues, []string{"default"}) {
		t.Fatalf("the nodes are %+v", nodes)
	}
	if orphans, err := r.Orphans(t.Context(), 10); err != nil || len(orphans) != 0 {
		t.Fatalf("orphans of a living session: %v, %v", orphans, err)
	}
	noErr(t, r.EndSession(t.Context(), nodes[0], "the kernel says so"))
	orphanOf(t, r, "p")
	left, err := r.Nodes(t.Context())
	noErr(t, err)
	if len(left) != 0 {
		t.Errorf("still living: %+v", left)
	}
}

func TestEndSessionLeavesAnotherSessionAlone(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "a")
	nodes, err := r.Nodes(t.Context())
	noErr(t, err)
	leave(t, s)
	_, err = r.Orphans(t.Context(), 10) // forgets the node, which left nothing
	noErr(t, err)
	noErr(t, r.EndSession(t.Context(), nodes[0], "late"))
	nodes[0].created = 0 // as read from the roster after the session's end
	noErr(t, r.EndSession(t.Context(), nodes[0], "later still"))
	if left := keysUnder(t, r, "node/"); len(left) > 0 {
		t.Errorf("in the roster again: %v", left)
	}
}

func TestANodeIsForgottenOnceItHoldsNothing(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	noErr(t, r.Leave(t.Context(), a))
	if left := keysUnder(t, r, "node/"); !slices.Contains(left, "node/"+a.ID()) {
		t.Fatalf("forgotten with a claim: %v", left)
	}
	_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
	if orphans, err := r.Orphans(t.Context(), 10); err != nil || len(orphans) != 0 {
		t.Fatalf("orphans %v, %v", orphans, err)
	}
	if left := keysUnder(t, r, "node/"); !slices.Equal(left, []string{"node/" + b.ID()}) {
		t.Errorf("in the roster: %v", left)
	}
	noErr(t, r.Leave(t.Context(), join(t, r, "c")))
	if left := keysUnder(t, r, "node/"); len(left) != 1 {
		t.Errorf("in the roster: %v", left)
	}
}

func TestADetachedSessionIsEndedByWhoeverSeesIt(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	write(t, r, a.Key(), "{}")
	wants(t, r, "p", StatusOrphaned, 1, 0, 0, 0)
	_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	wantErr(t, err, ErrNotClaimable) // its key stands
	_, _, err = r.EndDeadSessions(t.Context())
	noErr(t, err)
	_, err = r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
}

func TestEndDeadSessionsAsksTheKernel(t *testing.T) {
	self := lease.Self()
	gone := self
	gone.StartTime++ // the pid is somebody else's now
	if _, is := gone.Gone(); !is {
		t.Skip("this system does not tell when a process started")
	}
	r := newRegistry(t)
	open := func(name string, process, witness lease.Identity) *Session {
		s, err := r.OpenSession(t.Context(), NodeInfo{Name: name, Process: process, Witness: witness}, time.Minute)
		noErr(t, err)
		t.Cleanup(func() { leave(t, s) })
		return s
	}
	open("living", self, lease.Identity{})
	open("dying", gone, self)
	open("dead", gone, gone)
	open("alone", gone, lease.Identity{})
	ended, dying, err := r.EndDeadSessions(t.Context())
	noErr(t, err)
	if ended != 2 || !dying {
		t.Errorf("ended %d, dying %v; want 2, true", ended, dying)
	}
	nodes, err := r.Nodes(t.Context())
	noErr(t, err)
	if len(nodes) != 2 || nodes[0].Name != "dying" || nodes[1].Name != "living" {
		t.Errorf("left are %+v", nodes)
	}
}

func TestOrphansPassesOverWhatItCannotRead(t *testing.T) {
	r := newRegistry(t)
	a := join(t, r, "a")
	for _, id := range []string{"p", "q", "r"} {
		start(t, r, id)
		claim(t, r, a, id)
	}
	write(t, r, r.keys.claim(a.ID(), "q"), "{")
	leave(t, a)
	orphans, err := r.Orphans(t.Context(), 10)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Key != r.keys.claim(a.ID(), "q") {
		t.Errorf("the error is %v", err)
	}
	if len(orphans) != 2 || orphans[0].ID != "p" || orphans[1].ID != "r" {
		t.Errorf("orphans %+v", orphans)
	}
	if two, _ := r.Orphans(t.Context(), 1); len(two) != 1 {
		t.Errorf("%d with a limit of 1", len(two))
	}
}

func TestStraysAreReleased(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	start(t, r, "q")
	start(t, r, "asked")
	s := join(t, r, "a")
	kept := claim(t, r, s, "p")
	for _, id := range []string{"q", "asked"} {
		c, err := r.Claim(t.Context(), s, entryOf(t, r, id))
		noErr(t, err)
		s.forget(c.nonce) // as if its answer had been given up
	}
	_, err := r.Cancel(t.Context(), "asked", Request{})
	noErr(t, err)
	n, err := r.Strays(t.Context(), s)
	noErr(t, err)
	if n != 2 {
		t.Errorf("%d released, want 2", n)
	}
	wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
	wants(t, r, "q", StatusPending, 0, 0, 0, 0)
	wants(t, r, "asked", StatusCancelled, 0, 0, 0, 0)
	noErr(t, r.Complete(t.Context(), kept, nil))
	if n, err := r.Strays(t.Context(), s); n != 0 || err != nil {
		t.Errorf("%d released again, %v", n, err)
	}
}
