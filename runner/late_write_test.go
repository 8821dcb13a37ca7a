package runner_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// delayer holds back the first request that writes a value, as a slow network
// does, until it is let go.
type delayer struct {
	value string

	once sync.Once
	held chan func() error
}

func (d *delayer) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	late := false
	if txn, ok := req.(*etcdserverpb.TxnRequest); ok && strings.Contains(txn.String(), d.value) {
		d.once.Do(func() { late = true })
	}
	if !late {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	d.held <- func() error {
		return invoke(context.WithoutCancel(ctx), method, req, &etcdserverpb.TxnResponse{}, cc, opts...)
	}
	<-ctx.Done()
	return ctx.Err()
}

// A checkpoint whose caller gave up may still land, after a newer one.
func TestACheckpointThatLandsLateDoesNotUndoANewerOne(t *testing.T) {
	d := &delayer{value: "the older", held: make(chan func() error, 1)}
	server := etcdtest.New(t)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.Endpoint()}, DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(d.intercept)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b := &bench{t: t, mux: runner.NewMux(), free: 1, clock: &clock{}}
	if b.registry, err = registry.Open(t.Context(), client, registry.Options{}); err != nil {
		t.Fatal(err)
	}
	defer b.registry.Close()
	b.session = b.open("n1")
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		impatient, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		if err := a.Checkpoint(impatient, "place", "the older"); !errors.Is(err, registry.ErrUnresolved) {
			t.Errorf("the older: %v, want ErrUnresolved", err)
		}
		if err := a.Checkpoint(ctx, "place", "the newer"); err != nil {
			t.Error(err)
		}
		if err := (<-d.held)(); err != nil { // it lands
			t.Error(err)
		}
		return nil, runner.RetryAfter(0, errBroken)
	}))
	b.runner = b.make("default")
	b.start("x", "k")
	b.runNext(t.Context())
	steps, err := b.registry.Steps(t.Context(), b.claimed())
	if err != nil || string(steps["place"]) != `"the newer"` {
		t.Errorf("kept %s, error %v", steps["place"], err)
	}
}
