package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// run starts one process with this handler, drives, and runs it.
func run(t *testing.T, h runner.HandlerFunc, opts ...registry.StartOption) (*bench, runner.Report) {
	t.Helper()
	b := newBench(t, 1)
	b.mux.Handle("k", registry.Rerunnable, h)
	b.runner = b.make("default")
	b.start("x", "k", opts...)
	report := b.runNext(t.Context())
	return b, report
}

func (b *bench) runNext(ctx context.Context) runner.Report {
	b.t.Helper()
	return b.runner.Run(ctx, b.claimed())
}

func TestRunCompletesWithTheOutput(t *testing.T) {
	b, report := run(t, func(_ context.Context, a *runner.Attempt) (any, error) {
		return map[string]any{"id": a.ID(), "n": a.Number(), "<": a.Fence() > 0, "node": a.Node()}, nil
	})
	if report.Outcome != registry.Completed || report.Err != nil {
		t.Fatalf("reported %+v", report)
	}
	p := b.get("x")
	if p.Status != registry.StatusCompleted || string(p.Output) != `{"<":true,"id":"x","n":1,"node":"n1"}` {
		t.Errorf("%s with output %s", p.Status, p.Output)
	}
	if len(p.History) != 1 || p.History[0].Error != "" || p.History[0].Fence != p.Fence {
		t.Errorf("history %+v, fence %d", p.History, p.Fence)
	}
}

func TestRunRetriesUntilThereWereTooManyErrors(t *testing.T) {
	b, report := run(t, func(context.Context, *runner.Attempt) (any, error) {
		return nil, runner.RetryAfter(0, runner.WithOutput(errors.New("broken"), "half"))
	}, registry.MaxAttempts(2))
	if report.Outcome != "" || report.Err != nil {
		t.Fatalf("first: %+v, want it given back", report)
	}
	if p := b.get("x"); p.Errors != 1 || p.Attempt != 1 || p.Status.Ended() || p.Output != nil {
		t.Errorf("after one error: %+v", p)
	}
	if report = b.runNext(t.Context()); report.Outcome != registry.Failed {
		t.Fatalf("second: %+v, want failed", report)
	}
	p := b.get("x")
	if p.Errors != 2 || p.Attempt != 2 || p.Error != "broken" || p.OutcomeReason != "too many errors" || string(p.Output) != `"half"` {
		t.Errorf("after two errors: %+v", p)
	}
}

func TestRunTakesAPanicForAnError(t *testing.T) {
	for name, h := range map[string]runner.HandlerFunc{
		"panic: boom": func(context.Context, *runner.Attempt) (any, error) { panic("boom") },
		"panic: panic called with nil argument": func(context.Context, *runner.Attempt) (any, error) {
			panic(nil) //nolint:govet // on purpose
		},
		"the handler called runtime.Goexit": func(context.Context, *runner.Attempt) (any, error) { runtime.Goexit(); return nil, nil },
	} {
		b, report := run(t, h, registry.MaxAttempts(1))
		if p := b.get("x"); report.Outcome != registry.Failed || p.Error != name {
			t.Errorf("%q: %+v, error %q", name, report, p.Error)
		}
	}
}

func TestRunFailsAnOutputThatIsTooLarge(t *testing.T) {
	b, report := run(t, func(context.Context, *runner.Attempt) (any, error) { return strings.Repeat("x", 64<<10), nil })
	p := b.get("x")
	if report.Outcome != registry.Failed || p.Error != "output of 65538 bytes is over the limit of 65536" || p.OutcomeReason != "output too large" {
		t.Errorf("%+v: %s (%s)", report, p.Error, p.OutcomeReason)
	}
}

func TestRunFailsAnOutputThatIsNotJSON(t *testing.T) {
	b, report := run(t, func(context.Context, *runner.Attempt) (any, error) { return make(chan int), nil })
	if p := b.get("x"); report.Outcome != registry.Failed || p.Errors != 1 {
		t.Errorf("%+v: %+v", report, p)
	}
}

func TestRunAnswersACancelRequestInsteadOfARetry(t *testing.T) {
	b := newBench(t, 1)
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(context.Context, *runner.Attempt) (any, error) {
		if _, err := b.registry.Cancel(t.Context(), "x", registry.Request{By: "me", Reason: "no need"}); err != nil {
			t.Error(err)
		}
		return nil, errors.New("broken")
	}))
	b.runner = b.make("default")
	b.start("x", "k")
	report := b.runNext(t.Context())
	p := b.get("x")
	if report.Outcome != registry.Cancelled || p.Status != registry.StatusCancelled || p.OutcomeReason != "no need" || p.CancelRequested == nil {
		t.Errorf("%+v: %+v", report, p)
	}
}

func TestRunHandsBackOnShutdown(t *testing.T) {
	b := newBench(t, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(ctx context.Context, _ *runner.Attempt) (any, error) {
		cancel(runner.ErrShutdown)
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	b.runner = b.make("default")
	b.start("x", "k", registry.MaxAttempts(1))
	report := b.runNext(ctx)
	p := b.get("x")
	if report.Outcome != "" || report.Err != nil || p.Status != registry.StatusPending {
		t.Fatalf("%+v: %s", report, p.Status)
	}
	if p.Errors != 0 || p.Attempt != 1 || len(p.History) != 1 || p.History[0].Error != "handed back" {
		t.Errorf("errors %d, attempt %d, history %+v", p.Errors, p.Attempt, p.History)
	}
}

func TestRunDoesNotEnterWhatIsOver(t *testing.T) {
	entered := false
	h := func(context.Context, *runner.Attempt) (any, error) { entered = true; return nil, nil }
	for _, tc := range []struct {
		cause error
		want  registry.Status
	}{{runner.ErrShutdown, registry.StatusPending}, {runner.ErrCancelRequested, registry.StatusCancelled}} {
		b := newBench(t, 1)
		b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(h))
		b.runner = b.make("default")
		b.start("x", "k")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(tc.cause)
		b.runNext(ctx)
		if p := b.get("x"); entered || p.Status != tc.want || p.Attempt != 0 || len(p.History) != 0 {
			t.Errorf("%v: entered %t, %s, attempt %d, history %v", tc.cause, entered, p.Status, p.Attempt, p.History)
		}
	}
}

func TestRunDiscardsWhatIsLateForTheSession(t *testing.T) {
	b := newBench(t, 1)
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(context.Context, *runner.Attempt) (any, error) {
		return "late", b.session.Close(t.Context())
	}))
	b.runner = b.make("default")
	b.start("x", "k")
	report := b.runNext(t.Context())
	if report.Outcome != "" || !errors.Is(report.Err, runner.ErrLeaseLost) {
		t.Errorf("reported %+v, want ErrLeaseLost", report)
	}
	if p := b.get("x"); p.Status != registry.StatusOrphaned {
		t.Errorf("%s, want orphaned", p.Status)
	}
}

type doubleIn struct{ N int }

var double = runner.NewKind[doubleIn, int]("double", registry.Rerunnable)

func TestTypedKind(t *testing.T) {
	b := newBench(t, 1)
	double.Handle(b.mux, func(_ context.Context, _ *runner.Attempt, in doubleIn) (int, error) { return 2 * in.N, nil })
	b.runner = b.make("default")
	ref, err := double.Start(t.Context(), b.registry, doubleIn{21}, registry.ID("x"))
	if err != nil {
		t.Fatal(err)
	}
	b.runNext(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := ref.Wait(ctx); got != 42 || err != nil {
		t.Errorf("output %d, error %v, want 42", got, err)
	}
	again, err := double.Start(ctx, b.registry, doubleIn{21}, registry.ID("x"))
	if err != nil || !again.Existing() {
		t.Errorf("started again: existing %t, error %v", again.Existing(), err)
	}
	if _, err = double.Start(ctx, b.registry, doubleIn{22}, registry.ID("x")); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("another input: %v, want ErrConflict", err)
	}
}

func TestTypedKindFailsOnInputThatDoesNotDecode(t *testing.T) {
	b := newBench(t, 1)
	double.Handle(b.mux, func(context.Context, *runner.Attempt, doubleIn) (int, error) { return 0, nil })
	b.runner = b.make("default")
	b.start("x", "double", func(s *registry.Spec) { s.Input = json.RawMessage(`{"N":"many"}`) })
	if report := b.runNext(t.Context()); report.Outcome != registry.Failed {
		t.Errorf("reported %+v, want failed", report)
	}
	ref := double.Ref(b.registry, "x")
	var ended *runner.EndedError
	if _, err := ref.Wait(t.Context()); !errors.As(err, &ended) || ended.Process.Status != registry.StatusFailed {
		t.Errorf("wait: %v, want an EndedError", err)
	}
}
