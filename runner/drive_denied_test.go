package runner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// One session that is over and can't be ended is no reason to leave what others
// left behind.
func TestASessionThatCantBeEndedHoldsUpNoOther(t *testing.T) {
	var denied atomic.Pointer[[]string] // keys that may not be deleted
	intercept := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		if txn, ok := req.(*etcdserverpb.TxnRequest); ok && denied.Load() != nil {
			for _, op := range txn.Success {
				if d := op.GetRequestDeleteRange(); d != nil && slices.Contains(*denied.Load(), string(d.Key)) {
					return rpctypes.ErrGRPCPermissionDenied
				}
			}
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	plain := etcdtest.Client(t)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: plain.Endpoints(), DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(intercept)},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	b := &bench{t: t, space: etcdtest.Namespace(t), mux: runner.NewMux(), free: 1, clock: &clock{}}
	if b.registry, err = registry.Open(t.Context(), client, registry.Options{Namespace: b.space}); err != nil {
		t.Fatal(err)
	}
	defer b.registry.Close()
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(noop))
	b.start("p", "k")
	b.session = b.open("dead")
	b.runner = b.make("default")
	b.claimed()
	b.die()
	detached := b.open("detached")
	if _, err := plain.Put(t.Context(), detached.Key(), "{}"); err != nil {
		t.Fatal(err)
	}
	// It left nothing, so it is to be forgotten.
	idle := b.open("idle")
	if err := idle.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	roster := "/" + b.space + "/v1/node/" + idle.ID()
	denied.Store(&[]string{detached.Key(), roster})

	b.session, b.free = b.open("n1"), 1
	_, err = b.runner.Drive(t.Context(), runner.Startup)
	for _, refused := range []string{"end dead sessions: ", "take over orphans: "} {
		if !errors.Is(err, registry.ErrDenied) || !strings.Contains(err.Error(), refused) {
			t.Errorf("the drive says %v, want that it was refused to %s", err, refused)
		}
	}
	if got := ids(b.empty()); !slices.Equal(got, []string{"p"}) {
		t.Errorf("it claimed %q, want the orphan", got)
	}
	// It is tried again, without waiting for the time to look at everything.
	denied.Store(&[]string{detached.Key()})
	if _, err = b.runner.Drive(t.Context(), runner.Poke); !errors.Is(err, registry.ErrDenied) {
		t.Errorf("the next drive says %v", err)
	}
	denied.Store(nil)
	b.drive()
	for _, key := range []string{detached.Key(), roster} {
		if resp, err := plain.Get(t.Context(), key, clientv3.WithKeysOnly()); err != nil || len(resp.Kvs) != 0 {
			t.Errorf("%s stands: %v, %v", key, resp.Kvs, err)
		}
	}
}
