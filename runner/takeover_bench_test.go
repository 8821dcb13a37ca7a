package runner_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// BenchmarkTakeover is one drive that takes over a thousand processes of a node
// whose session has ended, the etcd in this process:
//
//	go test ./runner -run '^$' -bench Takeover -benchtime 10x
func BenchmarkTakeover(b *testing.B) {
	const processes = 1000
	client := etcdtest.Client(b)
	for b.Loop() {
		b.StopTimer()
		take := takeover(b, client, processes)
		b.StartTimer()
		take()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/processes, "us/process")
}

func takeover(b *testing.B, client *clientv3.Client, processes int) (take func()) {
	b.Helper()
	ctx := context.Background()
	reg, err := registry.Open(ctx, client, registry.Options{Namespace: etcdtest.Namespace(b)})
	if err != nil {
		b.Fatal(err)
	}
	mux := runner.NewMux()
	mux.Handle("k", registry.Rerunnable, runner.HandlerFunc(noop))
	node := func(name string) (*counted, *registry.Session, *runner.Runner) {
		s, err := reg.OpenSession(ctx, registry.NodeInfo{Name: name, Queues: []string{"default"}, Kinds: []string{"k"}, Max: processes}, time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		slots := &counted{free: processes}
		r, err := runner.New(runner.Options{
			Registry: reg, Mux: mux, Slots: slots, Queues: []string{"default"}, Session: func() *registry.Session { return s },
		})
		if err != nil {
			b.Fatal(err)
		}
		return slots, s, r
	}
	specs := make([]registry.Spec, processes)
	for i := range specs {
		specs[i] = registry.Spec{ID: fmt.Sprint("p", i), Kind: "k", Disposition: registry.Rerunnable}
	}
	reg.StartMany(ctx, specs, registry.StartManyOptions{})
	held, holder, first := node("n1")
	if _, err := first.Drive(ctx, runner.Startup); err != nil || held.n != processes {
		b.Fatalf("n1 holds %d: %v", held.n, err)
	}
	if err := holder.Close(ctx); err != nil {
		b.Fatal(err)
	}
	got, s, second := node("n2")
	return func() {
		if _, err := second.Drive(ctx, runner.Startup); err != nil || got.n != processes {
			b.Fatalf("n2 holds %d: %v", got.n, err)
		}
		b.StopTimer()
		_ = s.Close(ctx)
		_ = reg.Close()
		b.StartTimer()
	}
}

// counted are slots that count what they are handed.
type counted struct {
	mu      sync.Mutex
	free, n int
}

func (c *counted) Free() int { c.mu.Lock(); defer c.mu.Unlock(); return c.free - c.n }

func (c *counted) FreeIn(string) int { return c.Free() }

func (c *counted) Hand(*registry.Claim) { c.mu.Lock(); defer c.mu.Unlock(); c.n++ }
