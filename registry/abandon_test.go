package registry

import (
	"context"
	"testing"
	"time"
)

// wantEvidence fails unless the process was abandoned by this right.
func wantEvidence(t *testing.T, r *Registry, id, what string) *Evidence {
	t.Helper()
	p := lookAt(t, r, id)
	if p.Status != StatusAbandoned || p.Evidence == nil || p.Evidence.What != what || p.Evidence.At.IsZero() {
		t.Fatalf("%s is %s by %+v, want abandoned by %s", id, p.Status, p.Evidence, what)
	}
	return p.Evidence
}

// owned is started owner-bound work, held by a session of node a.
func owned(t *testing.T, r *Registry, id string) (*Session, *Claim) {
	t.Helper()
	_, err := r.Start(t.Context(), Spec{ID: id, Kind: "k", Disposition: OwnerBound})
	noErr(t, err)
	a := join(t, r, "a")
	return a, claim(t, r, a, id)
}

func TestAbandonRefusesWhatWaitsToBeClaimed(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "pending")
	start(t, r, "scheduled", After(time.Hour))
	for _, id := range []string{"pending", "scheduled"} {
		_, err := r.Abandon(t.Context(), id, Request{})
		wantErr(t, err, ErrState)
	}
	wants(t, r, "pending", StatusPending, 0, 0, 0, 0)
	wants(t, r, "scheduled", StatusScheduled, 0, 0, 0, 0)
	_, err := r.Abandon(t.Context(), "nothing", Request{})
	wantErr(t, err, ErrNotFound)
}

func TestAbandonEndsAnOrphanAtOnce(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *Registry) (*Session, *Claim){
		"owner-bound": func(t *testing.T, r *Registry) (*Session, *Claim) { return owned(t, r, "p") },
		"rerunnable": func(t *testing.T, r *Registry) (*Session, *Claim) {
			start(t, r, "p")
			a := join(t, r, "a")
			return a, claim(t, r, a, "p")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			a, c := start(t, r)
			noErr(t, r.Progress(t.Context(), c, []byte(`1`)))
			_, err := r.Cancel(t.Context(), "p", Request{By: "somebody"})
			noErr(t, err)
			leave(t, a)
			wants(t, r, "p", StatusOrphaned, 1, 0, 0, 0)
			ended, err := r.Abandon(t.Context(), "p", Request{By: "me", Reason: "it is lost"})
			noErr(t, err)
			if !ended {
				t.Error("not ended")
			}
			if e := wantEvidence(t, r, "p", EvidenceRequest); e.By != "me" || e.Reason != "it is lost" {
				t.Errorf("evidence %+v", e)
			}
			p := wants(t, r, "p", StatusAbandoned, 1, 0, 0, 0)
			if len(p.History) != 1 || p.History[0].Error != SessionLost || p.Fence != c.Fence {
				t.Errorf("fence %d, history %+v", p.Fence, p.History)
			}
			wantNothingLeft(t, r)
			wantErr(t, r.Complete(t.Context(), c, nil), ErrClaimLost) // a revenant
			wants(t, r, "p", StatusAbandoned, 1, 0, 0, 0)
			_, err = r.Abandon(t.Context(), "p", Request{})
			wantErr(t, err, ErrEnded)
		})
	}
}

// wantNothingLeft fails if anything but rows and hints is left.
func wantNothingLeft(t *testing.T, r *Registry) {
	t.Helper()
	for _, prefix := range []string{"pending/", "timer/", "claim/", "parked/", "request/", "progress/", "step/"} {
		if left := keysUnder(t, r, prefix); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestAbandonAsksWhoeverRunsIt(t *testing.T) {
	r := newRegistry(t)
	_, c := owned(t, r, "p")
	for _, ask := range []func(context.Context, string, Request) (bool, error){r.Cancel, r.Abandon, r.Abandon, r.Cancel} {
		ended, err := ask(t.Context(), "p", Request{By: "me"})
		noErr(t, err)
		if ended {
			t.Error("ended")
		}
	}
	q := wants(t, r, "p", StatusRunning, 1, 0, 0, 0).CancelRequested
	if q == nil || q.What != RequestAbandon { // in place of the cancel
		t.Fatalf("requested %+v", q)
	}
	outcome, err := r.EndRequested(t.Context(), c, "context cancelled", nil)
	noErr(t, err)
	if outcome != Abandoned {
		t.Errorf("the outcome is %s", outcome)
	}
	wantEvidence(t, r, "p", EvidenceRequest)
	wantNothingLeft(t, r)
}

// Its key stands, so nobody may take it over yet. The request is recorded, and
// whoever ends the session answers it.
func TestAbandonOfWhatADetachedSessionHolds(t *testing.T) {
	r := newRegistry(t)
	a, _ := owned(t, r, "p")
	write(t, r, a.Key(), "{}")
	ended, err := r.Abandon(t.Context(), "p", Request{By: "me"})
	noErr(t, err)
	if ended {
		t.Error("ended")
	}
	_, _, err = r.EndDeadSessions(t.Context())
	noErr(t, err)
	_, err = r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, "p"), true)
	noErr(t, err)
	wantEvidence(t, r, "p", EvidenceRequest)
}

// The row that an abandonment writes follows from the claim that it takes away:
// read before, it would be of an earlier attempt.
func TestAbandonForgetsNoAttempt(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	a, read := join(t, r, "a"), 0
	wire.next(
		func(send func() error) error { return send() },
		func(send func() error) error {
			err := send() // it has read the row and where it is
			read++
			noErr(t, r.Retry(t.Context(), claim(t, r, a, "p"), time.Now(), "boom"))
			claim(t, r, a, "p")
			leave(t, a)
			return err
		},
	)
	ended, err := r.Abandon(t.Context(), "p", Request{})
	noErr(t, err)
	if !ended || read != 1 {
		t.Errorf("ended %v", ended)
	}
	if p := wants(t, r, "p", StatusAbandoned, 2, 1, 0, 0); len(p.History) != 2 {
		t.Errorf("history %+v", p.History)
	}
}

// What is owner-bound is given up by its holder if its attempt has ended
// without saying how far it came.
func TestAbandonOwnIsTheHoldersWord(t *testing.T) {
	r := newRegistry(t)
	a, c := owned(t, r, "p")
	noErr(t, r.AbandonOwn(t.Context(), c, "it was interrupted", []byte(`"half"`)))
	e := wantEvidence(t, r, "p", EvidenceOwnerDrain)
	p := wants(t, r, "p", StatusAbandoned, 1, 0, 0, 0)
	if e.Node != "a" || e.Session != a.ID() || string(p.Output) != `"half"` || p.Error != "it was interrupted" {
		t.Errorf("%+v, evidence %+v", p, e)
	}
	wantNothingLeft(t, r)
}
