package runner_test

import (
	"context"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// asks are the ways to ask that a running process ends, and what comes of them.
var asks = map[string]struct {
	ask     func(t *testing.T, b *bench)
	cause   error
	outcome registry.Outcome
	why     string
	by      string // of the evidence
}{
	"cancel": {
		func(t *testing.T, b *bench) {
			if ended, err := b.registry.Cancel(t.Context(), "x", registry.Request{By: "me", Reason: "no need"}); ended || err != nil {
				t.Errorf("ended %t, error %v", ended, err)
			}
		}, runner.ErrCancelRequested, registry.Cancelled, "no need", "",
	},
	"abandon": {
		func(t *testing.T, b *bench) {
			if ended, err := b.registry.Abandon(t.Context(), "x", registry.Request{By: "me", Reason: "it hangs"}); ended || err != nil {
				t.Errorf("ended %t, error %v", ended, err)
			}
		}, runner.ErrAbandonRequested, registry.Abandoned, "it hangs", "me",
	},
	"deadline": {
		func(t *testing.T, b *bench) {
			b.clock.advance(time.Hour)
			b.look()
		}, runner.ErrDeadline, registry.Failed, "deadline passed", "",
	},
}

// A request that stands wins over everything but a value, also when the
// attempt's context was not cancelled for it.
func TestARequestThatStandsDecides(t *testing.T) {
	ends := map[string]error{
		"an error":         errBroken,
		"a retry later":    runner.RetryAfter(time.Hour, errBroken),
		"a snooze":         runner.Snooze(time.Hour),
		"a hand-off":       runner.HandOff("there", ""),
		"a plain shutdown": nil,
	}
	for what, request := range asks {
		for how, returned := range ends {
			t.Run(what+" and "+how, func(t *testing.T) {
				ctx, shutdown := context.WithCancelCause(t.Context())
				defer shutdown(nil)
				var b *bench
				b = newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) {
					request.ask(t, b)
					if returned == nil {
						shutdown(runner.ErrShutdown)
						return nil, errBroken
					}
					return nil, runner.WithOutput(returned, "half")
				})
				b.clock.stop()
				b.start("x", "k", registry.Deadline(time.Hour))
				report := b.runNext(ctx)
				p := b.get("x")
				if report.Outcome != request.outcome || p.Status != registry.Status(request.outcome) || p.OutcomeReason != request.why ||
					(p.CancelRequested != nil) != (request.outcome == registry.Cancelled) {
					t.Fatalf("%+v: %s (%s), request %+v", report, p.Status, p.OutcomeReason, p.CancelRequested)
				}
				if returned != nil && string(p.Output) != `"half"` {
					t.Errorf("its output is %s, want it kept", p.Output)
				}
				evidence(t, p, request.by)
			})
		}
	}
}

// evidence checks that it is of an abandon request of by, if anybody.
func evidence(t *testing.T, p registry.Process, by string) {
	t.Helper()
	switch e := p.Evidence; {
	case by == "" && e != nil:
		t.Errorf("evidence %+v, want none", e)
	case by != "" && (e == nil || e.What != "abandon request" || e.By != by || e.Reason != p.OutcomeReason || e.At.IsZero()):
		t.Errorf("evidence %+v, want that %s asked for it", e, by)
	}
}

func TestAHandlerThatIsToldOfARequestMayStillComplete(t *testing.T) {
	for what, request := range asks {
		for how, completes := range map[string]bool{"completes": true, "returns an error": false} {
			t.Run(what+", it "+how, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var b *bench
				b = newBenchOf(t, registry.OwnerBound, func(ctx context.Context, _ *runner.Attempt) (any, error) {
					request.ask(t, b)
					cancel(request.cause)
					if completes {
						return "done", nil
					}
					return nil, context.Cause(ctx)
				})
				b.clock.stop()
				b.start("x", "k", ownerBound, registry.Deadline(time.Hour))
				report := b.runNext(ctx)
				p := b.get("x")
				if completes {
					if report.Outcome != registry.Completed || string(p.Output) != `"done"` || p.Evidence != nil || p.CancelRequested != nil {
						t.Errorf("%+v: %+v", report, p)
					}
					return
				}
				if report.Outcome != request.outcome || p.Error != request.cause.Error() || p.OutcomeReason != request.why {
					t.Errorf("%+v: %s (%s)", report, p.Error, p.OutcomeReason)
				}
				evidence(t, p, request.by)
			})
		}
	}
}

func TestWhatIsAskedToEndBeforeItIsEnteredIsNotEntered(t *testing.T) {
	for what, request := range asks {
		t.Run(what, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			entered := false
			b := newBenchOf(t, registry.OwnerBound, func(context.Context, *runner.Attempt) (any, error) { entered = true; return nil, nil })
			b.clock.stop()
			b.start("x", "k", ownerBound, registry.Deadline(time.Hour))
			c := b.claimed()
			request.ask(t, b)
			cancel(request.cause)
			report := b.runner.Run(ctx, c)
			p := b.get("x")
			if report.Outcome != request.outcome || entered || p.Attempt != 0 || len(p.History) != 0 || p.OutcomeReason != request.why {
				t.Errorf("%+v, entered %t: %+v", report, entered, p)
			}
		})
	}
}

func TestADeadlineEndsWhatWaits(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(context.Context, *runner.Attempt) (any, error) { return nil, runner.Snooze(2 * time.Hour) })
	b.clock.stop()
	b.start("x", "k", registry.Deadline(time.Hour))
	b.runNext(t.Context())
	b.clock.advance(time.Hour)
	b.look()
	if p := b.get("x"); p.Status != registry.StatusFailed || p.OutcomeReason != "deadline passed" || p.Error != "" || p.Attempt != 1 {
		t.Errorf("%s after %d attempts: %s (%s)", p.Status, p.Attempt, p.Error, p.OutcomeReason)
	}
}
