package runner_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// stuck goes on until it is told to stop, and returns why.
func stuck(ctx context.Context, _ *runner.Attempt) (any, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestAnAttemptThatTimesOutIsAnErrorAndRetried(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, stuck, runner.WithAttemptTimeout(5*time.Millisecond),
		runner.WithPolicy(runner.Constant(time.Minute)), runner.WithMaxAttempts(2))
	b.clock.stop()
	b.start("x", "k")
	if report := b.runNext(t.Context()); report.Outcome != "" || report.Err != nil {
		t.Fatalf("reported %+v, want it to be retried", report)
	}
	p := b.get("x")
	if delay := p.DueAt.Sub(b.clock.now()); p.Status != registry.StatusScheduled || p.Errors != 1 || delay != time.Minute {
		t.Errorf("%s after %d errors, due in %s", p.Status, p.Errors, delay)
	}
	if got := p.History[0].Error; got != "attempt timed out" {
		t.Errorf("the history says %q", got)
	}
	b.clock.advance(time.Minute)
	if report := b.runNext(t.Context()); report.Outcome != registry.Failed {
		t.Errorf("the second: %+v, want failed", report)
	}
	if p = b.get("x"); p.Errors != 2 || p.OutcomeReason != "too many errors" {
		t.Errorf("%d errors, %s", p.Errors, p.OutcomeReason)
	}
}

func TestAnAttemptThatReturnsAValueAfterItsTimeCompletes(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, _ *runner.Attempt) (any, error) {
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, runner.ErrAttemptTimeout) {
			return nil, cause
		}
		return "late", nil
	}, runner.WithAttemptTimeout(5*time.Millisecond))
	b.start("x", "k")
	report := b.runNext(t.Context())
	if p := b.get("x"); report.Outcome != registry.Completed || string(p.Output) != `"late"` || p.Errors != 0 {
		t.Errorf("%+v with %s after %d errors", report, p.Output, p.Errors)
	}
}

func TestHowLongAnAttemptMayTakeIsWhatTheProcessSaysElseItsKind(t *testing.T) {
	for name, test := range map[string]struct {
		kind    time.Duration
		process time.Duration
		want    time.Duration
	}{
		"nobody":            {want: 0},
		"the kind":          {kind: time.Hour, want: time.Hour},
		"the process":       {process: time.Hour, want: time.Hour},
		"the process, less": {kind: 3 * time.Hour, process: time.Hour, want: time.Hour},
		"the process, more": {kind: time.Minute, process: time.Hour, want: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			var got time.Duration
			b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, _ *runner.Attempt) (any, error) {
				if deadline, limited := ctx.Deadline(); limited {
					got = time.Until(deadline)
				}
				return nil, nil
			}, runner.WithAttemptTimeout(test.kind))
			b.start("x", "k", registry.AttemptTimeout(test.process))
			b.runNext(t.Context())
			if got > test.want || got < test.want-time.Minute {
				t.Errorf("it had %s, want %s", got, test.want)
			}
		})
	}
}

// What comes first decides: who noticed that his time was over, and returned
// only as the node stopped, timed out.
func TestAShutdownAfterTheTimeIsNoExcuse(t *testing.T) {
	ctx, shutdown := context.WithCancelCause(t.Context())
	b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, _ *runner.Attempt) (any, error) {
		<-ctx.Done()
		shutdown(runner.ErrShutdown)
		return nil, errBroken
	}, runner.WithAttemptTimeout(5*time.Millisecond))
	b.start("x", "k")
	b.runNext(ctx)
	if p := b.get("x"); p.Errors != 1 || p.History[0].Error != "attempt timed out: broken" {
		t.Errorf("%d errors, history %+v", p.Errors, p.History)
	}
}
