package registry

import (
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
)

// proved ends the session of a node on proof of its death.
func proved(t *testing.T, r *Registry, s *Session) {
	t.Helper()
	nodes, err := r.Nodes(t.Context())
	noErr(t, err)
	for _, n := range nodes {
		if n.Session == s.ID() {
			noErr(t, r.EndSession(t.Context(), n, "its pid is gone"))
		}
	}
}

// TestWhatRecoveryMayDo is the table of dispositions, row by row.
func TestWhatRecoveryMayDo(t *testing.T) {
	t.Run("rerunnable work is run again by anybody", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p")
		a := join(t, r, "a")
		claim(t, r, a, "p")
		leave(t, a)
		c, err := r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, "p"), true)
		noErr(t, err)
		if c.Attempt != 2 {
			t.Errorf("attempt %d", c.Attempt)
		}
		wants(t, r, "p", StatusRunning, 2, 0, 1, 0)
	})
	t.Run("owner-bound work is run by anybody at first", func(t *testing.T) {
		r := newRegistry(t)
		_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: OwnerBound})
		noErr(t, err)
		never, err := r.Claim(t.Context(), join(t, r, "a"), entryOf(t, r, "p"))
		noErr(t, err)
		noErr(t, r.Release(t.Context(), never)) // it was not started
		c := claim(t, r, join(t, r, "b"), "p")
		if c.Attempt != 1 {
			t.Errorf("attempt %d", c.Attempt)
		}
		for name, back := range map[string]func() error{
			"retry":   func() error { return r.Retry(t.Context(), c, time.Now(), "boom") },
			"snooze":  func() error { return r.Snooze(t.Context(), c, time.Now()) },
			"release": func() error { return r.Release(t.Context(), c) },
		} {
			if err := back(); err == nil {
				t.Errorf("%s put it back", name)
			} else {
				wantErr(t, err, ErrOwnerBound)
			}
		}
		noErr(t, r.Complete(t.Context(), c, nil))
		wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
	})
	t.Run("started owner-bound work stays an orphan", func(t *testing.T) {
		r := newRegistry(t)
		a, c := owned(t, r, "p")
		leave(t, a) // which proves nothing
		b := join(t, r, "b")
		o := orphanOf(t, r, "p")
		if o.Proved() {
			t.Error("its holder is said to be dead")
		}
		_, err := r.Cancel(t.Context(), "p", Request{}) // nor does a cancel
		noErr(t, err)
		for _, run := range []bool{true, false} {
			_, err := r.Adopt(t.Context(), b, o, run)
			wantErr(t, err, ErrOrphaned)
		}
		wants(t, r, "p", StatusOrphaned, 1, 0, 0, 0)
		wantErr(t, r.Complete(t.Context(), c, nil), ErrClaimLost) // the revenant's word
		wants(t, r, "p", StatusOrphaned, 1, 0, 0, 0)
	})
	t.Run("owner-bound work is abandoned on proof of death", func(t *testing.T) {
		r := newRegistry(t)
		a, c := owned(t, r, "p")
		proved(t, r, a)
		o := orphanOf(t, r, "p")
		adopted, err := r.Adopt(t.Context(), join(t, r, "b"), o, true)
		noErr(t, err)
		if adopted != nil || !o.Proved() {
			t.Errorf("adopted %+v, proved %v", adopted, o.Proved())
		}
		e := wantEvidence(t, r, "p", EvidenceDeath)
		if e.Proof != "its pid is gone" || e.Node != "a" || e.Session != a.ID() {
			t.Errorf("evidence %+v", e)
		}
		wants(t, r, "p", StatusAbandoned, 1, 0, 0, 0)
		wantErr(t, r.Complete(t.Context(), c, nil), ErrClaimLost)
		wantNothingLeft(t, r)
	})
	t.Run("external work is never claimed", func(t *testing.T) {
		r := newRegistry(t)
		startExternal(t, r, "p")
		if found := pending(t, r); len(found) > 0 {
			t.Errorf("it may be claimed: %+v", found)
		}
		wants(t, r, "p", StatusParked, 0, 0, 0, 0)
	})
}

// The proof may come after the session's end, from the kernel.
func TestProofOfDeathMayComeLater(t *testing.T) {
	gone := lease.Self()
	gone.StartTime++ // the pid is somebody else's now
	if _, is := gone.Gone(); !is {
		t.Skip("this system does not tell when a process started")
	}
	r := newRegistry(t)
	_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: OwnerBound})
	noErr(t, err)
	a, err := r.OpenSession(t.Context(), NodeInfo{Name: "a", Process: gone}, time.Minute)
	noErr(t, err)
	claim(t, r, a, "p")
	leave(t, a)
	_, err = r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, "p"), true)
	wantErr(t, err, ErrOrphaned)
	_, _, err = r.EndDeadSessions(t.Context())
	noErr(t, err)
	_, err = r.Adopt(t.Context(), join(t, r, "c"), orphanOf(t, r, "p"), true)
	noErr(t, err)
	wantEvidence(t, r, "p", EvidenceDeath)
}

// A peer starts owner-bound work and dies between this node's list and its
// claim. What was listed is not what stands there.
func TestOwnerBoundWorkThatAPeerStartedIsNotRunTwice(t *testing.T) {
	for name, die := range map[string]func(*testing.T, *Registry, *Session){
		"and its session ended": func(t *testing.T, _ *Registry, s *Session) { leave(t, s) },
		"and is known dead":     proved,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: OwnerBound})
			noErr(t, err)
			peer, me := join(t, r, "peer"), join(t, r, "me")
			listed := entryOf(t, r, "p")
			claim(t, r, peer, "p")
			die(t, r, peer)
			_, err = r.Claim(t.Context(), me, listed)
			wantErr(t, err, ErrNotClaimable)
			c, err := r.Adopt(t.Context(), me, orphanOf(t, r, "p"), true)
			if c != nil {
				t.Fatalf("attempt %d: it is run twice (%v)", c.Attempt, err)
			}
			if p := lookAt(t, r, "p"); p.Attempt != 1 || len(pending(t, r)) > 0 {
				t.Errorf("it is %+v", p)
			}
		})
	}
}

// deaths has so many nodes die under the process, one after the other, and
// tells whether the last of them was its last.
func deaths(t *testing.T, r *Registry, id string, n int) (ended bool) {
	t.Helper()
	for range n {
		s := join(t, r, "n")
		if p := lookAt(t, r, id); p.Ended() {
			t.Fatalf("it ended after %d adoptions: %s", p.Adoptions, p.OutcomeReason)
		}
		claim(t, r, s, id)
		leave(t, s)
		c, err := r.Adopt(t.Context(), join(t, r, "adopter"), orphanOf(t, r, id), false)
		noErr(t, err)
		if c != nil {
			t.Fatal("it is run")
		}
	}
	return lookAt(t, r, id).Ended()
}

func TestWhatKillsNodesIsQuarantined(t *testing.T) {
	for name, c := range map[string]struct {
		max, deaths int
		ends        bool
	}{
		"two by default": {0, 2, false},
		"three":          {0, 3, true},
		"the first":      {1, 1, true},
		"four of five":   {5, 4, false},
		"five":           {5, 5, true},
		"never":          {NeverQuarantined, 7, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p", MaxAdoptions(c.max))
			if ended := deaths(t, r, "p", c.deaths); ended != c.ends {
				t.Fatalf("ended: %v", ended)
			}
			if !c.ends {
				wants(t, r, "p", StatusPending, c.deaths, 0, c.deaths, 0)
				return
			}
			p := wants(t, r, "p", StatusFailed, c.deaths, 0, c.deaths, 0)
			if p.OutcomeReason != "quarantined: too many nodes died under it" || p.Error != "session lost" {
				t.Errorf("%s: %s", p.OutcomeReason, p.Error)
			}
			wantNothingLeft(t, r)
		})
	}
}

// Attempts, errors, adoptions and snoozes count different things, and none of
// them is lost by another.
func TestCountersNeverMix(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a := join(t, r, "a")
	noErr(t, r.Retry(t.Context(), claim(t, r, a, "p"), time.Now(), "boom"))
	wants(t, r, "p", StatusPending, 1, 1, 0, 0)
	noErr(t, r.Snooze(t.Context(), claim(t, r, a, "p"), time.Now()))
	wants(t, r, "p", StatusPending, 2, 1, 0, 1)
	noErr(t, r.Release(t.Context(), claim(t, r, a, "p")))
	wants(t, r, "p", StatusPending, 3, 1, 0, 1)
	never, err := r.Claim(t.Context(), a, entryOf(t, r, "p"))
	noErr(t, err)
	noErr(t, r.Release(t.Context(), never))
	wants(t, r, "p", StatusPending, 3, 1, 0, 1)
	deaths(t, r, "p", 2)
	wants(t, r, "p", StatusPending, 5, 1, 2, 1)
	c := claim(t, r, a, "p")
	if c.Attempt != 6 || c.Errors() != 1 {
		t.Errorf("attempt %d after %d errors", c.Attempt, c.Errors())
	}
	noErr(t, r.Fail(t.Context(), c, "boom", "", nil))
	p := wants(t, r, "p", StatusFailed, 6, 2, 2, 1)
	var how []string
	for _, past := range p.History {
		how = append(how, past.Error)
	}
	want := []string{"boom", "put off", "handed back", "session lost", "session lost", "boom"}
	if len(how) != len(want) {
		t.Fatalf("history %q", how)
	}
	for i := range want {
		if how[i] != want[i] || p.History[i].Attempt != i+1 {
			t.Errorf("history %q", how)
		}
	}
}

// A request that was accepted before the deadline passed is what ends an
// orphan after it.
func TestARequestThatWasFirstAnswersBeforeTheDeadline(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p", Deadline(time.Minute))
	a := join(t, r, "a")
	claim(t, r, a, "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	leave(t, a)
	o := orphanOf(t, r, "p")
	r.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
	_, err = r.Adopt(t.Context(), join(t, r, "b"), o, true)
	noErr(t, err)
	wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
	wantNothingLeft(t, r)
}
