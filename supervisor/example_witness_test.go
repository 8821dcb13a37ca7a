package supervisor_test

import (
	"context"
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
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://etcd1:2379", "http://etcd2:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	asked, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg, err := registry.Open(asked, etcd, registry.Options{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	node, err := supervisor.Start(asked, actor.NewActorSystem(), supervisor.Config{
		Registry: reg, Mux: runner.NewMux(), Witness: witness,
	})
	if err != nil {
		log.Fatal(err)
	}

	<-asked.Done()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := node.Stop(ctx); err != nil {
		log.Print(err)
	}
	if err := witness.Close(ctx); err != nil { // after the node
		log.Print(err)
	}
}
