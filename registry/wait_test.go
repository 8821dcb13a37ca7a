package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

type waited struct {
	p   Process
	err error
}

// settled is how many wait for the end of a series by now.
func (d *desk) settled() (n int) {
	for _, a := range d.ids {
		for w := range a.waiters {
			if w.series > 0 {
				n++
			}
		}
	}
	return n
}

// waitFor waits in a goroutine, from when each has seen that it must.
func waitFor(t *testing.T, r *Registry, ids ...string) <-chan waited {
	t.Helper()
	done := make(chan waited, len(ids))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	for _, id := range ids {
		go func() {
			p, err := r.Wait(ctx, id)
			done <- waited{p, err}
		}()
	}
	eventually(t, "everybody waits", func() bool {
		r.waiting.mu.Lock()
		defer r.waiting.mu.Unlock()
		return r.waiting.desk != nil && r.waiting.desk.settled() == len(ids)
	})
	return done
}

// eventually is for what nothing can be awaited on.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

func TestWaitReturnsWhatHasEnded(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	noErr(t, r.Complete(t.Context(), claim(t, r, join(t, r, "n"), "p"), json.RawMessage(`7`)))
	p, err := r.Wait(t.Context(), "p")
	noErr(t, err)
	if p.Status != StatusCompleted || string(p.Output) != "7" {
		t.Errorf("it is %+v", p)
	}
}

func TestWaitIsWokenByEveryEnd(t *testing.T) {
	r := newRegistry(t)
	// Another registry on the same rows, as another process has it.
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	ids := []string{"completed", "failed", "cancelled", "adopted"}
	for _, id := range ids {
		start(t, r, id)
	}
	a, b := join(t, r, "a"), join(t, r, "b")
	done := waitFor(t, other, ids...)
	noErr(t, r.Complete(t.Context(), claim(t, r, a, "completed"), nil))
	noErr(t, r.Fail(t.Context(), claim(t, r, a, "failed"), "x", "", nil))
	claim(t, r, b, "adopted")
	leave(t, b)
	for _, id := range []string{"cancelled", "adopted"} {
		_, err := r.Cancel(t.Context(), id, Request{})
		noErr(t, err)
	}
	_, err := r.Adopt(t.Context(), a, orphanOf(t, r, "adopted"), true)
	noErr(t, err)
	for range ids {
		w := <-done
		noErr(t, w.err)
		if !w.p.Ended() {
			t.Errorf("%s is %s", w.p.ID, w.p.Status)
		}
	}
}

func TestAThousandWaitersShareOneWatch(t *testing.T) {
	// Each reads the row for itself, three times: that may take a while.
	r := registryOn(t, etcdtest.Client(t), Options{RequestTimeout: time.Minute})
	start(t, r, "p")
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = "p"
	}
	c := claim(t, r, join(t, r, "n"), "p")
	done := waitFor(t, r, ids...)
	noErr(t, r.Complete(t.Context(), c, nil))
	for range ids {
		if w := <-done; w.err != nil || w.p.Status != StatusCompleted {
			t.Fatalf("%s, %v", w.p.Status, w.err)
		}
	}
	r.waiting.mu.Lock()
	defer r.waiting.mu.Unlock()
	if r.waiting.desk != nil {
		t.Error("the watch goes on with nobody waiting")
	}
}

func TestWaitForNothing(t *testing.T) {
	_, err := newRegistry(t).Wait(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	mine := errors.New("my own reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := r.Wait(ctx, "p")
		done <- err
	}()
	cancel(mine)
	wantErr(t, <-done, mine)
}

func TestWaitEndsWithTheRegistry(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	done := waitFor(t, r, "p")
	noErr(t, r.Close())
	wantErr(t, (<-done).err, ErrClosed)
	_, err := r.Wait(t.Context(), "p")
	wantErr(t, err, ErrClosed)
	noErr(t, r.Close())
}

// Hints are only hints: one that can't be read, or that lies, ends no wait
// that should go on and loses none that should end.
func TestWaitDoesNotTrustHints(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	done := waitFor(t, r, "p")
	write(t, r, r.keys.done(Completed, time.Now(), "lie"), `{"ended":[{"id":"p","series":1}]}`)
	write(t, r, r.keys.done(Completed, time.Now(), "garbage"), `{`)
	noErr(t, r.Complete(t.Context(), claim(t, r, join(t, r, "n"), "p"), nil))
	if w := <-done; w.err != nil || w.p.Status != StatusCompleted {
		t.Errorf("%s, %v", w.p.Status, w.err)
	}
}

func TestWaitOutlivesAStopOfEtcdAndCompaction(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{})
	start(t, r, "p")
	done := waitFor(t, r, "p")
	server.Stop()
	server.Restart()
	other := registryOn(t, server.Client(t), Options{Namespace: r.options.Namespace})
	noErr(t, other.Complete(t.Context(), claim(t, other, join(t, other, "n"), "p"), nil))
	var revision int64
	for i := range 10 {
		resp, err := other.client.Put(t.Context(), "x", fmt.Sprint(i))
		noErr(t, err)
		revision = resp.Header.Revision
	}
	_, err := other.client.Compact(t.Context(), revision, clientv3.WithCompactPhysical())
	noErr(t, err)
	if w := <-done; w.err != nil || w.p.Status != StatusCompleted {
		t.Errorf("%s, %v", w.p.Status, w.err)
	}
}
