package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/drover-run/drover/lease/etcdtest"
)

// clock is a wall clock that stands until it is moved.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

func registryAt(t *testing.T, c *clock) *Registry {
	t.Helper()
	return registryOn(t, etcdtest.Client(t), Options{Now: c.now})
}

// cancelled starts a process and ends it.
func cancelled(t *testing.T, r *Registry, id string, opts ...StartOption) {
	t.Helper()
	start(t, r, id, opts...)
	_, err := r.Cancel(t.Context(), id, Request{})
	noErr(t, err)
}

func TestPruneLeavesNothingOfAProcess(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	s := join(t, r, "n")
	before := keysUnder(t, r, "")
	large := `"` + strings.Repeat("x", 5000) + `"`
	start(t, r, "a/b", input(large))
	held := claim(t, r, s, "a/b")
	noErr(t, r.Progress(t.Context(), held, []byte(`1`)))
	noErr(t, r.Checkpoint(t.Context(), held, "one", []byte(`1`)))
	noErr(t, r.Complete(t.Context(), held, []byte(large)))
	// What a race can leave behind.
	write(t, r, r.keys.progress("a/b"), `{}`)
	write(t, r, r.keys.step("a/b", "two"), `{}`)
	write(t, r, r.keys.request("a/b"), `{}`)
	cancelled(t, r, "c", func(s *Spec) { s.Deadline = Duration(time.Hour) })
	c.advance(time.Second)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: c.now()})
	noErr(t, err)
	if pruned != 2 {
		t.Errorf("pruned %d, want 2", pruned)
	}
	if after := keysUnder(t, r, ""); !slices.Equal(after, before) {
		t.Errorf("left are %v", after)
	}
	_, err = r.Get(t.Context(), "a/b")
	wantErr(t, err, ErrNotFound)
	started, err := r.Start(t.Context(), Spec{ID: "a/b", Kind: "k", Disposition: Rerunnable})
	noErr(t, err)
	if started.Existing || started.Series != 1 {
		t.Errorf("a start afterwards is %+v", started)
	}
}

func TestPruneLeavesAloneWhatIsOpenOrYoung(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	s := join(t, r, "n")
	cancelled(t, r, "old")
	start(t, r, "running")
	claim(t, r, s, "running")
	start(t, r, "pending")
	start(t, r, "scheduled", At(c.now().Add(time.Hour)))
	c.advance(time.Minute)
	border := c.now()
	cancelled(t, r, "young")
	c.advance(time.Hour)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: border})
	noErr(t, err)
	if left := keysUnder(t, r, "process/"); pruned != 1 || len(left) != 4 || slices.Contains(left, "process/old") {
		t.Errorf("pruned %d, left are %v", pruned, left)
	}
}

func TestPruneByOutcome(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	s := join(t, r, "n")
	for _, id := range []string{"completed", "failed", "cancelled"} {
		start(t, r, id)
	}
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "completed"), nil))
	noErr(t, r.Fail(t.Context(), claim(t, r, s, "failed"), "boom", "", nil))
	_, err := r.Cancel(t.Context(), "cancelled", Request{})
	noErr(t, err)
	c.advance(time.Second)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: c.now(), Outcomes: []Outcome{Failed}})
	noErr(t, err)
	if left := keysUnder(t, r, "process/"); pruned != 1 || !slices.Equal(left, []string{"process/cancelled", "process/completed"}) {
		t.Errorf("pruned %d, left are %v", pruned, left)
	}
	for _, o := range []PruneOptions{
		{}, {Before: c.now(), Limit: -1}, {Before: c.now(), Outcomes: []Outcome{"running"}},
	} {
		_, err := r.Prune(t.Context(), o)
		wantErr(t, err, ErrInvalid)
	}
}

func TestRetainKeepsWhatIsYoungEnough(t *testing.T) {
	const hour = time.Hour
	for name, test := range map[string]struct {
		keep Retention
		age  time.Duration
		want string
	}{
		"a day is not over":        {Retention{}, 24*hour - 1, "process/cancelled process/completed"},
		"a day is over":            {Retention{}, 24*hour + 1, "process/cancelled"},
		"a week is not over":       {Retention{}, 7*24*hour - 1, "process/cancelled"},
		"a week is over":           {Retention{}, 7*24*hour + 1, ""},
		"for as long as was said":  {Retention{Completed: 3 * hour, Others: hour}, 2 * hour, "process/completed"},
		"completed ones for ever":  {Retention{Completed: -1}, 8 * 24 * hour, "process/completed"},
		"the other ones for ever":  {Retention{Others: -1}, 8 * 24 * hour, "process/cancelled"},
		"everything is to be kept": {Retention{Completed: -1, Others: -1}, 9000 * hour, "process/cancelled process/completed"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r := registryAt(t, c)
			start(t, r, "completed")
			noErr(t, r.Complete(t.Context(), claim(t, r, join(t, r, "n"), "completed"), nil))
			cancelled(t, r, "cancelled")
			c.advance(test.age)
			_, _, err := r.Retain(t.Context(), test.keep, Space{})
			noErr(t, err)
			if left := strings.Join(keysUnder(t, r, "process/"), " "); left != test.want {
				t.Errorf("left is %q, want %q", left, test.want)
			}
		})
	}
}

func TestPruneForgetsHintsOfWhatWentOn(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	cancelled(t, r, "opened again")
	cancelled(t, r, "ended again")
	cancelled(t, r, "gone")
	_, err := r.Reopen(t.Context(), "opened again")
	noErr(t, err)
	_, err = r.Reopen(t.Context(), "ended again")
	noErr(t, err)
	_, err = r.client.Delete(t.Context(), r.keys.process("gone"))
	noErr(t, err)
	write(t, r, r.keys.done(Cancelled, c.now(), "lie"), `{"ended":[{"id":"opened again","series":2}]}`)
	c.advance(time.Second)
	border := c.now()
	_, err = r.Cancel(t.Context(), "ended again", Request{})
	noErr(t, err)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: border})
	noErr(t, err)
	if hints := keysUnder(t, r, "done/"); pruned != 0 || len(hints) != 1 {
		t.Errorf("pruned %d, hints left are %v", pruned, hints)
	}
	wants(t, r, "opened again", StatusPending, 0, 0, 0, 0)
	wants(t, r, "ended again", StatusCancelled, 0, 0, 0, 0)
}

// A hint may outlive its process, if somebody deletes the row: then it is not
// the hint of the next process with that id.
func TestPruneDoesNotTrustHints(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	old := c.now()
	c.advance(time.Minute)
	border := c.now()
	cancelled(t, r, "p")
	write(t, r, r.keys.done(Cancelled, old, "another end"), `{"ended":[{"id":"p","series":1}]}`)
	write(t, r, r.keys.done(Failed, c.now().Add(-1), "another outcome"), `{"ended":[{"id":"p","series":1}]}`)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: border})
	noErr(t, err)
	if hints := keysUnder(t, r, "done/"); pruned != 0 || len(hints) != 1 {
		t.Errorf("pruned %d, hints left are %v", pruned, hints)
	}
	wants(t, r, "p", StatusCancelled, 0, 0, 0, 0)
}

func TestPruneOfAHintOfMany(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	for i := range 3 {
		cancelled(t, r, fmt.Sprint(i))
	}
	for _, key := range keysUnder(t, r, "done/") {
		_, err := r.client.Delete(t.Context(), r.keys.root+key)
		noErr(t, err)
	}
	// The clock stands, so all have ended in the same nanosecond.
	write(t, r, r.keys.done(Cancelled, c.now(), "all"),
		`{"ended":[{"id":"0","series":1},{"id":"unknown","series":1},{"id":"1","series":1},{"id":"2","series":1}]}`)
	c.advance(time.Second)
	for _, want := range []struct{ pruned, rows, hints int }{{2, 1, 1}, {1, 0, 0}, {0, 0, 0}} {
		pruned, err := r.Prune(t.Context(), PruneOptions{Before: c.now(), Limit: 2})
		noErr(t, err)
		rows, hints := len(keysUnder(t, r, "process/")), len(keysUnder(t, r, "done/"))
		if pruned != want.pruned || rows != want.rows || hints != want.hints {
			t.Errorf("pruned %d, %d rows and %d hints left; want %+v", pruned, rows, hints, want)
		}
	}
}

// A row that is opened again between the read and the delete is another
// series, which nobody asked to delete.
func TestPruneLosesAgainstAReopen(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	cancelled(t, other, "p")
	wire.nextWrites(func(send func() error) error {
		_, err := other.Reopen(t.Context(), "p")
		noErr(t, err)
		return send()
	})
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
	noErr(t, err)
	if pruned != 0 || wire.left() != 0 {
		t.Errorf("pruned %d", pruned)
	}
	wants(t, r, "p", StatusPending, 0, 0, 0, 0)
}

func TestPruneCostsWhatItDeletes(t *testing.T) {
	c := newClock()
	wire := newWire(t)
	r := registryOn(t, wire.client, Options{Now: c.now})
	for i := range 3 {
		cancelled(t, r, fmt.Sprint("old", i))
	}
	c.advance(time.Minute)
	border := c.now()
	for i := range 100 {
		cancelled(t, r, fmt.Sprint("young", i))
	}
	var mu sync.Mutex
	var requests int
	var most int64
	wire.saw(func(_ *etcdserverpb.TxnRequest, resp *etcdserverpb.TxnResponse) {
		mu.Lock()
		defer mu.Unlock()
		requests++
		for _, answer := range resp.Responses {
			most = max(most, answer.GetResponseRange().GetCount())
		}
	})
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: border})
	noErr(t, err)
	mu.Lock()
	defer mu.Unlock()
	if pruned != 3 || requests > 8 || most > 3 {
		t.Errorf("pruned %d with %d requests, which counted up to %d keys", pruned, requests, most)
	}
}

func TestPrunePassesOverWhatItCannotRead(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	cancelled(t, r, "broken")
	c.advance(1)
	cancelled(t, r, "good")
	write(t, r, r.keys.process("broken"), `{`)
	write(t, r, r.keys.done(Cancelled, c.now(), "broken"), `{`)
	write(t, r, r.keys.ended(Cancelled)+"0/x/y", `{}`)
	c.advance(time.Second)
	pruned, err := r.Prune(t.Context(), PruneOptions{Before: c.now()})
	var corrupt *CorruptError
	if pruned != 1 || !errors.As(err, &corrupt) || strings.Count(err.Error(), "corrupt") != 3 {
		t.Errorf("pruned %d: %v", pruned, err)
	}
	if left := keysUnder(t, r, "process/"); !slices.Equal(left, []string{"process/broken"}) {
		t.Errorf("left are %v", left)
	}
}

func TestPruneOfManyMakesTheirIDsNew(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	specs := make([]Spec, 450) // several pages of hints
	for i := range specs {
		specs[i] = Spec{ID: fmt.Sprint("p", i), Kind: "k", Disposition: Rerunnable}
	}
	for _, res := range r.StartMany(t.Context(), specs, StartManyOptions{}) {
		noErr(t, res.Err)
	}
	var ending sync.WaitGroup
	for i := range 16 {
		ending.Go(func() {
			for j := i; j < len(specs); j += 16 {
				if _, err := r.Cancel(t.Context(), specs[j].ID, Request{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ending.Wait()
	c.advance(time.Second)
	total := 0
	for range 4 {
		pruned, err := r.Prune(t.Context(), PruneOptions{Before: c.now(), Limit: 180})
		noErr(t, err)
		if total += pruned; pruned > 180 {
			t.Errorf("pruned %d", pruned)
		}
	}
	if left := keysUnder(t, r, ""); total != 450 || len(left) != 0 {
		t.Errorf("pruned %d, left are %v", total, left)
	}
	for _, res := range r.StartMany(t.Context(), specs, StartManyOptions{}) {
		if res.Err != nil || res.Started.Existing {
			t.Fatalf("%+v", res)
		}
	}
}
