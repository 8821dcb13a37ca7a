package runner_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// bench is a runner on real etcd whose slots keep what they are handed.
type bench struct {
	t        *testing.T
	space    string
	registry *registry.Registry
	mux      *runner.Mux
	runner   *runner.Runner
	session  *registry.Session
	clock    *clock
	log      *zap.Logger // of runners made from now on; none if nil

	mu    sync.Mutex
	free  int
	rooms map[string]int // free slots of queues that have not as many as there are
	taken []*registry.Claim
}

func (b *bench) Free() int { b.mu.Lock(); defer b.mu.Unlock(); return b.free }

func (b *bench) FreeIn(queue string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if room, limited := b.rooms[queue]; limited {
		return room
	}
	return b.free
}

func (b *bench) Hand(c *registry.Claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free--
	if _, limited := b.rooms[c.Queue]; limited {
		b.rooms[c.Queue]--
	}
	b.taken = append(b.taken, c)
}

// empty returns what was handed over, and frees the slots.
func (b *bench) empty() []*registry.Claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.taken
	b.free, b.taken = b.free+len(taken), nil
	for _, c := range taken {
		if _, limited := b.rooms[c.Queue]; limited {
			b.rooms[c.Queue]++
		}
	}
	return taken
}

// clock is the wall clock of a bench: that of the system, until it is stopped.
type clock struct{ stopped atomic.Int64 }

func (c *clock) now() time.Time {
	if at := c.stopped.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

// stop stops the clock where it is, and returns where that is.
func (c *clock) stop() time.Time {
	c.stopped.CompareAndSwap(0, time.Now().UnixNano())
	return c.now()
}

func (c *clock) advance(d time.Duration) { c.stopped.Add(int64(d)) }

func newBench(t *testing.T, free int, kinds ...string) *bench {
	t.Helper()
	b := &bench{t: t, space: etcdtest.Namespace(t), mux: runner.NewMux(), free: free, clock: &clock{}}
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: b.space, Now: b.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	b.registry = reg
	for _, kind := range kinds {
		b.mux.Handle(kind, registry.Rerunnable, runner.HandlerFunc(noop))
	}
	b.session = b.open("n1")
	b.runner = b.make("default", "other")
	return b
}

// newBenchOf has one slot and the kind k with this handler.
func newBenchOf(t *testing.T, d registry.Disposition, h runner.HandlerFunc, opts ...runner.HandleOption) *bench {
	t.Helper()
	b := newBench(t, 1)
	b.mux.Handle("k", d, h, opts...)
	b.runner = b.make("default")
	return b
}

// peer is another node beside b, with the same handlers and slots of its own.
func (b *bench) peer(node string, free int, self lease.Identity) *bench {
	b.t.Helper()
	p := &bench{t: b.t, space: b.space, registry: b.registry, mux: b.mux, free: free, clock: b.clock}
	p.session = b.openAs(node, self)
	p.runner = p.make("default", "other")
	return p
}

func (b *bench) make(queues ...string) *runner.Runner {
	b.t.Helper()
	r, err := runner.New(runner.Options{
		Registry: b.registry, Mux: b.mux, Slots: b, Queues: queues,
		Session: func() *registry.Session { return b.session }, Logger: b.log,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

func (b *bench) open(node string) *registry.Session { return b.openAs(node, lease.Identity{}) }

// openAs opens the session of a node that is a certain process of this host.
func (b *bench) openAs(node string, self lease.Identity) *registry.Session {
	b.t.Helper()
	s, err := b.registry.OpenSession(b.t.Context(), registry.NodeInfo{Name: node, Process: self}, 30*time.Second)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func (b *bench) start(id, kind string, opts ...registry.StartOption) {
	b.t.Helper()
	spec := registry.Spec{ID: id, Kind: kind, Disposition: registry.Rerunnable}
	if _, err := b.registry.Start(b.t.Context(), spec.With(opts...)); err != nil {
		b.t.Fatal(err)
	}
}

// ownerBound makes the process that is started so.
func ownerBound(s *registry.Spec) { s.Disposition = registry.OwnerBound }

func (b *bench) drive() runner.Drove {
	b.t.Helper()
	d, err := b.runner.Drive(b.t.Context(), runner.Poke)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// look is a drive that looks at everything.
func (b *bench) look() runner.Drove {
	b.t.Helper()
	d, err := b.runner.Drive(b.t.Context(), runner.Startup)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// claimed drives and returns the one claim that this must bring.
func (b *bench) claimed() *registry.Claim {
	b.t.Helper()
	b.drive()
	claims := b.empty()
	if len(claims) != 1 {
		b.t.Fatalf("claimed %d, want 1", len(claims))
	}
	return claims[0]
}

// die ends the session of this node as a crash does: nothing is handed back.
func (b *bench) die() {
	b.t.Helper()
	if err := b.session.Close(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) get(id string) registry.Process {
	b.t.Helper()
	p, err := b.registry.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

func noop(context.Context, *runner.Attempt) (any, error) { return nil, nil }

func ids(claims []*registry.Claim) []string {
	var all []string
	for _, c := range claims {
		all = append(all, c.ID)
	}
	slices.Sort(all)
	return all
}
