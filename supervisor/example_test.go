package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

type ResizeIn struct{ URL string }

type Thumb struct{ Size int }

var resized = make(chan string, 1)

func resize(_ context.Context, a *runner.Attempt, in ResizeIn) (Thumb, error) {
	resized <- fmt.Sprintf("attempt %d at %s resizes %s", a.Number(), a.ID(), in.URL)
	return Thumb{Size: 200}, nil
}

// The README shows what stands from here to the example.

var Resize = runner.NewKind[ResizeIn, Thumb]("image.resize", registry.Rerunnable)

func serve(ctx context.Context, etcd *clientv3.Client) (err error) {
	reg, err := registry.Open(ctx, etcd, registry.Options{Namespace: "shop"})
	if err != nil {
		return err
	}
	defer reg.Close()

	mux := runner.NewMux()
	Resize.Handle(mux, resize) // func(context.Context, *runner.Attempt, ResizeIn) (Thumb, error)
	node, err := supervisor.Start(ctx, actor.NewActorSystem(), supervisor.Config{Registry: reg, Mux: mux})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, node.Stop(ctx))
	}()

	ref, err := Resize.Start(ctx, node.Driver(), ResizeIn{URL: "u"}, registry.ID("img/42"))
	if err != nil {
		return err
	}
	if _, err := ref.Wait(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-node.Done():
		return node.Err()
	}
}

func Example() {
	etcd := etcdtest.ExampleClient()
	defer etcd.Close()

	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- serve(ctx, etcd) }()
	fmt.Println(<-resized)
	cancel()
	if err := <-served; err != nil && !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
	fmt.Println("stopped")
	// Output:
	// attempt 1 at img/42 resizes u
	// stopped
}
