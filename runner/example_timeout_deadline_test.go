package runner_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// Each attempt at a quote gets 50 ms; one that takes longer is an error like
// others.
var Quote = runner.NewKind[string, int]("quote", registry.Rerunnable,
	runner.WithAttemptTimeout(50*time.Millisecond),
	runner.WithPolicy(runner.Constant(time.Millisecond)),
)

var Delivery = runner.NewKind[string, string]("delivery", registry.Rerunnable)

// An attempt timeout bounds one attempt, which is then retried. A deadline
// bounds the whole process, however many attempts it makes and however long it
// waits between them.
func Example_timeouts() {
	ctx := context.Background()
	mux := runner.NewMux()
	Quote.Handle(mux, func(ctx context.Context, a *runner.Attempt, _ string) (int, error) {
		if a.Number() == 1 {
			<-ctx.Done() // the supplier hangs
			fmt.Println("attempt 1:", context.Cause(ctx))
			return 0, ctx.Err()
		}
		return 42, nil
	})
	Delivery.Handle(mux, func(context.Context, *runner.Attempt, string) (string, error) {
		return "", runner.Snooze(20 * time.Millisecond) // not there yet: look again later
	})
	reg, stop := serve(mux)
	defer stop()

	quote, err := Quote.Start(ctx, reg, "bolts")
	if err != nil {
		panic(err)
	}
	fmt.Println(quote.Wait(ctx))

	delivery, err := Delivery.Start(ctx, reg, "bolts", registry.ID("delivery/1"), registry.Deadline(200*time.Millisecond))
	if err != nil {
		panic(err)
	}
	_, err = delivery.Wait(ctx)
	if ended, ok := errors.AsType[*runner.EndedError](err); ok {
		fmt.Println(ended.Process.Status, "-", ended.Process.OutcomeReason)
	}
	// Output:
	// attempt 1: attempt timed out
	// 42 <nil>
	// failed - deadline passed
}
