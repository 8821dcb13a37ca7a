package runner_test

import (
	"context"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// noRoom is a slot that nobody gets again.
type noRoom struct{}

func (noRoom) Yield() {}

func (noRoom) Resume(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestAttemptThatGetsNoSlotAgainTimesOut(t *testing.T) {
	b := newBench(t, 1)
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(ctx context.Context, _ *runner.Attempt) (any, error) {
		return runner.Await(ctx, b.registry, "child")
	}), runner.WithAttemptTimeout(50*time.Millisecond), runner.WithMaxAttempts(1))
	b.runner = b.make("default")
	b.start("child", "k")
	if _, err := b.registry.Cancel(t.Context(), "child", registry.Request{}); err != nil {
		t.Fatal(err)
	}
	b.start("x", "k")
	ctx, cancel := context.WithTimeout(runner.WithSlot(t.Context(), noRoom{}), 20*time.Second)
	defer cancel()
	report := b.runNext(ctx)
	if p := b.get("x"); report.Outcome != registry.Failed || p.Error != "wait for child: take a slot again: attempt timed out" {
		t.Errorf("%+v with the error %q, want that it timed out", report, p.Error)
	}
}
