package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// A node that is paused in the middle of many writes, for longer than its
// session lasts, sends them when it goes on: to the very connection that it
// had. Nothing of it may get through.
func TestNothingThatWasInFlightDuringAPauseGetsThrough(t *testing.T) {
	g := newCrowd(t)
	a, b := join(t, g.plain, "a"), join(t, g.plain, "b")
	ctx, thaw := context.WithCancelCause(t.Context())
	writes := map[string]func(context.Context, *Claim) error{
		"complete": func(ctx context.Context, c *Claim) error { return g.r.Complete(ctx, c, []byte(`"stale"`)) },
		"fail":     func(ctx context.Context, c *Claim) error { return g.r.Fail(ctx, c, "stale", "", nil) },
		"retry":    func(ctx context.Context, c *Claim) error { return g.r.Retry(ctx, c, time.Now(), "stale") },
		"snooze":   func(ctx context.Context, c *Claim) error { return g.r.Snooze(ctx, c, time.Now()) },
		"release":  func(ctx context.Context, c *Claim) error { return g.r.Release(ctx, c) },
		"hand off": func(ctx context.Context, c *Claim) error { return g.r.HandOff(ctx, c, Reference{}) },
		"progress": func(ctx context.Context, c *Claim) error { return g.r.Progress(ctx, c, []byte(`"stale"`)) },
		"step":     func(ctx context.Context, c *Claim) error { return g.r.Checkpoint(ctx, c, "one", []byte(`"stale"`)) },
	}
	var m mail
	for range 10_000 { // all, however often they are repeated
		g.wire.nextWrites(m.late)
	}
	var all sync.WaitGroup
	errs := make(chan error, 1+10*len(writes)) // and a claim
	for what, write := range writes {
		for i := range 10 {
			id := fmt.Sprintf("%s %d", what, i)
			start(t, g.plain, id)
			c := claim(t, g.plain, a, id)
			all.Go(func() { errs <- write(ctx, c) })
		}
	}
	start(t, g.plain, "claim")
	late := entryOf(t, g.plain, "claim")
	all.Go(func() { _, err := g.r.Claim(ctx, a, late); errs <- err })
	eventually(t, "batches and single ones to be in flight", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.held) >= 100
	})
	thaw(errors.New("its session is over"))
	all.Wait()
	close(errs)
	for err := range errs {
		wantErr(t, err, ErrUnresolved)
	}
	leave(t, a)
	for what := range writes {
		for i := range 10 {
			id := fmt.Sprintf("%s %d", what, i)
			_, err := g.plain.Adopt(t.Context(), b, orphanOf(t, g.plain, id), true)
			noErr(t, err)
		}
	}
	before := revisions(t, g.plain)
	m.deliver()
	if after := revisions(t, g.plain); !maps.Equal(after, before) {
		t.Errorf("it changed from\n%v\nto\n%v", before, after)
	}
}

// revisions are those of all keys.
func revisions(t *testing.T, r *Registry) map[string]int64 {
	t.Helper()
	resp, err := r.client.Get(t.Context(), r.keys.root, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	noErr(t, err)
	all := map[string]int64{}
	for _, kv := range resp.Kvs {
		all[string(kv.Key)] = kv.ModRevision
	}
	return all
}
