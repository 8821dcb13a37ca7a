package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

// told collects changes until the test ends.
type toldChanges struct {
	changes chan Change
	err     chan error
}

func changesOf(t *testing.T, r *Registry, o ChangesOptions) toldChanges {
	t.Helper()
	told := toldChanges{make(chan Change, 1000), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		told.err <- r.Changes(ctx, o, func(c Change) error { told.changes <- c; return nil })
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return told
}

// next is the next change, which has to be this one.
func (told toldChanges) next(t *testing.T, want string) Change {
	t.Helper()
	select {
	case c := <-told.changes:
		if got := fmt.Sprintf("%s %s", c.ID, c.Status); got != want {
			t.Fatalf("told %q, want %q", got, want)
		}
		return c
	case err := <-told.err:
		t.Fatalf("it ended: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatalf("never told %q", want)
	}
	return Change{}
}

// now is the revision from which on something is to be told.
func now(t *testing.T, r *Registry) int64 {
	t.Helper()
	resp, err := r.read(t.Context(), get(r.keys.root))
	noErr(t, err)
	return resp.Header.Revision
}

func TestChangesTellWhateverHappensToProcesses(t *testing.T) {
	r := newRegistry(t)
	a, b := join(t, r, "a"), join(t, r, "b")
	told := changesOf(t, r, ChangesOptions{After: now(t, r)})
	start(t, r, "p/1", input(`1`))
	told.next(t, "p/1 pending")
	c := claim(t, r, a, "p/1")
	if change := told.next(t, "p/1 running"); change.Claim.Node != "a" || change.Revision != c.Fence || string(change.Input) != "1" {
		t.Errorf("told %+v", change)
	}
	noErr(t, r.Progress(t.Context(), c, json.RawMessage(`{"done":5}`)))
	if change := told.next(t, "p/1 running"); string(change.Progress) != `{"done":5}` {
		t.Errorf("progress is %s", change.Progress)
	}
	noErr(t, r.Retry(t.Context(), c, time.Now().Add(time.Hour), "boom"))
	told.next(t, "p/1 scheduled")
	_, err := r.Cancel(t.Context(), "p/1", Request{Reason: "enough"})
	noErr(t, err)
	if change := told.next(t, "p/1 cancelled"); change.OutcomeReason != "enough" || change.Cursor != change.Revision {
		t.Errorf("told %+v", change)
	}
	_, err = r.Reopen(t.Context(), "p/1")
	noErr(t, err)
	told.next(t, "p/1 pending")
	claim(t, r, b, "p/1")
	told.next(t, "p/1 running")
	_, err = r.Cancel(t.Context(), "p/1", Request{By: "me"})
	noErr(t, err)
	if change := told.next(t, "p/1 running"); change.CancelRequested == nil || change.CancelRequested.By != "me" {
		t.Errorf("told %+v", change)
	}
	leave(t, b)
	told.next(t, "p/1 orphaned")
	_, err = r.Start(t.Context(), Spec{ID: "outside", Kind: "k", Disposition: External})
	noErr(t, err)
	told.next(t, "outside parked")
	start(t, r, "later", At(time.Now().Add(time.Hour)), func(s *Spec) { s.Deadline = Duration(2 * time.Hour) })
	told.next(t, "later scheduled")
}

func TestChangesOfSomeProcessesFromNowOn(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "a")
	told := changesOf(t, r, ChangesOptions{IDs: []string{"a", "c"}})
	// It is not known when the feed stands: what comes then is told.
	var heard Change
	eventually(t, "something is told", func() bool {
		cancelled(t, r, "b")
		_, err := r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
		noErr(t, err)
		cancelled(t, r, "c")
		select {
		case heard = <-told.changes:
			return true
		default:
			_, err = r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
			noErr(t, err)
			return false
		}
	})
	if heard.ID != "c" {
		t.Errorf("told of %s", heard.ID)
	}
}

// The ends of processes are told from the events themselves, also when
// everything that could be read about them is gone.
func TestChangesNeverMissAnEnd(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{})
	from := now(t, r)
	want := map[string]bool{}
	s := join(t, r, "n")
	for i := range 20 {
		id := fmt.Sprint("p", i)
		want[id] = true
		start(t, r, id)
		noErr(t, r.Complete(t.Context(), claim(t, r, s, id), nil))
	}
	got := map[string]int{}
	// Each call is stopped after a few changes.
	cursor, turns := from, 0
	for len(got) < len(want) {
		n, enough := 0, errors.New("enough")
		err := r.Changes(t.Context(), ChangesOptions{After: cursor}, func(c Change) error {
			if c.Ended() {
				got[c.ID]++
			}
			cursor = c.Cursor
			if n++; n == 3 || len(got) == len(want) {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("it ended: %v", err)
		}
		if turns++; turns > 100 {
			t.Fatalf("told only of %v", got)
		}
	}
	for id, n := range got {
		if !want[id] || n != 1 {
			t.Errorf("%s was told of %d times", id, n)
		}
	}
}

func TestChangesOfOneRevisionCanBeGoneOnWith(t *testing.T) {
	r := newRegistry(t)
	from := now(t, r)
	// What one request of several transitions does.
	var ops []clientv3.Op
	for _, id := range []string{"a", "b", "c"} {
		e := must(encodeSpec(Spec{ID: id, Kind: "k", Disposition: Rerunnable}, 100))
		ops = append(ops, must(r.table.start(e, 1, time.Now())).then...)
	}
	_, err := r.read(t.Context(), ops...)
	noErr(t, err)
	var first Change
	enough := errors.New("enough")
	err = r.Changes(t.Context(), ChangesOptions{After: from}, func(c Change) error {
		first = c
		return enough
	})
	wantErr(t, err, enough)
	if first.ID != "a" || first.Revision != from+1 || first.Cursor != from {
		t.Fatalf("told %s at %d, cursor %d; etcd was at %d", first.ID, first.Revision, first.Cursor, from)
	}
	told := changesOf(t, r, ChangesOptions{After: first.Cursor})
	told.next(t, "a pending")
	told.next(t, "b pending")
	if c := told.next(t, "c pending"); c.Cursor != from+1 {
		t.Errorf("the last cursor is %d, etcd was at %d", c.Cursor, from)
	}
}

func compactAll(t *testing.T, client *clientv3.Client) int64 {
	t.Helper()
	var revision int64
	for i := range 3 {
		resp, err := client.Put(t.Context(), "x", fmt.Sprint(i))
		noErr(t, err)
		revision = resp.Header.Revision
	}
	_, err := client.Compact(t.Context(), revision, clientv3.WithCompactPhysical())
	noErr(t, err)
	return revision
}

func TestChangesSayWhereToGoOnAfterACompaction(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{})
	from := now(t, r)
	start(t, r, "p")
	at := compactAll(t, r.client)
	err := r.Changes(t.Context(), ChangesOptions{After: from}, func(Change) error { return nil })
	var gone *CompactedError
	if !errors.As(err, &gone) || !errors.Is(err, ErrCompacted) || gone.Cursor != from || gone.Oldest != at {
		t.Fatalf("it ended with %v, want the revision %d", err, at)
	}
	if !strings.Contains(err.Error(), fmt.Sprintf("etcd keeps those after %d", at)) {
		t.Errorf("the error is %q", err)
	}
	told := changesOf(t, r, ChangesOptions{After: gone.Oldest})
	_, err = r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	told.next(t, "p cancelled")
}

func TestChangesOutliveAStopOfEtcd(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{RequestTimeout: time.Second})
	told := changesOf(t, r, ChangesOptions{After: now(t, r)})
	start(t, r, "p")
	told.next(t, "p pending")
	server.Stop()
	server.Restart()
	other := registryOn(t, server.Client(t), Options{Namespace: r.options.Namespace})
	_, err := other.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	told.next(t, "p cancelled")
	start(t, other, "q")
	told.next(t, "q pending")
}

func TestChangesEnd(t *testing.T) {
	r := newRegistry(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() { done <- r.Changes(ctx, ChangesOptions{}, func(Change) error { return nil }) }()
	cancel(errors.New("mine"))
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("with its context: %v", err)
	}
	told := changesOf(t, r, ChangesOptions{After: now(t, r)})
	start(t, r, "p")
	told.next(t, "p pending")
	noErr(t, r.Close())
	wantErr(t, <-told.err, ErrClosed)
	other := newRegistry(t)
	for _, o := range []ChangesOptions{{After: -1}, {After: 1 << 60}, {IDs: []string{""}}} {
		wantErr(t, other.Changes(t.Context(), o, nil), ErrInvalid)
	}
}

func TestAChangeIsAProcessAsJSON(t *testing.T) {
	b, err := json.Marshal(Change{Revision: 7, Cursor: 6, Process: Process{ID: "p", Status: StatusPending}})
	noErr(t, err)
	if text := string(b); !strings.HasPrefix(text, `{"revision":7,"cursor":6,"id":"p",`) {
		t.Errorf("it is %s", text)
	}
}
