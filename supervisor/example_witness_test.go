package supervisor_test //nolint:testableexamples // it needs an etcd

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// A program with a witness: however it ends, others take over its processes at
// once. The call is the first in main, since in a container the program may be
// executed anew by it.
func ExampleWitness() {
	witness, err := supervisor.Witness(supervisor.WitnessOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := serveWith(witness); err != nil {
		log.Fatal(err)
	}
}

func serveWith(witness *supervisor.WitnessLink) error {
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://etcd1:2379", "http://etcd2:2379"}})
	if err != nil {
		return err
	}
	asked, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg, err := registry.Open(asked, etcd, registry.Options{Namespace: "shop"})
	if err != nil {
		return err
	}
	node, err := supervisor.Start(asked, actor.NewActorSystem(), supervisor.Config{
		Registry: reg, Mux: runner.NewMux(), Witness: witness,
	})
	if err != nil {
		return err
	}

	<-asked.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(node.Stop(ctx), witness.Close(ctx)) // in this order
}
