package runner_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// The examples run on a node of a few lines. It is for them only: programs use
// supervisor.Start, which stands above this package.

var exampleNamespaces atomic.Int64

// open opens a registry of an example's own.
func open() (etcd *clientv3.Client, reg *registry.Registry, end func()) {
	etcd = etcdtest.ExampleClient()
	reg, err := registry.Open(context.Background(), etcd, registry.Options{
		Namespace: fmt.Sprintf("example-%d", exampleNamespaces.Add(1)),
	})
	check(err)
	return etcd, reg, func() { check(errors.Join(reg.Close(), etcd.Close())) }
}

// serve runs processes with the handlers of the mux until it is stopped.
func serve(mux *runner.Mux) (reg *registry.Registry, stop func()) {
	_, reg, end := open()
	n := join(reg, "node-1", mux)
	return reg, func() { n.stop(); end() }
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// exampleNode has four slots.
type exampleNode struct {
	reg     *registry.Registry
	runner  *runner.Runner
	session *registry.Session
	end     context.CancelFunc // of its drives
	busy    sync.WaitGroup

	mu      sync.Mutex
	running map[string]context.CancelCauseFunc
}

func join(reg *registry.Registry, name string, mux *runner.Mux) *exampleNode {
	ctx, end := context.WithCancel(context.Background())
	session, err := reg.OpenSession(ctx, registry.NodeInfo{Name: name}, 30*time.Second)
	check(err)
	n := &exampleNode{reg: reg, session: session, end: end, running: map[string]context.CancelCauseFunc{}}
	n.runner, err = runner.New(runner.Options{
		Registry: reg, Mux: mux, Slots: n, Queues: []string{"default"},
		Session: func() *registry.Session { return session },
	})
	check(err)
	n.busy.Go(func() { n.work(ctx) })
	return n
}

func (n *exampleNode) work(ctx context.Context) {
	for ctx.Err() == nil {
		n.runner.LookForOrphans()
		_, _ = n.runner.Drive(ctx, runner.Poll)
		requests, _ := n.reg.Requests(ctx)
		for id, q := range requests {
			n.cancel(id, map[string]error{
				"": runner.ErrCancelRequested, registry.RequestAbandon: runner.ErrAbandonRequested,
				registry.RequestDeadline: runner.ErrDeadline,
			}[q.What])
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (n *exampleNode) cancel(id string, cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for running, cancel := range n.running {
		if id == "" || running == id {
			cancel(cause)
		}
	}
}

func (n *exampleNode) Free() int { n.mu.Lock(); defer n.mu.Unlock(); return 4 - len(n.running) }

func (n *exampleNode) FreeIn(string) int { return n.Free() }

func (n *exampleNode) Hand(c *registry.Claim) {
	ctx, cancel := context.WithCancelCause(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	n.running[c.ID] = cancel
	n.busy.Go(func() {
		n.runner.Run(ctx, c)
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.running, c.ID)
	})
}

// stop hands back what runs.
func (n *exampleNode) stop() {
	n.end()
	n.cancel("", runner.ErrShutdown)
	n.busy.Wait()
	check(n.reg.Leave(context.Background(), n.session))
}

// crash ends its session under it, as a power cut does, but for the handlers:
// they go on for as long as they like.
func (n *exampleNode) crash() {
	n.end()
	check(n.session.Close(context.Background()))
	n.cancel("", runner.ErrLeaseLost)
}

// waitFor waits until a process has come somewhere.
func waitFor(ctx context.Context, reg *registry.Registry, id string, s registry.Status) registry.Process {
	for {
		p, err := reg.Get(ctx, id)
		check(err)
		if p.Status == s {
			return p
		}
		<-time.After(5 * time.Millisecond)
	}
}
