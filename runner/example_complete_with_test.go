package runner_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Shipment struct {
	Item string
	Lost bool
}

var Ship = runner.NewKind[Shipment, string]("order.ship", registry.Rerunnable)

func ship(_ context.Context, a *runner.Attempt, in Shipment) (string, error) {
	// Written in the transaction that completes the process, or not at all.
	if err := a.CompleteWith(clientv3.OpPut("/shop/shipped/"+in.Item, a.ID())); err != nil {
		return "", err
	}
	if in.Lost {
		return "", runner.Fail(errors.New("it fell off the truck"))
	}
	return "delivered", nil
}

// A handler's own keys in etcd change if and only if its process completes.
func Example_completeWith() {
	ctx := context.Background()
	mux := runner.NewMux()
	Ship.Handle(mux, ship)
	etcd, reg, end := open()
	defer end()
	node := join(reg, "node-1", mux)
	defer node.stop()

	for _, s := range []Shipment{{Item: "lamp"}, {Item: "vase", Lost: true}} {
		ref, err := Ship.Start(ctx, reg, s, registry.ID("ship/"+s.Item))
		if err != nil {
			panic(err)
		}
		fmt.Println(ref.Wait(ctx))
		resp, err := etcd.Get(ctx, "/shop/shipped/"+s.Item)
		if err != nil {
			panic(err)
		}
		for _, kv := range resp.Kvs {
			fmt.Printf("%s: %s\n", kv.Key, kv.Value)
		}
	}
	// Output:
	// delivered <nil>
	// /shop/shipped/lamp: ship/lamp
	//  process ship/vase failed: it fell off the truck
}
