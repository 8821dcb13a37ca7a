package supervisor_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap/zaptest"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// patience is far more than anything here takes.
const patience = 30 * time.Second

// ranch is an actor system and a registry for a test's nodes.
type ranch struct {
	t        *testing.T
	system   *actor.ActorSystem
	registry *registry.Registry
	mux      *runner.Mux

	mu     sync.Mutex
	events []any
}

func newRanch(t *testing.T) *ranch {
	t.Helper()
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	r := &ranch{t: t, registry: reg, mux: runner.NewMux()}
	r.system = actor.NewActorSystem(actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}), actor.WithDeadLetterThrottleInterval(time.Millisecond))
	r.system.EventStream.Subscribe(func(event any) {
		switch event.(type) {
		case *actors.NodeReady, *actors.SessionLost, *actors.NodeEnded:
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, event)
		}
	})
	return r
}

// told lists the kinds of the events that were published.
func (r *ranch) told() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var kinds []string
	for _, event := range r.events {
		kinds = append(kinds, fmt.Sprintf("%T", event))
	}
	return kinds
}

func (r *ranch) handle(kind string, h runner.HandlerFunc) { r.mux.Handle(kind, registry.Rerunnable, h) }

func (r *ranch) config() supervisor.Config {
	return supervisor.Config{
		Registry: r.registry, Mux: r.mux, Node: "test", TTL: 2 * time.Second,
		Logger: zaptest.NewLogger(r.t),
	}
}

// start starts a node, which is stopped at the test's end.
func (r *ranch) start(c supervisor.Config) *supervisor.Node {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	n, err := supervisor.Start(ctx, r.system, c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = n.Stop(context.Background()) })
	return n
}

// process starts a process, by a starter that wakes no node.
func (r *ranch) process(id, kind string) {
	r.t.Helper()
	spec := registry.Spec{ID: id, Kind: kind, Disposition: registry.Rerunnable}
	if _, err := r.registry.Start(r.t.Context(), spec); err != nil {
		r.t.Fatal(err)
	}
}

func (r *ranch) get(id string) registry.Process {
	r.t.Helper()
	p, err := r.registry.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *ranch) nodes() []registry.Node {
	r.t.Helper()
	nodes, err := r.registry.Nodes(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return nodes
}

func (r *ranch) completed(ids ...string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	for _, id := range ids {
		p, err := r.registry.Wait(ctx, id)
		if err != nil {
			r.t.Fatal(err)
		}
		if p.Status != registry.StatusCompleted {
			r.t.Fatalf("%s is %s (%s), want completed", id, p.Status, p.Error)
		}
	}
}

func closed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %s", what, patience)
	}
}

func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func noop(context.Context, *runner.Attempt) (any, error) { return nil, nil }

// lingering is a handler that returns when its context ends.
type lingering struct {
	entered chan string
	mu      sync.Mutex
	causes  []error
}

func newLingering() *lingering { return &lingering{entered: make(chan string, 100)} }

func (l *lingering) run(ctx context.Context, a *runner.Attempt) (any, error) {
	l.entered <- a.ID()
	<-ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.causes = append(l.causes, context.Cause(ctx))
	return nil, context.Cause(ctx)
}

func (l *lingering) want(t *testing.T, causes ...error) {
	t.Helper()
	soon(t, "contexts end", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.causes) >= len(causes)
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.EqualFunc(l.causes, causes, errors.Is) {
		t.Errorf("contexts ended with %v, want %v", l.causes, causes)
	}
}

func TestNodeRunsProcesses(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	n := r.start(r.config())
	var ids []string
	for i := range 100 {
		id := fmt.Sprintf("p%d", i)
		ids = append(ids, id)
		spec := registry.Spec{ID: id, Kind: "noop", Disposition: registry.Rerunnable}
		if _, err := n.Driver().Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	r.completed(ids...)
	nodes := r.nodes()
	if len(nodes) != 1 || nodes[0].Name != "test" || nodes[0].Max != 64 || !slices.Equal(nodes[0].Queues, []string{"default"}) {
		t.Errorf("roster: %+v", nodes)
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	closed(t, "done", n.Done())
	if err := n.Err(); err != nil {
		t.Errorf("Err: %v", err)
	}
	if nodes := r.nodes(); len(nodes) != 0 {
		t.Errorf("the node is still in the roster: %+v", nodes)
	}
	if got, want := r.told(), []string{"*actors.NodeReady", "*actors.NodeEnded"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}
