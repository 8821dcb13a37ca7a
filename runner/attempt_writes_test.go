package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// eventually waits until something holds, for 20 s.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatal("not in 20 s: ", what)
		}
	}
}

// left are the keys that stand beside the row of x, by what they are of.
func (b *bench) left() (keys []string) {
	b.t.Helper()
	client := etcdtest.Client(b.t)
	for _, of := range []string{"progress", "step", "request", "claim", "pending", "timer", "parked"} {
		resp, err := client.Get(b.t.Context(), "/"+b.space+"/v1/"+of+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			b.t.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			keys = append(keys, strings.TrimPrefix(string(kv.Key), "/"+b.space+"/v1/"))
		}
	}
	return keys
}

func TestProgressShowsUntilTheEnd(t *testing.T) {
	type at struct {
		Done, Of int
	}
	var b *bench
	b = newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
		if err := a.Progress(at{a.Number(), 3}); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf(`{"Done":%d,"Of":3}`, a.Number())
		eventually(t, want, func() bool { return string(b.get("x").Progress) == want })
		if a.Number() == 1 {
			return nil, runner.RetryAfter(0, errBroken)
		}
		return nil, nil
	})
	b.start("x", "k")
	b.runNext(t.Context())
	if p := b.get("x"); string(p.Progress) != `{"Done":1,"Of":3}` {
		t.Errorf("after the attempt: %s", p.Progress)
	}
	b.runNext(t.Context())
	if p := b.get("x"); p.Status != registry.StatusCompleted || p.Progress != nil || b.left() != nil {
		t.Errorf("%s with the progress %s, and %v are left", p.Status, p.Progress, b.left())
	}
}

func TestProgressThatCantBeMarshalledIsAnError(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(_ context.Context, a *runner.Attempt) (any, error) {
		return nil, a.Progress(make(chan int))
	})
	b.start("x", "k", registry.MaxAttempts(1))
	b.runNext(t.Context())
	if p := b.get("x"); !strings.Contains(p.Error, "unsupported type: chan int") {
		t.Errorf("%s: %s", p.Status, p.Error)
	}
}

// adopted lets a peer of b take over what b runs, and run it.
func (b *bench) adopted(node string) *bench {
	b.t.Helper()
	b.die()
	peer := b.peer(node, 1, lease.Identity{})
	if d := peer.look(); d.Claimed != 1 {
		b.t.Fatalf("adopted %d, want 1", d.Claimed)
	}
	return peer
}

func TestAStaleAttemptWritesNothing(t *testing.T) {
	client := etcdtest.Client(t)
	var b, peer *bench
	mine := "/mine/" + etcdtest.Namespace(t)
	b = newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		if a.Number() > 1 {
			var kept string
			if found, err := a.Restore("place", &kept); !found || err != nil || kept != "first" {
				t.Errorf("restored %q, %t, error %v", kept, found, err)
			}
			return nil, a.Checkpoint(ctx, "place", "second")
		}
		if err := a.Checkpoint(ctx, "place", "first"); err != nil {
			t.Error(err)
		}
		peer = b.adopted("n2")
		if err := a.Checkpoint(ctx, "place", "stale"); !errors.Is(err, registry.ErrClaimLost) {
			t.Errorf("a stale checkpoint: %v, want ErrClaimLost", err)
		}
		if _, err := a.Txn(ctx, nil, clientv3.OpPut(mine, "stale")); !errors.Is(err, registry.ErrClaimLost) {
			t.Errorf("a stale transaction: %v, want ErrClaimLost", err)
		}
		eventually(t, "a stale progress is refused", func() bool { return errors.Is(a.Progress("stale"), registry.ErrClaimLost) })
		if err := a.CompleteWith(clientv3.OpPut(mine, "stale")); err != nil {
			t.Error(err)
		}
		return "stale", nil
	})
	b.start("x", "k")
	if report := b.runNext(t.Context()); !errors.Is(report.Err, runner.ErrLeaseLost) {
		t.Errorf("the stale attempt: %+v, want ErrLeaseLost", report)
	}
	if p := b.get("x"); p.Status != registry.StatusRunning || p.Progress != nil || p.Claim == nil || p.Claim.Node != "n2" {
		t.Errorf("%s by %+v with the progress %s", p.Status, p.Claim, p.Progress)
	}
	if report := peer.runner.Run(t.Context(), peer.empty()[0]); report.Outcome != registry.Completed {
		t.Errorf("the adopter: %+v", report)
	}
	if resp, err := client.Get(t.Context(), mine); err != nil || resp.Count != 0 {
		t.Errorf("a stale attempt has put %v, error %v", resp.Kvs, err)
	}
}

type place struct{ Row int }

func TestWhatIsKeptIsForTheAttemptsOfTheSeries(t *testing.T) {
	var b *bench
	b = newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		at := place{Row: -1}
		found, err := a.Restore("place", &at)
		if err != nil {
			t.Error(err)
		}
		want := []place{{-1}, {10}, {20}, {-1}}[a.Number()-1]
		if found != (want.Row >= 0) || at != want {
			t.Errorf("attempt %d found %t, %+v, want %+v", a.Number(), found, at, want)
		}
		if err := a.Checkpoint(ctx, "place", place{a.Number() * 10}); err != nil {
			t.Error(err)
		}
		if found, err = a.Restore("place", &at); !found || err != nil || at.Row != a.Number()*10 {
			t.Errorf("its own: %t, %+v, error %v", found, at, err)
		}
		switch a.Number() {
		case 1:
			return nil, runner.RetryAfter(0, errBroken)
		case 2:
			b.die()
			return nil, nil
		default:
			return nil, nil
		}
	})
	b.start("x", "k")
	b.runNext(t.Context())
	b.runNext(t.Context())
	b.session = b.open("n2")
	b.runner.LookForOrphans()
	b.runNext(t.Context())
	if p := b.get("x"); p.Status != registry.StatusCompleted || p.Attempt != 3 || b.left() != nil {
		t.Fatalf("%s after %d attempts, and %v are left", p.Status, p.Attempt, b.left())
	}
	if _, err := b.registry.Reopen(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	b.runNext(t.Context())
	if p := b.get("x"); p.Status != registry.StatusCompleted || p.Series != 2 || b.left() != nil {
		t.Errorf("%s in series %d, and %v are left", p.Status, p.Series, b.left())
	}
}

func TestCheckpointsThatCantBeKept(t *testing.T) {
	b := newBenchOf(t, registry.Rerunnable, func(ctx context.Context, a *runner.Attempt) (any, error) {
		var large *registry.TooLargeError
		if err := a.Checkpoint(ctx, "place", strings.Repeat("x", 64<<10)); !errors.As(err, &large) || large.Size != 65538 || large.Max != 65536 {
			t.Errorf("too large: %v", err)
		}
		for _, name := range []string{"", "a/b", "~txn", strings.Repeat("x", 65)} {
			if err := a.Checkpoint(ctx, name, 1); !errors.Is(err, registry.ErrInvalid) {
				t.Errorf("%.10q: %v, want ErrInvalid", name, err)
			}
		}
		if err := a.Checkpoint(ctx, "place", make(chan int)); err == nil {
			t.Error("a channel was kept")
		}
		if err := a.Checkpoint(ctx, "place", "a text"); err != nil {
			t.Error(err)
		}
		at := place{7}
		if found, err := a.Restore("place", &at); found || err == nil || at.Row != 7 {
			t.Errorf("restored as something else: %t, %+v, error %v", found, at, err)
		}
		if _, err := a.Txn(ctx, nil, clientv3.OpPut("/mine/"+a.Session(), "1")); err != nil {
			t.Error(err)
		}
		return nil, nil
	})
	b.start("x", "k")
	b.runNext(t.Context())
	if keys := b.left(); keys != nil {
		t.Errorf("%v are left", keys)
	}
}
