package runner_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Payout struct {
	To    string
	Cents int
}

// The bank's interface knows no idempotency keys, so a payout must never be
// sent twice: nobody runs it again, whatever happens to it.
var SendPayout = runner.NewKind[Payout, string]("payout.send", registry.OwnerBound)

// Owner-bound work is not run again when its node dies. It is orphaned until
// it is known that the node is dead, or until somebody who looked at the
// bank's statement gives it up. An error makes it failed, without a retry.
func Example_ownerBound() {
	ctx := context.Background()
	sent, died := make(chan string), make(chan struct{})
	mux := runner.NewMux()
	SendPayout.Handle(mux, func(_ context.Context, a *runner.Attempt, in Payout) (string, error) {
		sent <- fmt.Sprintf("%s sends %d cents to %s", a.Node(), in.Cents, in.To)
		<-died
		return "unheard", nil
	})
	_, reg, end := open()
	defer end()
	one := join(reg, "node-1", mux)
	ref, err := SendPayout.Start(ctx, reg, Payout{To: "ann", Cents: 500}, registry.ID("payout/1"))
	if err != nil {
		panic(err)
	}
	fmt.Println(<-sent)

	one.crash()
	close(died)
	two := join(reg, "node-2", mux)
	defer two.stop()
	p, err := reg.Get(ctx, ref.ID())
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Status, "on", p.Claim.Node)

	_, err = reg.Abandon(ctx, ref.ID(), registry.Request{By: "mia", Reason: "the statement has it"})
	if err != nil {
		panic(err)
	}
	_, err = ref.Wait(ctx)
	if ended, ok := errors.AsType[*runner.EndedError](err); ok {
		e := ended.Process.Evidence
		fmt.Printf("%s: %s by %s, %s\n", ended.Process.Status, e.What, e.By, e.Reason)
	}
	// Output:
	// node-1 sends 500 cents to ann
	// orphaned on node-1
	// abandoned: abandon request by mia, the statement has it
}
