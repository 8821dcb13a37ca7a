package supervisor_test

import (
	"context"
	"testing"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// A request that was answered says nothing to the next series, which may begin
// before word of that comes.
func TestRequestOfAnEarlierSeriesCancelsNothing(t *testing.T) {
	r := newRanch(t)
	entered, finish := make(chan int, 10), make(chan struct{})
	r.handle("k", func(ctx context.Context, a *runner.Attempt) (any, error) {
		entered <- a.Series()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-finish:
			return nil, nil
		}
	})
	n := r.start(r.config())
	r.process("p", "k")
	for series := 1; series <= 10; series++ {
		if got := <-entered; got != series {
			t.Fatalf("series %d runs, want %d", got, series)
		}
		if series == 10 {
			break
		}
		if _, err := r.registry.Cancel(t.Context(), "p", registry.Request{}); err != nil {
			t.Fatal(err)
		}
		if p := r.ended("p"); p.Status != registry.StatusCancelled {
			t.Fatalf("p is %s, want cancelled", p.Status)
		}
		if _, err := r.registry.Reopen(t.Context(), "p"); err != nil {
			t.Fatal(err)
		}
	}
	close(finish)
	r.completed("p")
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
