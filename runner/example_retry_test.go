package runner_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Order struct{ Cents int }

type Receipt struct{ Number string }

// A kind says how its processes are retried. What is said at the start of one
// process goes before it.
var Charge = runner.NewKind[Order, Receipt]("order.charge", registry.Rerunnable,
	runner.WithMaxAttempts(5), // errors, after which it is failed
	runner.WithPolicy(runner.Exponential{Base: 2 * time.Second, Cap: time.Minute}),
)

var errCardExpired = errors.New("the card has expired")

func charge(_ context.Context, a *runner.Attempt, in Order) (Receipt, error) {
	switch {
	case in.Cents < 0:
		return Receipt{}, runner.Fail(errCardExpired) // no retry helps
	case a.Number() < 3:
		return Receipt{}, fmt.Errorf("the bank is down for attempt %d", a.Number()) // retried by the policy
	default:
		return Receipt{Number: "R-7"}, nil
	}
}

// An error is retried by the policy of the kind, or of the process.
func Example_retry() {
	ctx := context.Background()
	mux := runner.NewMux()
	Charge.Handle(mux, charge)
	reg, stop := serve(mux)
	defer stop()

	ref, err := Charge.Start(ctx, reg, Order{Cents: 1200}, registry.ID("order/1"),
		registry.ConstantBackoff(10*time.Millisecond))
	if err != nil {
		panic(err)
	}
	receipt, err := ref.Wait(ctx)
	fmt.Println(receipt.Number, err)
	p, err := reg.Get(ctx, ref.ID())
	if err != nil {
		panic(err)
	}
	for _, attempt := range p.History {
		fmt.Printf("attempt %d: %q\n", attempt.Attempt, attempt.Error)
	}

	ref, err = Charge.Start(ctx, reg, Order{Cents: -1}, registry.ID("order/2"))
	if err != nil {
		panic(err)
	}
	_, err = ref.Wait(ctx)
	fmt.Println(err)
	// Output:
	// R-7 <nil>
	// attempt 1: "the bank is down for attempt 1"
	// attempt 2: "the bank is down for attempt 2"
	// attempt 3: ""
	// process order/2 failed: the card has expired
}
