package registry_test

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// A process can be started together with changes of a program's own state in
// etcd, if that state is what the program believes: here, an order that is new
// is marked as paid and its shipment started, both or neither.
func ExampleRegistry_StartIf() {
	ctx := context.Background()
	etcd := etcdtest.ExampleClient()
	defer etcd.Close()
	reg, err := registry.Open(ctx, etcd, registry.Options{Namespace: "example-start-if"})
	if err != nil {
		panic(err)
	}
	defer reg.Close()
	if _, err := etcd.Put(ctx, "/orders/1", "new"); err != nil {
		panic(err)
	}

	isNew := []clientv3.Cmp{clientv3.Compare(clientv3.Value("/orders/1"), "=", "new")}
	paid := clientv3.OpPut("/orders/1", "paid")
	spec := registry.Spec{ID: "ship/1", Kind: "order.ship", Disposition: registry.Rerunnable}
	started, err := reg.StartIf(ctx, spec, isNew, paid)
	if err != nil {
		panic(err)
	}
	fmt.Println("started", started.ID)

	// The answer was lost, so it is asked for again: the process is there.
	started, err = reg.StartIf(ctx, spec, isNew, paid)
	if err != nil {
		panic(err)
	}
	fmt.Println("there already:", started.Existing)

	// Another process, for an order that is not new any more.
	spec.ID = "ship/again"
	_, err = reg.StartIf(ctx, spec, isNew, paid)
	fmt.Println("refused:", errors.Is(err, registry.ErrCondition))
	// Output:
	// started ship/1
	// there already: true
	// refused: true
}
