package supervisor_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// slowRenewals delivers the answers to a client's renewals late: the lease is
// renewed all the same, and nobody hears of it in time.
type slowRenewals struct {
	slow atomic.Bool
	heal chan struct{}
}

func (s *slowRenewals) client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: etcdtest.Client(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainStreamInterceptor(s.intercept)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *slowRenewals) intercept(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	stream grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	to, err := stream(ctx, desc, conn, method, opts...)
	if err == nil && method == "/etcdserverpb.Lease/LeaseKeepAlive" {
		to = &slowStream{ClientStream: to, renewals: s}
	}
	return to, err
}

type slowStream struct {
	grpc.ClientStream
	renewals *slowRenewals
}

func (s *slowStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if s.renewals.slow.Load() {
		select {
		case <-s.renewals.heal:
		case <-s.Context().Done():
			return s.Context().Err()
		}
	}
	return err
}

// Renewals reach etcd, so the lease lives, but their answers come after the
// deadline. The node must not believe in what it does not know: it cancels its
// attempts, and nobody else runs them before. Then it goes on with another session.
func TestANodeWhoseRenewalsAreAnsweredLateStopsInTimeAndGoesOn(t *testing.T) {
	r := newRanch(t)
	var mu sync.Mutex
	var log []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, what)
	}
	entered, over := make(chan string, 10), make(chan error, 10)
	release := make(chan struct{})
	r.handle("held", func(ctx context.Context, a *runner.Attempt) (any, error) {
		note(a.Node() + " enters")
		entered <- a.Node()
		select {
		case <-ctx.Done():
			note(a.Node() + " is cancelled")
			over <- context.Cause(ctx)
			return nil, context.Cause(ctx)
		case <-release:
			return nil, nil
		}
	})
	renewals := &slowRenewals{heal: make(chan struct{})}
	namespace := etcdtest.Namespace(t)
	direct, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = direct.Close() })
	r.registry = direct
	reg, err := registry.Open(t.Context(), renewals.client(t), registry.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	c := r.config()
	c.Registry, c.Node = reg, "slow"
	r.start(c)
	r.process("p", "held")
	if who := <-entered; who != "slow" {
		t.Fatalf("%s runs it", who)
	}
	first := r.nodes()[0].Session
	renewals.slow.Store(true)
	c = r.config()
	c.Name, c.Node = "other", "other"
	r.start(c)

	select {
	case cause := <-over:
		if !errors.Is(cause, runner.ErrLeaseLost) {
			t.Errorf("it is cancelled with %v, want ErrLeaseLost", cause)
		}
	case <-time.After(patience):
		t.Fatal("the attempt goes on though nobody knows that it may")
	}
	<-entered // by whichever
	renewals.slow.Store(false)
	close(renewals.heal)
	soon(t, "the node to be one again", func() bool {
		nodes := r.nodes()
		return len(nodes) == 2 && !slices.ContainsFunc(nodes, func(n registry.Node) bool { return n.Session == first })
	})
	close(release)
	r.completed("p")
	mu.Lock()
	defer mu.Unlock()
	if len(log) < 3 || log[0] != "slow enters" || log[1] != "slow is cancelled" {
		t.Errorf("what happened: %q", log)
	}
}
