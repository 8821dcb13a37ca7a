package runner_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// What a process ends as is what was asked for, also if etcd does not say so
// at once.
func TestAnOutageDoesNotChangeWhatWasAskedFor(t *testing.T) {
	var failing atomic.Int64
	intercept := func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		txn, ok := req.(*etcdserverpb.TxnRequest)
		if ok && len(txn.Compare) == 0 && strings.Contains(txn.String(), "/request/x") && failing.Add(-1) >= 0 {
			return status.Error(codes.Unavailable, "an outage")
		}
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{etcdtest.New(t).Endpoint()}, DialOptions: []grpc.DialOption{grpc.WithUnaryInterceptor(intercept)},
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
	b.mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(context.Context, *runner.Attempt) (any, error) {
		asks["abandon"].ask(t, b)
		failing.Store(2)
		return nil, errBroken
	}))
	b.runner = b.make("default")
	b.start("x", "k")
	report := b.runNext(t.Context())
	if failing.Load() >= 0 {
		t.Fatal("there was no outage")
	}
	if p := b.get("x"); report.Outcome != registry.Abandoned {
		t.Errorf("%+v: %s (%s)", report, p.Status, p.OutcomeReason)
	} else {
		evidence(t, p, "me")
	}
}
