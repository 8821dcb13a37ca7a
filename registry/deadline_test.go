package registry

import (
	"testing"
	"time"
)

// clocked is a registry whose clock the test sets.
func clocked(t *testing.T) (r *Registry, pass func(time.Duration)) {
	r = newRegistry(t)
	now := time.Now()
	r.options.Now = func() time.Time { return now }
	return r, func(d time.Duration) { now = now.Add(d) }
}

func mature(t *testing.T, r *Registry) int {
	t.Helper()
	n, _, err := r.Mature(t.Context(), 100)
	noErr(t, err)
	return n
}

// wantLate fails unless the deadline ended the process.
func wantLate(t *testing.T, r *Registry, id string) Process {
	t.Helper()
	p := lookAt(t, r, id)
	if p.Status != StatusFailed || p.OutcomeReason != "deadline passed" {
		t.Fatalf("%s is %s: %s", id, p.Status, p.OutcomeReason)
	}
	wantNothingLeft(t, r)
	return p
}

func TestTheDeadlineFailsWhatWaits(t *testing.T) {
	for name, put := range map[string]func(*testing.T, *Registry){
		"pending":   func(t *testing.T, r *Registry) { start(t, r, "p", Deadline(time.Hour)) },
		"scheduled": func(t *testing.T, r *Registry) { start(t, r, "p", Deadline(time.Hour), After(24*time.Hour)) },
		"retrying": func(t *testing.T, r *Registry) {
			start(t, r, "p", Deadline(time.Hour))
			c := claim(t, r, join(t, r, "n"), "p")
			noErr(t, r.Checkpoint(t.Context(), c, "one", nil))
			noErr(t, r.Retry(t.Context(), c, r.now().Add(24*time.Hour), "boom"))
		},
		"external": func(t *testing.T, r *Registry) { startExternal(t, r, "p", Deadline(time.Hour)) },
		"handed off": func(t *testing.T, r *Registry) {
			start(t, r, "p", Deadline(time.Hour))
			noErr(t, r.HandOff(t.Context(), claim(t, r, join(t, r, "n"), "p"), Reference{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, pass := clocked(t)
			put(t, r)
			pass(time.Hour - time.Second)
			mature(t, r)
			if p := lookAt(t, r, "p"); p.Ended() {
				t.Fatalf("too soon: %s", p.OutcomeReason)
			}
			pass(2 * time.Second)
			if n := mature(t, r); n != 1 {
				t.Errorf("%d matured", n)
			}
			wantLate(t, r, "p")
			if n := mature(t, r); n != 0 {
				t.Errorf("%d matured again", n)
			}
		})
	}
}

func TestTheDeadlineAsksWhoeverRunsIt(t *testing.T) {
	r, pass := clocked(t)
	start(t, r, "p", Deadline(time.Hour))
	c := claim(t, r, join(t, r, "n"), "p")
	pass(2 * time.Hour)
	mature(t, r)
	q := wants(t, r, "p", StatusRunning, 1, 0, 0, 0).CancelRequested
	if q == nil || q.What != RequestDeadline {
		t.Fatalf("requested %+v", q)
	}
	wantErr(t, r.Retry(t.Context(), c, r.now(), "boom"), ErrRequested)
	outcome, err := r.EndRequested(t.Context(), c, "context cancelled", nil)
	noErr(t, err)
	if outcome != Failed {
		t.Errorf("the outcome is %s", outcome)
	}
	if p := wantLate(t, r, "p"); p.Error != "context cancelled" || p.Errors != 0 {
		t.Errorf("it is %+v", p)
	}
}

func TestAHandlerMayCompleteAfterTheDeadline(t *testing.T) {
	r, pass := clocked(t)
	start(t, r, "p", Deadline(time.Hour))
	c := claim(t, r, join(t, r, "n"), "p")
	pass(2 * time.Hour)
	mature(t, r)
	noErr(t, r.Complete(t.Context(), c, nil))
	wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
	wantNothingLeft(t, r)
}

// An orphan is failed by the deadline, also an owner-bound one that must
// otherwise stay as it is.
func TestTheDeadlineEndsOrphans(t *testing.T) {
	for _, disposition := range []Disposition{Rerunnable, OwnerBound} {
		for name, fires := range map[string]bool{"its timer fires first": true, "who takes over sees it": false} {
			t.Run(string(disposition)+", "+name, func(t *testing.T) {
				r, pass := clocked(t)
				_, err := r.Start(t.Context(), Spec{ID: "p", Kind: "k", Disposition: disposition, Deadline: Duration(time.Hour)})
				noErr(t, err)
				a := join(t, r, "a")
				c := claim(t, r, a, "p")
				noErr(t, r.Checkpoint(t.Context(), c, "one", nil))
				leave(t, a)
				pass(2 * time.Hour)
				if fires {
					mature(t, r)
				}
				_, err = r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, "p"), true)
				noErr(t, err)
				if p := wantLate(t, r, "p"); p.Attempt != 1 || p.Adoptions != 0 || p.Error != "session lost" {
					t.Errorf("it is %+v", p)
				}
			})
		}
	}
}

func TestAnOutcomeTakesTheDeadlineAway(t *testing.T) {
	r, pass := clocked(t)
	start(t, r, "p", Deadline(time.Hour))
	noErr(t, r.Complete(t.Context(), claim(t, r, join(t, r, "n"), "p"), nil))
	start(t, r, "q", Deadline(time.Hour))
	_, err := r.Cancel(t.Context(), "q", Request{})
	noErr(t, err)
	wantNothingLeft(t, r)
	pass(2 * time.Hour)
	if n := mature(t, r); n != 0 {
		t.Errorf("%d matured", n)
	}
}
