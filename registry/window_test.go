package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func names(entries []Entry) string {
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func list(t *testing.T, w *Window, limit int) string {
	t.Helper()
	entries, _, err := w.List(t.Context(), limit, nil)
	noErr(t, err)
	return names(entries)
}

func TestWindowListsByPriorityThenByStart(t *testing.T) {
	r := newRegistry(t)
	other := func(s *Spec) { s.Kind = "other" }
	start(t, r, "low", Priority(3))
	start(t, r, "first")
	start(t, r, "unknown", func(s *Spec) { s.Kind = "unknown" })
	start(t, r, "second", other)
	start(t, r, "elsewhere", Queue("elsewhere"))
	start(t, r, "beside", Queue("beside"))
	start(t, r, "third")
	start(t, r, "high", Priority(0), Queue("beside"))
	start(t, r, "later", At(time.Now().Add(time.Hour)))
	w := r.Window([]string{"default", "beside"}, []string{"k", "other"})
	for limit, want := range map[int]string{
		10: "high first second beside third low",
		6:  "high first second beside third low",
		5:  "high first second beside third",
		1:  "high",
		0:  "",
	} {
		entries, more, err := w.List(t.Context(), limit, nil)
		noErr(t, err)
		if names(entries) != want || more != (limit < 6) {
			t.Errorf("limit %d: %s, more %v; want %s", limit, names(entries), more, want)
		}
	}
}

func TestWindowPassesOverPausedQueues(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	start(t, r, "q", Queue("other"))
	w := r.Window([]string{"default", "other"}, []string{"k"})
	for _, step := range []struct{ state, want string }{
		{`{"paused":true}`, "q"},
		{`{"paused":false}`, "p q"},
		{`garbage`, "q"}, // not to claim is safe
		{`{}`, "p q"},
	} {
		write(t, r, r.keys.queue("default"), step.state)
		entries, _, err := w.List(t.Context(), 10, nil)
		if step.state == "garbage" {
			wantCorrupt(t, err, r.keys.queue("default"))
		} else {
			noErr(t, err)
		}
		if got := names(entries); got != step.want {
			t.Errorf("%s: %s, want %s", step.state, got, step.want)
		}
	}
	entries, _, err := w.List(t.Context(), 10, nil)
	noErr(t, err)
	_, err = r.Claim(t.Context(), join(t, r, "n"), entries[0])
	noErr(t, err)
}

func TestWindowHasAFloorUntilSomebodyLowersIt(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	w := r.Window([]string{"default"}, []string{"k"})
	start(t, r, "old")
	old := entryOf(t, r, "old")
	c := claim(t, r, s, "old")
	start(t, r, "new")
	if got := list(t, w, 10); got != "new" {
		t.Fatalf("listed %s", got)
	}
	noErr(t, r.Release(t.Context(), c)) // it comes back below the floor
	if got := list(t, w, 10); got != "new" {
		t.Errorf("there is no floor: %s", got)
	}
	w.Lower(old)
	if got := list(t, w, 10); got != "old new" {
		t.Errorf("lowered: %s", got)
	}
	claim(t, r, s, "old")
	if got := list(t, w, 10); got != "new" {
		t.Errorf("listed %s", got)
	}
	noErr(t, r.Release(t.Context(), claim(t, r, s, "new")))
	w.Lower(Entry{ID: "x", Queue: "elsewhere", Kind: "k", Priority: 1, Seq: 1})
	w.Lower(Entry{ID: "x", Queue: "default", Kind: "k", Priority: 2, Seq: 1})
	if got := list(t, w, 10); got != "new" {
		t.Errorf("listed %s", got)
	}
}

func TestResetForgetsTheFloors(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	w := r.Window([]string{"default"}, []string{"k"})
	start(t, r, "old")
	c := claim(t, r, s, "old")
	start(t, r, "new")
	list(t, w, 10)
	noErr(t, r.Release(t.Context(), c))
	w.Reset()
	if got := list(t, w, 10); got != "old new" {
		t.Errorf("listed %s", got)
	}
}

// What a watch delivers while a list is under way is not in that list, and
// must be in the next one.
func TestLowerDuringAListIsKept(t *testing.T) {
	for name, lower := range map[string]func(*Window, Entry){
		"lower": func(w *Window, e Entry) { w.Lower(e) },
		"reset": func(w *Window, _ Entry) { w.Reset() },
	} {
		t.Run(name, func(t *testing.T) {
			wire := newWire(t)
			r := wire.registry(t)
			plain := newRegistry(t)
			plain.keys, plain.table = r.keys, r.table
			s := join(t, plain, "n")
			start(t, plain, "old")
			old := entryOf(t, plain, "old")
			c := claim(t, plain, s, "old")
			start(t, plain, "new")
			w := r.Window([]string{"default"}, []string{"k"})
			wire.next(func(send func() error) error {
				err := send() // etcd has answered, and the answer is on its way
				noErr(t, plain.Release(t.Context(), c))
				lower(w, old)
				return err
			})
			if got := list(t, w, 10); got != "new" {
				t.Fatalf("listed %s", got)
			}
			if got := list(t, w, 10); got != "old new" {
				t.Errorf("the next list is %s", got)
			}
		})
	}
}

func TestWindowLeavesOutWhatItCannotRead(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	write(t, r, r.keys.lane("default", "k", 1)+"nonsense", "{}")
	write(t, r, r.keys.lane("default", "k", 1)+"+5/q", "{}")
	entries, _, err := r.Window([]string{"default"}, []string{"k"}).List(t.Context(), 10, nil)
	var corrupt *CorruptError
	if names(entries) != "p" || !errors.As(err, &corrupt) {
		t.Errorf("listed %s, %v", names(entries), err)
	}
}

// fill puts n pending keys, a millisecond apart, in large transactions.
func fill(t *testing.T, r *Registry, n int, from int64) {
	t.Helper()
	for first := 0; first < n; first += 100 {
		ops := make([]clientv3.Op, 100)
		for i := range ops {
			e := Entry{
				ID: fmt.Sprintf("p%06d", first+i), Queue: "default", Kind: "k", Priority: 1,
				Seq: from + int64(first+i)*int64(time.Millisecond),
			}
			ops[i] = put(r.keys.pending(e), "{}")
		}
		if _, err := r.client.Txn(t.Context()).Then(ops...).Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// etcd counts every key of a range, so a lane with many is read up to a close
// bound, and stays so for as long as it has many.
func TestALongLaneIsReadInBoundedRanges(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	fill(t, r, 6000, time.Now().UnixNano())
	w := r.Window([]string{"default"}, []string{"k"})
	open := r.keys.lane("default", "k", 1)
	end := upTo(open)
	var mu sync.Mutex
	var counted []int64
	wire.saw(func(req *etcdserverpb.TxnRequest, resp *etcdserverpb.TxnResponse) {
		mu.Lock()
		defer mu.Unlock()
		for i, op := range req.Success {
			if g := op.GetRequestRange(); g != nil && strings.HasPrefix(string(g.Key), open) && string(g.Key) < end {
				counted = append(counted, resp.Responses[i].GetResponseRange().Count)
			}
		}
	})
	claimed := 0
	for range 20 {
		entries, more, err := w.List(t.Context(), 10, nil)
		noErr(t, err)
		if len(entries) != 10 || !more || entries[0].ID != fmt.Sprintf("p%06d", claimed) {
			t.Fatalf("after %d: %d entries from %s, more %v", claimed, len(entries), names(entries[:1]), more)
		}
		for _, e := range entries {
			_, err := r.client.Delete(t.Context(), r.keys.pending(e))
			noErr(t, err)
		}
		claimed += 10
	}
	mu.Lock()
	defer mu.Unlock()
	if counted[0] != 6000 {
		t.Errorf("the first list counted %d", counted[0])
	}
	if most := slices.Max(counted[1:]); most > 1000 {
		t.Errorf("later lists counted up to %d keys: %v", most, counted)
	}
}

func TestALongLaneWithAGapIsReadToItsEnd(t *testing.T) {
	r := newRegistry(t)
	now := time.Now().UnixNano()
	fill(t, r, 5000, now)
	w := r.Window([]string{"default"}, []string{"k"})
	list(t, w, 10)
	_, err := r.client.Delete(t.Context(), r.keys.lane("default", "k", 1), clientv3.WithPrefix())
	noErr(t, err)
	fill(t, r, 100, now+int64(24*time.Hour)) // far beyond any bound
	w.Lower(Entry{Queue: "default", Kind: "k", Priority: 1, Seq: now, ID: "p000000"})
	if got := list(t, w, 3); got != "p000000 p000001 p000002" {
		t.Errorf("listed %s", got)
	}
}

func TestABoundedListSaysThatThereIsMore(t *testing.T) {
	r := newRegistry(t)
	fill(t, r, 5000, time.Now().UnixNano())
	w := r.Window([]string{"default"}, []string{"k"})
	list(t, w, 10)
	for limit := 1; limit <= 120; limit++ { // one of them is just what a bounded range holds
		entries, more, err := w.List(t.Context(), limit, nil)
		noErr(t, err)
		if len(entries) != limit || !more {
			t.Fatalf("limit %d: %d, more %v", limit, len(entries), more)
		}
	}
}

func TestWindowServesAnyNumberOfQueues(t *testing.T) {
	r := newRegistry(t)
	queues := make([]string, 130)
	for i := range queues {
		queues[i] = fmt.Sprintf("q%d", i)
	}
	start(t, r, "p", Queue("q129"))
	if got := list(t, r.Window(queues, []string{"k"}), 10); got != "p" {
		t.Errorf("listed %s", got)
	}
	if got := list(t, r.Window(nil, nil), 10); got != "" {
		t.Errorf("listed %s", got)
	}
}
