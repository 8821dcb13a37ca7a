package etcdserver

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestHistoryIsCompactedEarlierWhenSpaceIsScarce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		age := func() int64 { return int64(time.Since(began) / time.Second) } // a revision a second, for a minute
		var percent atomic.Int64
		percent.Store(59)
		compactions := make(chan int64, 1000)
		compacted := func() (revisions []int64) {
			for {
				select {
				case revision := <-compactions:
					revisions = append(revisions, revision)
				default:
					return revisions
				}
			}
		}
		c := compactor{
			revision: func() int64 { return min(age(), 60) },
			fills:    func() float64 { return float64(percent.Load()) / 100 },
			compact: func(_ context.Context, revision int64) {
				if kept := age() - revision; kept < 10 {
					t.Errorf("only %d s are kept", kept)
				}
				compactions <- revision
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.run(ctx)
		}()
		wait := func(d time.Duration) {
			time.Sleep(d)
			synctest.Wait()
		}
		wait(41 * time.Second)
		if got := compacted(); len(got) > 0 {
			t.Errorf("compacted at %v while there is space", got)
		}
		percent.Store(60)
		wait(6 * time.Second)
		if got, want := compacted(), []int64{32, 34, 36}; !slices.Equal(got, want) {
			t.Errorf("compacted at %v, want %v", got, want)
		}
		wait(time.Hour) // in which nothing happens
		if got, want := compacted(), []int64{38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58}; !slices.Equal(got, want) {
			t.Errorf("compacted at %v, want %v: nothing is new since 60", got, want)
		}
		cancel()
		<-done
	})
}

func TestServerCompactsByItself(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir()})
	var last int64
	for range 10 {
		resp, err := s.Client().Put(t.Context(), "key", "value")
		if err != nil {
			t.Fatal(err)
		}
		last = resp.Header.Revision
	}
	c := s.compactor()
	if fills := c.fills(); c.revision() != last || fills <= 0 || fills > 0.01 {
		t.Errorf("at revision %d it fills %v", c.revision(), fills)
	}
	c.compact(t.Context(), last-1)
	if _, err := s.Client().Get(t.Context(), "key", clientv3.WithRev(last-2)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a read of the history: %v, want ErrCompacted", err)
	}
}
