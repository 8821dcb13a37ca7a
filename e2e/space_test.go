package e2e

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

var (
	load     = flag.Duration("load", 0, "how long the tests of bounded space start processes at full speed; 0 is a few seconds")
	backlog  = flag.Int64("backlog", 10_000, "how many may be pending before they start no more; 0 is any number")
	starters = flag.Int("starters", 256, "how many starts they have under way at a time")
)

// A cluster that is started on as fast as it will go has a file that stays within its quota. With -load 10m it is the load
// that the documentation speaks of.
func TestBoundedSpace(t *testing.T) {
	_, c := server(t, "--max-running", "256")
	f := newFlood(t, c)
	f.run(t.Context(), *load)
	if f.ended() == 0 || f.failed.Load() > 0 {
		t.Errorf("%d have ended, %d starts failed, the first with: %v", f.ended(), f.failed.Load(), f.first)
	}
	f.within()
}

// In an etcd with little room, what has ended is soon deleted after a minute, or starts wait, and there is always room to end
// what was started.
func TestBoundedSpaceOfASmallEtcd(t *testing.T) {
	if *load == 0 {
		t.Skip("it takes some minutes, see -load")
	}
	etcd := etcdtest.New(t, etcdtest.Quota(256<<20), etcdtest.CompactEvery(10*time.Second))
	stuff(t, etcd, 160) // so that it does not depend on the machine's speed
	c := client{t, etcd.Endpoint()}
	p := launch(t, "serve", "--endpoints", c.endpoint, "--max-running", "256")
	p.says("ready")
	f := newFlood(t, c)
	f.run(t.Context(), *load)
	if f.failed.Load() > 0 {
		t.Errorf("%d starts failed, the first with: %v", f.failed.Load(), f.first)
	}
	if f.stalled && !f.resumed {
		t.Error("when nothing could be started any more, that was for good")
	}
	f.within()
	eventually(t, "what was started to end", func() bool { return f.count(t.Context(), "pending/")+f.count(t.Context(), "claim/") == 0 })
	if rows := f.count(t.Context(), "process/"); rows >= f.started.Load() {
		t.Errorf("of %d that were started there are still %d", f.started.Load(), rows)
	}
}

func TestFullEtcdIsToldInOneLine(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.New(t, etcdtest.Quota(32<<20))
	c := client{t, etcd.Endpoint()}
	p := launch(t, "serve", "--endpoints", c.endpoint)
	p.says("ready")
	c.must("start", "sleep", "--id", "runs", "--input", `{"duration":"1s"}`, "--delay", "2s")
	c.must("start", "noop", "--id", "ended", "--wait")
	kv := stuff(t, etcd, 25)
	p.says("etcd is nearly full, nothing new is started")
	const words = "etcd is nearly full, nothing new is started: its data fill 8"
	for _, args := range [][]string{{"start", "noop", "--id", "x"}, {"retry", "ended"}, {"status"}} {
		r := c.do(append([]string{"--request-timeout", "500ms"}, args...)...)
		if r.code != 1 || !strings.Contains(r.errs, words) || strings.Contains(r.errs, "deadline") {
			t.Errorf("%s: exit code %d: %s", args, r.code, r.errs)
		}
		oneLine(t, r.errs)
	}
	c.must("wait", "runs", "--timeout", "30s")

	resp, err := kv.Delete(t.Context(), "stuff", clientv3.WithPrefix())
	if err == nil {
		_, err = kv.Compact(t.Context(), resp.Header.Revision, clientv3.WithCompactPhysical())
	}
	if err == nil {
		// What is free can be in pieces that are too small, so that the file grew up to its quota.
		_, err = kv.Defragment(t.Context(), etcd.Endpoint())
	}
	if err != nil {
		t.Fatal(err)
	}
	p.says("etcd has room again")
	c.must("start", "noop", "--id", "x", "--wait")
}

// stuff fills etcd with so many MiB that are not drover's.
func stuff(t *testing.T, etcd *etcdtest.Server, mib int) *clientv3.Client {
	t.Helper()
	kv := etcd.Client(t)
	for i := range mib * 32 {
		if _, err := kv.Put(t.Context(), fmt.Sprint("stuff", i), strings.Repeat("x", 32<<10)); err != nil {
			t.Fatal(err)
		}
	}
	return kv
}

// flood starts processes of kind noop from many goroutines.
type flood struct {
	t        *testing.T
	r        *registry.Registry
	etcd     *clientv3.Client
	endpoint string

	started, failed atomic.Int64
	pending         atomic.Int64 // as last counted
	once            sync.Once
	first           error // of a start

	// stalled: in ten seconds nothing was started. resumed: later something was.
	stalled, resumed bool
}

func newFlood(t *testing.T, c client) *flood {
	t.Helper()
	f := &flood{t: t, etcd: c.etcd(), endpoint: c.endpoint}
	r, err := registry.Open(t.Context(), f.etcd, registry.Options{Namespace: "drover"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // it never fails
	f.r = r
	return f
}

// run says every ten seconds how it is.
func (f *flood) run(ctx context.Context, duration time.Duration) {
	f.t.Helper()
	if duration == 0 {
		duration = 3 * time.Second
	}
	began, before := time.Now(), int64(0)
	stop := make(chan struct{})
	var starting sync.WaitGroup
	until := func(do func()) {
		for {
			select {
			case <-stop:
				return
			default:
				do()
			}
		}
	}
	for range *starters {
		starting.Go(func() { until(func() { f.start(ctx) }) })
	}
	starting.Go(func() {
		until(func() {
			f.pending.Store(f.count(ctx, "pending/"))
			rest(ctx, 200*time.Millisecond)
		})
	})
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	over := time.After(duration)
	for more := true; more && f.failed.Load() == 0; {
		select {
		case <-tick.C:
			now := f.started.Load()
			f.t.Logf("%4.0f s: %7d started, %5d a second; %s", time.Since(began).Seconds(), now, (now-before)/10, f.state(ctx))
			f.stalled, f.resumed, before = f.stalled || now == before, f.resumed || f.stalled && now > before, now
		case <-over:
			more = false
		}
	}
	close(stop)
	starting.Wait()
	f.t.Logf("%d started in %s, %.0f a second", f.started.Load(), time.Since(began).Round(time.Second), float64(f.started.Load())/time.Since(began).Seconds())
}

// start starts one unless too many wait already. It waits for room in etcd for as long as it takes.
func (f *flood) start(ctx context.Context) {
	if *backlog > 0 && f.pending.Load() >= *backlog {
		rest(ctx, 20*time.Millisecond)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := f.r.Start(ctx, registry.Spec{Kind: "noop", Disposition: registry.Rerunnable}); err != nil {
		f.failed.Add(1)
		f.once.Do(func() { f.first = err })
		return
	}
	f.started.Add(1)
}

// ended is how many there are at least that have ended.
func (f *flood) ended() int64 {
	return f.started.Load() - f.count(f.t.Context(), "pending/") - f.count(f.t.Context(), "claim/")
}

// within fails unless etcd's file has stayed within its quota, and has raised no alarm.
func (f *flood) within() {
	f.t.Helper()
	if s := f.measure(f.t.Context()); s.DbSize >= s.DbSizeQuota || len(s.Errors) > 0 {
		f.t.Errorf("the file has %d bytes, its quota is %d; errors: %v", s.DbSize, s.DbSizeQuota, s.Errors)
	}
}

func (f *flood) measure(ctx context.Context) *clientv3.StatusResponse {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s, err := f.etcd.Status(ctx, f.endpoint)
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f *flood) state(ctx context.Context) string {
	s := f.measure(ctx)
	return fmt.Sprintf("%d rows, %d pending, %d claimed, full: %v; file %d MiB, in use %d MiB", f.count(ctx, "process/"), f.count(ctx, "pending/"),
		f.count(ctx, "claim/"), f.count(ctx, "full") > 0, s.DbSize>>20, s.DbSizeInUse>>20)
}

// count is how many keys there are; -1 if etcd does not say.
func (f *flood) count(ctx context.Context, prefix string) int64 {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := f.etcd.Get(ctx, "/drover/v1/"+prefix, clientv3.WithPrefix(), clientv3.WithCountOnly(), clientv3.WithSerializable())
	if err != nil {
		return -1
	}
	return resp.Count
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
