package e2e

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// drove is several nodes in this process, each with a client of its own whose requests are counted.
type drove struct {
	t        *testing.T
	space    string
	server   *etcdtest.Server
	registry *registry.Registry // of the test's own, which is not counted
	requests atomic.Int64       // of all nodes
	ran      atomic.Int64

	mu     sync.Mutex
	ends   []time.Time // when each process began to run
	handle runner.HandlerFunc
}

func newDrove(t *testing.T) *drove {
	t.Helper()
	h := &drove{t: t, space: etcdtest.Namespace(t), server: etcdtest.New(t)}
	h.registry = h.open(h.server.Client(t))
	h.handle = func(context.Context, *runner.Attempt) (any, error) { return nil, nil }
	return h
}

func (h *drove) open(c *clientv3.Client) *registry.Registry {
	h.t.Helper()
	r, err := registry.Open(h.t.Context(), c, registry.Options{Namespace: h.space})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = r.Close() })
	return r
}

// node joins. It looks by itself so seldom that what is counted is what processes cause.
func (h *drove) node(name string, slots int) *supervisor.Node {
	h.t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{h.server.Endpoint()}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(
			func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
				h.requests.Add(1)
				return invoke(ctx, method, req, reply, conn, opts...)
			})},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = client.Close() })
	mux := runner.NewMux()
	mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		h.mu.Lock()
		h.ends = append(h.ends, time.Now())
		h.mu.Unlock()
		h.ran.Add(1)
		return h.handle(ctx, a)
	}))
	system := actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}))
	n, err := supervisor.Start(h.t.Context(), system, supervisor.Config{
		Registry: h.open(client), Mux: mux, Node: name, MaxRunning: slots, Poll: 30 * time.Second, TTL: time.Minute,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { h.stop(n) })
	return n
}

func (h *drove) stop(n *supervisor.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		h.t.Error(err)
	}
}

func (h *drove) start(first, count int) {
	h.t.Helper()
	specs := make([]registry.Spec, count)
	for i := range specs {
		specs[i] = registry.Spec{ID: fmt.Sprint("p", first+i), Kind: "k", Disposition: registry.Rerunnable}
	}
	for _, r := range h.registry.StartMany(h.t.Context(), specs, registry.StartManyOptions{}) {
		if r.Err != nil {
			h.t.Fatal(r.Err)
		}
	}
}

// ranAll waits until so many have run.
func (h *drove) ranAll(count int) {
	h.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for h.ran.Load() < int64(count) {
		if time.Now().After(deadline) {
			h.t.Fatalf("%d of %d ran", h.ran.Load(), count)
		}
		<-time.After(2 * time.Millisecond)
	}
}

// hurry stops nodes whose handlers wait for that.
func hurry(nodes []*supervisor.Node) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, n := range nodes {
		_ = n.Stop(ctx) // the test is over
	}
}

func claims(nodes []*supervisor.Node) (tried, lost int64) {
	for _, n := range nodes {
		t, l := n.Claims()
		tried, lost = tried+t, lost+l
	}
	return tried, lost
}

// settled waits until the nodes know each other.
func (h *drove) settled() { <-time.After(300 * time.Millisecond) }

func TestNodesShareABacklogWithoutFighting(t *testing.T) {
	const nodes = 8
	count := 2000
	if *long {
		count = 10_000
	}
	h := newDrove(t)
	h.start(0, count)
	began := time.Now()
	var all []*supervisor.Node
	var mu sync.Mutex
	var joining sync.WaitGroup
	for i := range nodes {
		joining.Go(func() {
			n := h.node(fmt.Sprint("n", i), 64)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, n)
		})
	}
	joining.Wait()
	h.ranAll(count)
	took := time.Since(began)
	tried, lost := claims(all)
	t.Logf("%d processes, %d nodes, %s: %d claims, %d lost (%.2f %%), %.2f requests each",
		count, nodes, took.Round(time.Millisecond), tried, lost, 100*float64(lost)/float64(tried), float64(h.requests.Load())/float64(count))
	// A short run is mostly beginning and end, where they are lost.
	most := 0.05
	if *long {
		most = 0.02
	}
	if float64(lost) > most*float64(tried) {
		t.Errorf("%d of %d claims were lost, want %.0f %% at the most", lost, tried, 100*most)
	}
}

func TestRequestsForEachProcessDoNotGrowWithTheNodes(t *testing.T) {
	const count = 100
	alone := 0.0
	for _, nodes := range []int{1, 2, 4, 8} {
		h := newDrove(t)
		var all []*supervisor.Node
		for i := range nodes {
			all = append(all, h.node(fmt.Sprint("n", i), 64))
		}
		h.settled()
		before := h.requests.Load()
		for i := range count {
			h.start(i, 1)
			if _, err := h.registry.Wait(t.Context(), fmt.Sprint("p", i)); err != nil {
				t.Fatal(err)
			}
		}
		h.settled()
		tried, lost := claims(all)
		each := float64(h.requests.Load()-before) / count
		t.Logf("%d nodes: %.2f requests for each process, %d claims, %d lost", nodes, each, tried, lost)
		if nodes == 1 {
			alone = each
		}
		if each > alone+1 {
			t.Errorf("%d nodes make %.2f requests for each process, one alone %.2f", nodes, each, alone)
		}
		hurry(all)
	}
}

// dead is a node that held as many processes as were started, and whose session ends when the test says so.
func (h *drove) dead(count int) (end func()) {
	h.t.Helper()
	h.start(0, count)
	s, err := h.registry.OpenSession(h.t.Context(), registry.NodeInfo{Name: "dead", Max: count}, time.Minute)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close(context.Background()) })
	window := h.registry.Window([]string{"default"}, []string{"k"})
	entries, _, err := window.List(h.t.Context(), count, nil)
	if err != nil || len(entries) != count {
		h.t.Fatal(len(entries), err)
	}
	var claiming sync.WaitGroup
	for _, e := range entries {
		claiming.Go(func() {
			if _, err := h.registry.Claim(h.t.Context(), s, e); err != nil {
				h.t.Error(err)
			}
		})
	}
	claiming.Wait()
	client := h.server.Client(h.t)
	return func() {
		if _, err := client.Delete(h.t.Context(), s.Key()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// crowd puts claims of a living node beside.
func (h *drove) crowd(count int) {
	h.t.Helper()
	s, err := h.registry.OpenSession(h.t.Context(), registry.NodeInfo{Name: "crowd", Max: count}, time.Minute)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = s.Close(context.Background()) })
	client := h.server.Client(h.t)
	for first := 0; first < count; first += 100 {
		var ops []clientv3.Op
		for i := range 100 {
			key := fmt.Sprintf("/%s/v1/claim/%s/other%06d", h.space, s.ID(), first+i)
			ops = append(ops, clientv3.OpPut(key, `{"queue":"default","kind":"k","claimed_at":"2026-01-01T00:00:00Z","nonce":"n"}`))
		}
		if _, err := client.Txn(h.t.Context()).Then(ops...).Commit(); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *drove) last() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends[len(h.ends)-1]
}

// A takeover costs the same whatever else is claimed. Its time is in the log, for a machine that does nothing else.
func TestTakeoverReadsOrphansTogether(t *testing.T) {
	const count = 1000
	crowds := []int{0, 10_000}
	if *long {
		crowds[1] = 100_000
	}
	for _, crowd := range crowds {
		for _, nodes := range []int{1, 4} {
			h := newDrove(t)
			h.handle = func(ctx context.Context, _ *runner.Attempt) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
			end := h.dead(count)
			h.crowd(crowd)
			var all []*supervisor.Node
			for i := range nodes {
				all = append(all, h.node(fmt.Sprint("n", i), 2*count/nodes))
			}
			h.settled()
			before := h.requests.Load()
			began := time.Now()
			end()
			h.ranAll(count)
			took, requests := h.last().Sub(began), h.requests.Load()-before
			tried, lost := claims(all)
			t.Logf("%d other claims, %d nodes: the last of %d runs after %s; %d requests, %d claims, %d lost", crowd, nodes, count,
				took.Round(time.Millisecond), requests, tried, lost)
			// One request for each orphan was what it took once.
			if most := int64(120 + 40*nodes); requests > most {
				t.Errorf("it took %d requests, want %d at the most", requests, most)
			}
			hurry(all)
		}
	}
}

// What a node hands back when it stops is taken by those who stay.
func TestWhatIsHandedBackIsTakenAtOnce(t *testing.T) {
	const count = 1000
	for _, nodes := range []int{1, 4} {
		h := newDrove(t)
		h.handle = func(ctx context.Context, _ *runner.Attempt) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		first := h.node("first", count)
		h.start(0, count)
		h.ranAll(count)
		var all []*supervisor.Node
		for i := range nodes {
			all = append(all, h.node(fmt.Sprint("n", i), 2*count/nodes))
		}
		h.settled()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := first.Stop(ctx); err != nil {
			t.Error(err)
		}
		stopped := time.Now()
		h.ranAll(2 * count)
		tried, lost := claims(all)
		t.Logf("%d nodes: stopping took %s, the last of %d runs %s later; %d claims, %d lost", nodes, stopped.Sub(began).Round(time.Millisecond), count,
			h.last().Sub(stopped).Round(time.Millisecond), tried, lost)
		hurry(all)
	}
}

// Work goes on while nodes come and go: nobody waits for anybody to agree.
func TestNoPauseWhenANodeJoinsOrLeaves(t *testing.T) {
	const count = 1500
	h := newDrove(t)
	h.handle = func(context.Context, *runner.Attempt) (any, error) {
		<-time.After(5 * time.Millisecond)
		return nil, nil
	}
	for i := range 3 {
		h.node(fmt.Sprint("n", i), 4)
	}
	h.start(0, count)
	h.ranAll(count / 3)
	late := h.node("late", 4)
	joined := h.ran.Load()
	h.ranAll(2 * count / 3)
	h.stop(late)
	left := h.ran.Load()
	h.ranAll(count)
	h.mu.Lock()
	defer h.mu.Unlock()
	gap := time.Duration(0)
	for i := range h.ends[1:] {
		gap = max(gap, h.ends[i+1].Sub(h.ends[i]))
	}
	t.Logf("one joined after %d of %d, and left after %d: the longest pause is %s", joined, count, left, gap.Round(time.Millisecond))
	if gap > 2*time.Second { // far more, as the machine may do other things
		t.Errorf("there was a pause of %s", gap)
	}
	if tried, _ := late.Claims(); tried == 0 {
		t.Error("the one that joined had no share")
	}
}
