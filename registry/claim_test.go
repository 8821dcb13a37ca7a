package registry

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestOnlyOneNodeClaims(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p", input(`{"a":1}`), MaxAttempts(3), Backoff(time.Minute))
	a, b := join(t, r, "a"), join(t, r, "b")
	e := entryOf(t, r, "p")
	c, err := r.Claim(t.Context(), a, e)
	noErr(t, err)
	if _, err := r.Claim(t.Context(), b, e); !errors.Is(err, ErrNotClaimable) {
		t.Errorf("the second claim: %v, want ErrNotClaimable", err)
	}
	backoff, constant := c.Backoff()
	if c.ID != "p" || c.Kind != "k" || c.Queue != "default" || c.Attempt != 1 || string(c.Input) != `{"a":1}` ||
		c.MaxAttempts() != 3 || backoff != time.Minute || constant || c.Errors() != 0 || c.Session != a {
		t.Errorf("the claim is %+v", c)
	}
	p := wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
	if p.Claim.Node != "a" || p.Claim.Session != a.ID() || p.Claim.Fence != c.Fence || !p.StartedAt.Equal(c.ClaimedAt) {
		t.Errorf("held by %+v", p.Claim)
	}
	if len(pending(t, r)) != 0 {
		t.Error("it is still pending")
	}
}

func TestClaimNeedsALivingSession(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	e := entryOf(t, r, "p")
	leave(t, s)
	_, err := r.Claim(t.Context(), s, e)
	wantErr(t, err, ErrNotClaimable)
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
}

func TestClaimRejectsAQueueThatChanged(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	e := entryOf(t, r, "p")
	write(t, r, r.keys.queue("default"), `{"paused":true}`)
	_, err := r.Claim(t.Context(), join(t, r, "n"), e)
	wantErr(t, err, ErrNotClaimable)
}

func TestFencesGrow(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	before := int64(0)
	for range 3 {
		c := claim(t, r, s, "p")
		if c.Fence <= before {
			t.Fatalf("fence %d after %d", c.Fence, before)
		}
		before = c.Fence
		noErr(t, r.Release(t.Context(), c))
	}
	c := claim(t, r, s, "p")
	noErr(t, r.Complete(t.Context(), c, nil))
	if p := lookAt(t, r, "p"); p.Fence != c.Fence {
		t.Errorf("the outcome's fence is %d, want %d", p.Fence, c.Fence)
	}
}

func TestCompleteKeepsOutputAndLeavesNothing(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "p"), json.RawMessage(` {"b": 2} `)))
	p := wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
	if string(p.Output) != `{"b":2}` || p.Error != "" || p.FinishedAt.IsZero() || p.Claim != nil || len(p.History) != 1 {
		t.Errorf("it is %+v", p)
	}
	for _, prefix := range []string{"pending/", "timer/", "claim/", "request/", "parked/"} {
		if left := keysUnder(t, r, prefix); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestFailKeepsErrorAndReason(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	noErr(t, r.Fail(t.Context(), claim(t, r, join(t, r, "n"), "p"), "boom", "too often", json.RawMessage(`1`)))
	p := wants(t, r, "p", StatusFailed, 1, 1, 0, 0)
	if p.Error != "boom" || p.OutcomeReason != "too often" || string(p.Output) != "1" || p.History[0].Error != "boom" {
		t.Errorf("it is %+v", p)
	}
}

func TestEndCancelledIsNoError(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	noErr(t, r.EndCancelled(t.Context(), claim(t, r, join(t, r, "n"), "p"), "stopped", "not wanted", nil))
	p := wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
	if p.Error != "stopped" || p.OutcomeReason != "not wanted" {
		t.Errorf("it is %+v", p)
	}
}

func TestRetryWaitsUntilDue(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	due := time.Now().Add(time.Hour)
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "p"), due, "boom"))
	p := wants(t, r, "p", StatusScheduled, 1, 1, 0, 0)
	if !p.DueAt.Equal(due) {
		t.Errorf("due at %s, want %s", p.DueAt, due)
	}
	if n := len(pending(t, r)); n != 0 {
		t.Errorf("%d are pending", n)
	}
}

func TestRetryThatIsDueWaitsForNothing(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "p"), time.Now().Add(-time.Hour), "boom"))
	wants(t, r, "p", StatusPending, 1, 1, 0, 0)
	if c := claim(t, r, s, "p"); c.Attempt != 2 || c.Errors() != 1 {
		t.Errorf("attempt %d with %d errors, want 2 and 1", c.Attempt, c.Errors())
	}
}

func TestADueTimeBeyondWhatKeysHoldIsFarAway(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	noErr(t, r.Snooze(t.Context(), claim(t, r, join(t, r, "n"), "p"), time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)))
	n, _, err := r.Mature(t.Context(), 10)
	noErr(t, err)
	wants(t, r, "p", StatusScheduled, 1, 0, 0, 1)
	if n != 0 {
		t.Errorf("%d matured", n)
	}
}

func TestSnoozeAndReleaseAreNoErrors(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	noErr(t, r.Snooze(t.Context(), claim(t, r, s, "p"), time.Now().Add(-1)))
	wants(t, r, "p", StatusPending, 1, 0, 0, 1)
	noErr(t, r.Release(t.Context(), claim(t, r, s, "p")))
	p := wants(t, r, "p", StatusPending, 2, 0, 0, 1)
	if p.History[0].Error != PutOff || p.History[1].Error != HandedBack {
		t.Errorf("history %+v", p.History)
	}
}

func TestAClaimNeverEnteredIsNoAttempt(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	c, err := r.Claim(t.Context(), s, entryOf(t, r, "p"))
	noErr(t, err)
	noErr(t, r.Release(t.Context(), c))
	if p := wants(t, r, "p", StatusPending, 0, 0, 0, 0); len(p.History) != 0 {
		t.Errorf("history %+v", p.History)
	}
	// The row still records its fence.
	row, _, err := readRow(t, r, "p")
	noErr(t, err)
	if row.Fence != c.Fence {
		t.Errorf("the row's fence is %d, want %d", row.Fence, c.Fence)
	}
}

func readRow(t *testing.T, r *Registry, id string) (row, view, error) {
	t.Helper()
	resp, err := r.read(t.Context(), get(r.keys.process(id)))
	noErr(t, err)
	v := newView(resp.Responses)
	there, err := decodeRow(r.keys.process(id), id, v[r.keys.process(id)].Value)
	return there, v, err
}

func TestHistoryKeepsTheLastTwenty(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	for range 23 {
		noErr(t, r.Release(t.Context(), claim(t, r, s, "p")))
	}
	p := wants(t, r, "p", StatusPending, 23, 0, 0, 0)
	if len(p.History) != 20 || p.History[0].Attempt != 4 || p.History[19].Attempt != 23 {
		t.Errorf("%d attempts, the first is %d", len(p.History), p.History[0].Attempt)
	}
}

// writes are all that an attempt may write under its claim.
func writes(t *testing.T, r *Registry) map[string]func(*Claim) error {
	ctx := t.Context()
	return map[string]func(*Claim) error{
		"complete": func(c *Claim) error { return r.Complete(ctx, c, json.RawMessage(`1`)) },
		"fail":     func(c *Claim) error { return r.Fail(ctx, c, "x", "", nil) },
		"cancel":   func(c *Claim) error { return r.EndCancelled(ctx, c, "", "", nil) },
		"retry":    func(c *Claim) error { return r.Retry(ctx, c, time.Now().Add(time.Hour), "x") },
		"snooze":   func(c *Claim) error { return r.Snooze(ctx, c, time.Now().Add(time.Hour)) },
		"release":  func(c *Claim) error { return r.Release(ctx, c) },
	}
}

// A stale fence is one whose claim has passed on, or whose session is not what
// it was. No write of its holder may land, and none may be believed to have.
func TestCompleteRejectsStaleFence(t *testing.T) {
	for name, pass := range map[string]func(t *testing.T, r *Registry, c *Claim){
		"its session expired": func(t *testing.T, r *Registry, c *Claim) {
			leave(t, c.Session)
		},
		"it was adopted": func(t *testing.T, r *Registry, c *Claim) {
			leave(t, c.Session)
			_, err := r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, c.ID), true)
			noErr(t, err)
		},
		"it was adopted and completed": func(t *testing.T, r *Registry, c *Claim) {
			leave(t, c.Session)
			d, err := r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, c.ID), true)
			noErr(t, err)
			noErr(t, r.Complete(t.Context(), d, json.RawMessage(`"theirs"`)))
		},
		"it was given back and claimed again": func(t *testing.T, r *Registry, c *Claim) {
			noErr(t, r.Release(t.Context(), c))
			claim(t, r, c.Session, c.ID)
		},
		"its session's key was deleted and put again": func(t *testing.T, r *Registry, c *Claim) {
			key := c.Session.Key()
			_, err := r.client.Delete(t.Context(), key)
			noErr(t, err)
			_, err = r.client.Put(t.Context(), key, "{}", clientv3.WithLease(c.Session.Lease()))
			noErr(t, err)
		},
		"its session's key was taken off its lease": func(t *testing.T, r *Registry, c *Claim) {
			write(t, r, c.Session.Key(), "{}")
		},
		"its session was ended by proof": func(t *testing.T, r *Registry, c *Claim) {
			nodes, err := r.Nodes(t.Context())
			noErr(t, err)
			noErr(t, r.EndSession(t.Context(), nodes[0], "dead"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p")
			c := claim(t, r, join(t, r, "a"), "p")
			pass(t, r, c)
			before, _, err := readRow(t, r, "p")
			noErr(t, err)
			for what, write := range writes(t, r) {
				if err := write(c); !errors.Is(err, ErrClaimLost) {
					t.Errorf("%s: %v, want ErrClaimLost", what, err)
				}
			}
			after, _, err := readRow(t, r, "p")
			noErr(t, err)
			if after.Mark != before.Mark || after.Attempt != before.Attempt || after.Outcome != before.Outcome {
				t.Errorf("the row was %+v and is %+v", before, after)
			}
		})
	}
}

func TestNothingIsPutBackBesideARequest(t *testing.T) {
	for what := range map[string]bool{"retry": true, "snooze": true, "release": true} {
		t.Run(what, func(t *testing.T) {
			r := newRegistry(t)
			start(t, r, "p")
			c := claim(t, r, join(t, r, "a"), "p")
			ended, err := r.Cancel(t.Context(), "p", Request{By: "me", Reason: "stop"})
			noErr(t, err)
			if ended {
				t.Fatal("a running process was ended by the canceller")
			}
			wantErr(t, writes(t, r)[what](c), ErrRequested)
			wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
			noErr(t, r.EndCancelled(t.Context(), c, "", "stop", nil))
			p := wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
			if p.CancelRequested != nil || len(keysUnder(t, r, "request/")) != 0 {
				t.Error("the request still stands")
			}
		})
	}
}

func TestAHandlerMayCompleteInSpiteOfARequest(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	noErr(t, r.Complete(t.Context(), c, nil))
	wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
	if left := keysUnder(t, r, "request/"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestErrorTextsAreCutBetweenCharacters(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	long := ""
	for len(long) < 3<<10 {
		long += "ü"
	}
	noErr(t, r.Fail(t.Context(), claim(t, r, join(t, r, "n"), "p"), long, long, nil))
	p := lookAt(t, r, "p")
	for name, text := range map[string]string{"error": p.Error, "reason": p.OutcomeReason, "history": p.History[0].Error} {
		if len(text) != 2047 || text[2040:] != "ü"+"ü"+"…" {
			t.Errorf("the %s has %d bytes and ends in %q", name, len(text), text[len(text)-8:])
		}
	}
}
