package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

var errBroken = errors.New("broken")

func broken(context.Context, *runner.Attempt) (any, error) { return nil, errBroken }

func TestTheDelayBeforeARetryIsWhatTheProcessSaysElseItsKind(t *testing.T) {
	perError := runner.PolicyFunc(func(errors int, _ error) time.Duration { return time.Duration(errors) * time.Minute })
	for name, test := range map[string]struct {
		kind    []runner.HandleOption
		process []registry.StartOption
		errors  int
		from    time.Duration // the delay after the last of these errors
		to      time.Duration
	}{
		"nobody":                    {errors: 1, from: 1, to: time.Second},
		"nobody, after four errors": {errors: 4, from: 1, to: 8 * time.Second},
		"the kind": {
			kind: []runner.HandleOption{runner.WithPolicy(runner.Constant(3 * time.Minute))}, errors: 1,
			from: 3 * time.Minute, to: 3 * time.Minute,
		},
		"the kind, by the number of errors": {
			kind: []runner.HandleOption{runner.WithPolicy(perError)}, errors: 3, from: 3 * time.Minute, to: 3 * time.Minute,
		},
		"the kind, up to its cap": {
			kind:   []runner.HandleOption{runner.WithPolicy(runner.Exponential{Base: time.Minute, Cap: 90 * time.Second})},
			errors: 9, from: 1, to: 90 * time.Second,
		},
		"the process": {
			kind:    []runner.HandleOption{runner.WithPolicy(runner.Constant(time.Hour))},
			process: []registry.StartOption{registry.Backoff(10 * time.Second)}, errors: 2, from: 1, to: 20 * time.Second,
		},
		"the process, always the same": {
			kind:    []runner.HandleOption{runner.WithPolicy(perError)},
			process: []registry.StartOption{registry.ConstantBackoff(10 * time.Second)}, errors: 2,
			from: 10 * time.Second, to: 10 * time.Second,
		},
		"the process, more than the default's cap": {
			process: []registry.StartOption{registry.ConstantBackoff(time.Hour)}, errors: 1, from: time.Hour, to: time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, registry.Rerunnable, broken, test.kind...)
			b.clock.stop()
			b.start("x", "k", test.process...)
			for range test.errors {
				b.clock.advance(time.Hour)
				b.runNext(t.Context())
			}
			p := b.get("x")
			if delay := p.DueAt.Sub(b.clock.now()); p.Status != registry.StatusScheduled || delay < test.from || delay > test.to {
				t.Errorf("%s, to be run again after %s, want %s to %s", p.Status, delay, test.from, test.to)
			}
		})
	}
}

func TestHowManyErrorsFailAProcessIsWhatItSaysElseItsKind(t *testing.T) {
	two := []runner.HandleOption{runner.WithMaxAttempts(2)}
	for name, test := range map[string]struct {
		kind    []runner.HandleOption
		process []registry.StartOption
		want    int
	}{
		"nobody":                {want: 10},
		"the kind":              {kind: two, want: 2},
		"the process":           {kind: two, process: []registry.StartOption{registry.MaxAttempts(3)}, want: 3},
		"the process, only one": {kind: two, process: []registry.StartOption{registry.MaxAttempts(1)}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBenchOf(t, registry.Rerunnable, broken, test.kind...)
			b.clock.stop()
			b.start("x", "k", test.process...)
			for n := 1; n < test.want; n++ {
				if report := b.runNext(t.Context()); report.Outcome != "" {
					t.Fatalf("%s after %d errors, want it to be retried", report.Outcome, n)
				}
				b.clock.advance(10 * time.Minute)
			}
			report := b.runNext(t.Context())
			p := b.get("x")
			if report.Outcome != registry.Failed || p.Errors != test.want || p.OutcomeReason != "too many errors" || p.Error != "broken" {
				t.Errorf("%+v after %d errors: %s (%s)", report, p.Errors, p.Error, p.OutcomeReason)
			}
		})
	}
}

func TestAPolicyThatPanicsIsReplacedByTheDefault(t *testing.T) {
	panics := runner.PolicyFunc(func(int, error) time.Duration { panic("no idea") })
	b := newBenchOf(t, registry.Rerunnable, broken, runner.WithPolicy(panics), runner.WithMaxAttempts(2))
	b.clock.stop()
	b.start("x", "k")
	b.runNext(t.Context())
	p := b.get("x")
	if delay := p.DueAt.Sub(b.clock.now()); p.Errors != 1 || delay <= 0 || delay > time.Second {
		t.Errorf("%d errors, to be run again after %s", p.Errors, delay)
	}
	if got := p.History[0].Error; got != "panic: no idea" {
		t.Errorf("the history says %q", got)
	}
	b.clock.advance(time.Second)
	// The last error asks no policy.
	if report := b.runNext(t.Context()); report.Outcome != registry.Failed || b.get("x").Error != "broken" {
		t.Errorf("then %+v with %q", report, b.get("x").Error)
	}
}

// What an attempt ends in is counted once, as what it is.
func TestCountersNeverMix(t *testing.T) {
	ctx, shutdown := context.WithCancelCause(t.Context())
	ends := []func(b *bench) (any, error){
		func(*bench) (any, error) { return nil, runner.RetryAfter(0, errBroken) },
		func(*bench) (any, error) { return nil, runner.Snooze(0) },
		func(*bench) (any, error) { shutdown(runner.ErrShutdown); return nil, errBroken },
		func(b *bench) (any, error) { b.die(); return "late", nil },
		func(*bench) (any, error) { return nil, runner.RetryAfter(0, errBroken) },
		func(*bench) (any, error) { return nil, runner.Snooze(0) },
		func(*bench) (any, error) { return "done", nil },
	}
	var b *bench
	b = newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
		return ends[a.Number()-1](b)
	})
	b.clock.stop()
	b.start("x", "k", registry.MaxAttempts(3))
	b.runNext(ctx)
	b.runNext(ctx)
	b.runNext(ctx)
	b.runNext(t.Context())
	b.session = b.open("n2")
	b.runner.LookForOrphans()
	for range 3 {
		b.runNext(t.Context())
	}
	p := b.get("x")
	if p.Status != registry.StatusCompleted || p.Attempt != 7 || p.Errors != 2 || p.Snoozes != 2 || p.Adoptions != 1 {
		t.Errorf("%s after %d attempts, %d errors, %d snoozes, %d adoptions, want completed after 7, 2, 2, 1",
			p.Status, p.Attempt, p.Errors, p.Snoozes, p.Adoptions)
	}
	var history []string
	for i, past := range p.History {
		history = append(history, past.Error)
		if past.Attempt != i+1 || i > 0 && past.Fence <= p.History[i-1].Fence {
			t.Errorf("attempt %d has the number %d and the fence %d", i+1, past.Attempt, past.Fence)
		}
	}
	if want := []string{"broken", "put off", "handed back", "session lost", "broken", "put off", ""}; !slices.Equal(history, want) {
		t.Errorf("history %q, want %q", history, want)
	}
	if _, err := b.registry.Reopen(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	p = b.get("x")
	if p.Series != 2 || p.Attempt != 7 || p.Errors != 0 || p.Snoozes != 0 || p.Adoptions != 0 || len(p.History) != 7 {
		t.Errorf("opened again: %+v", p)
	}
}

func TestTheHistoryIsBounded(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
		return nil, runner.RetryAfter(0, errors.New(fmt.Sprint(a.Number())+strings.Repeat(" ü", 3000)))
	})
	b.clock.stop()
	b.start("x", "k", registry.MaxAttempts(23))
	for range 23 {
		b.runNext(t.Context())
	}
	p := b.get("x")
	if len(p.History) != 20 || p.History[0].Attempt != 4 || p.History[19].Attempt != 23 {
		t.Fatalf("the history has %d attempts, from %d", len(p.History), p.History[0].Attempt)
	}
	for _, past := range append(p.History, registry.PastAttempt{Attempt: 23, Error: p.Error}) {
		if n := len(past.Error); n > 2048 || n < 2040 || !strings.HasPrefix(past.Error, fmt.Sprint(past.Attempt, " ü")) || !strings.HasSuffix(past.Error, "…") {
			t.Errorf("the error of attempt %d has %d bytes: %.20q", past.Attempt, n, past.Error)
		}
	}
}
