package registry

import (
	"fmt"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// inFlight begins a list of w's first lane and returns what ends it: the
// answer that was true when it was sent.
func inFlight(t *testing.T, w *Window) (answered func()) {
	t.Helper()
	l := w.lanes[1] // priority 1
	l.lowered = ""
	op := l.read(w.r.keys, 10, true)
	resp, err := w.r.read(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	return func() { w.take(l, op, resp.Responses[0].GetResponseRange(), gate{}) }
}

func listed(t *testing.T, w *Window) string {
	t.Helper()
	entries, _, err := w.List(t.Context(), 10, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return fmt.Sprint(ids)
}

// A retry that matures has the seq of its start, below what waits. The watch
// may tell of it before the answer of a list that did not see it.
func TestFloorLoweredDuringListIsKept(t *testing.T) {
	r := newRegistry(t)
	w := r.Window([]string{"default"}, []string{"k"})
	start(t, r, "late")
	if got := listed(t, w); got != "[late]" {
		t.Fatal(got)
	}
	answered := inFlight(t, w)
	early := Entry{ID: "early", Queue: "default", Kind: "k", Priority: 1, Seq: 1}
	if _, err := r.read(t.Context(), put(r.keys.pending(early), "{}")); err != nil {
		t.Fatal(err)
	}
	w.Lower(early)
	answered()
	if got := listed(t, w); got != "[early late]" {
		t.Errorf("listed %s, want [early late]", got)
	}
}

func TestFloorForgottenDuringListStaysForgotten(t *testing.T) {
	r := newRegistry(t)
	w := r.Window([]string{"default"}, []string{"k"})
	start(t, r, "late")
	if got := listed(t, w); got != "[late]" {
		t.Fatal(got)
	}
	answered := inFlight(t, w)
	early := Entry{ID: "early", Queue: "default", Kind: "k", Priority: 1, Seq: 1}
	if _, err := r.read(t.Context(), put(r.keys.pending(early), "{}")); err != nil {
		t.Fatal(err)
	}
	w.Reset()
	answered()
	if got := listed(t, w); got != "[early late]" {
		t.Errorf("listed %s, want [early late]", got)
	}
}

// A bounded range counts what is inside its bounds: that says nothing of the
// lane. etcd would count a million keys for every second drive.
func TestLaneStaysBoundedWhileItIsLong(t *testing.T) {
	r := newRegistry(t)
	w := r.Window([]string{"default"}, []string{"k"})
	l := w.lanes[1]
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	key := r.keys.pending(Entry{ID: "a", Queue: "default", Kind: "k", Priority: 1, Seq: at})
	found := func(count int64) *etcdserverpb.RangeResponse {
		return &etcdserverpb.RangeResponse{Count: count}
	}
	l.floor = key
	l.learn(l.read(r.keys, 10, true), found(1_000_000))
	for turn := range 3 {
		op := l.read(r.keys, 10, true)
		if string(op.RangeBytes()) == upTo(l.prefix) {
			t.Fatalf("turn %d reads the whole lane", turn)
		}
		l.learn(op, found(10))
	}
}
