package registry

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReopenBeginsANewSeries(t *testing.T) {
	r, pass := clocked(t)
	large := `"` + strings.Repeat("x", 5<<10) + `"`
	start(t, r, "p", input(large), Label("team", "one"), Deadline(time.Hour), Priority(2))
	s := join(t, r, "n")
	noErr(t, r.Retry(t.Context(), claim(t, r, s, "p"), r.now(), "boom"))
	noErr(t, r.Snooze(t.Context(), claim(t, r, s, "p"), r.now()))
	first := claim(t, r, s, "p")
	noErr(t, r.Checkpoint(t.Context(), first, "one", []byte(`1`)))
	noErr(t, r.Fail(t.Context(), first, "boom", "broken", []byte(large)))
	before := wants(t, r, "p", StatusFailed, 3, 2, 0, 1)

	pass(50 * time.Minute)
	started, err := r.Reopen(t.Context(), "p")
	noErr(t, err)
	if started != (Started{ID: "p", Series: 2}) {
		t.Errorf("opened %+v", started)
	}
	p := wants(t, r, "p", StatusPending, 3, 0, 0, 0)
	if len(p.Output) > 0 || p.Error != "" || p.OutcomeReason != "" || !p.FinishedAt.IsZero() || p.Fence != 0 {
		t.Errorf("it still has an end: %+v", p)
	}
	if p.Series != 2 || !p.CreatedAt.Equal(before.CreatedAt) || !slices.Equal(p.History, before.History) ||
		string(p.Input) != large || p.Labels["team"] != "one" || p.Priority != 2 {
		t.Errorf("it is %+v", p)
	}
	if left := keysUnder(t, r, "output/"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	// The deadline counts from now.
	pass(50 * time.Minute)
	mature(t, r)
	c := claim(t, r, s, "p")
	steps, err := r.Steps(t.Context(), c)
	noErr(t, err)
	if c.Attempt != 4 || c.Series() != 2 || c.Errors() != 0 || c.Fence <= first.Fence || len(steps) != 0 {
		t.Errorf("the claim is %+v, steps %v", c, steps)
	}
	pass(11 * time.Minute)
	mature(t, r)
	if _, err := r.EndRequested(t.Context(), c, "", nil); err != nil {
		t.Fatal(err)
	}
	wantLate(t, r, "p")
	if hints := keysUnder(t, r, "done/"); len(hints) != 2 {
		t.Errorf("hints %v", hints)
	}
}

func TestReopenParksWhatIsExternal(t *testing.T) {
	r := newRegistry(t)
	startExternal(t, r, "p", Authority("them"))
	noErr(t, r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Failed}))
	_, err := r.Reopen(t.Context(), "p")
	noErr(t, err)
	p := wants(t, r, "p", StatusParked, 0, 0, 0, 0)
	if p.Evidence != nil || p.Authority != "them" {
		t.Errorf("it is %+v", p)
	}
	noErr(t, r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Completed}))
}

// What was handed off is for nodes again, as it was declared.
func TestReopenTakesBackWhatWasHandedOff(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	noErr(t, r.HandOff(t.Context(), claim(t, r, s, "p"), Reference{Value: []byte(`1`), Authority: "them"}))
	noErr(t, r.EndExternal(t.Context(), "p", "them", ExternalEnd{Outcome: Failed}))
	_, err := r.Reopen(t.Context(), "p")
	noErr(t, err)
	if p := wants(t, r, "p", StatusPending, 1, 0, 0, 0); p.Reference != nil || p.Authority != "" {
		t.Errorf("it is %+v", p)
	}
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "p"), nil))
}

// An owner-bound process that was opened again may be started once more: that
// is what somebody asked for.
func TestReopenOfWhatIsOwnerBound(t *testing.T) {
	r := newRegistry(t)
	a, _ := owned(t, r, "p")
	leave(t, a)
	_, err := r.Abandon(t.Context(), "p", Request{})
	noErr(t, err)
	_, err = r.Reopen(t.Context(), "p")
	noErr(t, err)
	c := claim(t, r, join(t, r, "b"), "p")
	wantErr(t, r.Release(t.Context(), c), ErrOwnerBound)
	noErr(t, r.Complete(t.Context(), c, nil))
	wants(t, r, "p", StatusCompleted, 2, 0, 0, 0)
}

// What somebody put there by hand is no part of the next series either.
func TestReopenClearsUp(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "p"), nil))
	for _, key := range []string{r.keys.request("p"), r.keys.progress("p"), r.keys.step("p", "one"), r.keys.output("p")} {
		write(t, r, key, "{}")
	}
	_, err := r.Reopen(t.Context(), "p")
	noErr(t, err)
	p := wants(t, r, "p", StatusPending, 1, 0, 0, 0)
	if p.CancelRequested != nil || p.Progress != nil || p.Output != nil {
		t.Errorf("it is %+v", p)
	}
	c := claim(t, r, s, "p")
	noErr(t, r.Retry(t.Context(), c, time.Now(), "boom")) // nobody asked for its end
	c = claim(t, r, s, "p")
	if steps, err := r.Steps(t.Context(), c); err != nil || len(steps) > 0 {
		t.Errorf("steps %v, %v", steps, err)
	}
	noErr(t, r.Complete(t.Context(), c, nil))
	wantNothingLeft(t, r)
}

func TestReopenNeedsAnEnd(t *testing.T) {
	r := newRegistry(t)
	_, err := r.Reopen(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
	start(t, r, "p")
	_, err = r.Reopen(t.Context(), "p")
	wantErr(t, err, ErrNotEnded)
	claim(t, r, join(t, r, "n"), "p")
	_, err = r.Reopen(t.Context(), "p")
	wantErr(t, err, ErrNotEnded)
}

// What is late of the first series does nothing to the second.
func TestTheFirstSeriesDoesNotReachIntoTheSecond(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	s := join(t, r, "n")
	c := claim(t, r, s, "p")
	late := givenUp(t, wire, func(ctx context.Context) error { return r.Progress(ctx, c, []byte(`1`)) })
	end := givenUp(t, wire, func(ctx context.Context) error { return r.Complete(ctx, c, nil) })
	ask := givenUp(t, wire, func(ctx context.Context) error { _, err := r.Abandon(ctx, "p", Request{}); return err })
	noErr(t, r.Fail(t.Context(), c, "boom", "", nil))
	_, err := r.Reopen(t.Context(), "p")
	noErr(t, err)
	again := claim(t, r, s, "p")
	for _, land := range []func() error{late, end, ask} {
		noErr(t, land())
	}
	if p := wants(t, r, "p", StatusRunning, 2, 0, 0, 0); p.CancelRequested != nil || p.Progress != nil {
		t.Errorf("it is %+v", p)
	}
	noErr(t, r.Complete(t.Context(), again, nil))
	wantNothingLeft(t, r)
}
