package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// scarce is an etcd whose data fill 80 % of its quota.
var scarce = Space{Members: []Member{{InUse: 80, Quota: 100}}}

// endedOf starts a process of a disposition and ends it.
func endedOf(t *testing.T, r *Registry, id string, d Disposition) {
	t.Helper()
	_, err := r.Start(t.Context(), Spec{ID: id, Kind: "k", Disposition: d})
	noErr(t, err)
	if d == External { // a cancel is answered by who runs it
		_, err = r.Abandon(t.Context(), id, Request{})
	} else {
		_, err = r.Cancel(t.Context(), id, Request{})
	}
	noErr(t, err)
}

func TestWhatMayNotRunTwiceIsKeptForAnHourThoughSpaceIsScarce(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	retain := func(keep Retention, want int, left ...string) {
		t.Helper()
		pruned, more, err := r.Retain(t.Context(), keep, scarce)
		if err != nil || pruned != want || more {
			t.Errorf("pruned %d, more: %v, %v; want %d", pruned, more, err, want)
		}
		if rows := keysUnder(t, r, "process/"); !slices.Equal(rows, left) {
			t.Errorf("left are %v, want %v", rows, left)
		}
	}
	endedOf(t, r, "bound", OwnerBound)
	endedOf(t, r, "external", External)
	endedOf(t, r, "rerunnable", Rerunnable)
	c.advance(2 * time.Minute)
	retain(Retention{}, 1, "process/bound", "process/external")

	// Who was not answered starts it again, and is told what became of it.
	again, err := r.Start(t.Context(), Spec{ID: "bound", Kind: "k", Disposition: OwnerBound})
	if err != nil || !again.Existing {
		t.Errorf("a start that is repeated: %+v, %v", again, err)
	}

	endedOf(t, r, "later", Rerunnable)
	c.advance(2 * time.Minute)
	retain(Retention{}, 1, "process/bound", "process/external")
	c.advance(55 * time.Minute)
	retain(Retention{}, 0, "process/bound", "process/external")
	endedOf(t, r, "last", External)
	retain(Retention{Others: 2 * time.Hour}, 0, "process/bound", "process/external", "process/last")
	c.advance(2 * time.Minute)
	retain(Retention{}, 2, "process/last")
	retain(Retention{Others: time.Minute}, 1) // what is given is kept to
}

func TestRetireGetsThroughAmongWhatIsSpared(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	const each = pruneChunk/2 + 5 // so that there is a second page
	for i := range each {
		endedOf(t, r, fmt.Sprint("bound", i), OwnerBound)
		endedOf(t, r, fmt.Sprint("rerunnable", i), Rerunnable)
		c.advance(time.Millisecond)
	}
	c.advance(2 * time.Minute)
	before, onceBefore := c.now().Add(-time.Minute), c.now().Add(-time.Hour)
	pruned := 0
	for range 5 { // twice as many as it takes
		p := &pruner{r: r, limit: 50}
		noErr(t, p.retire(t.Context(), Cancelled, before, onceBefore))
		pruned += int(p.pruned.Load())
	}
	if left := keysUnder(t, r, "process/"); pruned != each || len(left) != each {
		t.Errorf("%d deleted, %d left, want %d of both", pruned, len(left), each)
	}
	p := &pruner{r: r}
	noErr(t, p.retire(t.Context(), Cancelled, before, before))
	if left := keysUnder(t, r, "process/"); len(left) > 0 {
		t.Errorf("in the end %d are left", len(left))
	}
}

// A pass looks every half a second, and what it has to leave may be much.
func TestWhatIsSparedIsReadOnce(t *testing.T) {
	w := newWire(t)
	c := newClock()
	r := registryOn(t, w.client, Options{Now: c.now})
	for i := range 5 {
		endedOf(t, r, fmt.Sprint("bound", i), OwnerBound)
	}
	c.advance(2 * time.Minute)
	rows := 0
	w.saw(func(txn *etcdserverpb.TxnRequest, _ *etcdserverpb.TxnResponse) {
		for _, op := range txn.Success {
			if key := op.GetRequestRange().GetKey(); len(key) > 0 && string(key) > r.keys.process("") && string(key) < r.keys.process("z") {
				rows++
			}
		}
	})
	for range 3 {
		_, _, err := r.Retain(t.Context(), Retention{}, scarce)
		noErr(t, err)
	}
	if rows != 5 {
		t.Errorf("%d rows were read, want each of the 5 once", rows)
	}
}

func timed(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestStartFindsRoomWhereNoNodeLooks(t *testing.T) {
	c := newClock()
	node, client := small(t)
	node.options.Now = c.now
	stuff(t, client, 25)
	finds(t, node, true)
	unstuff(t, client) // and no node is left that would see it
	r := registryOn(t, client, Options{Namespace: node.options.Namespace, Now: c.now})
	spec := Spec{ID: "p", Kind: "k", Disposition: Rerunnable}
	mark := lookUp(t, r, r.keys.full())

	// A young mark is for who put it.
	_, err := r.Start(timed(t, desertedAfter+3*askRoom), spec)
	wantErr(t, err, ErrFull)
	if errors.Is(err, ErrUnresolved) {
		t.Errorf("a start: %v", err)
	}
	if now := lookUp(t, r, r.keys.full()); now == nil || now.ModRevision != mark.ModRevision {
		t.Errorf("the mark was %v and is %v", mark, now)
	}

	c.advance(fullAnew)
	_, err = r.Start(timed(t, 20*time.Second), spec)
	noErr(t, err)
	if now := lookUp(t, r, r.keys.full()); now != nil {
		t.Errorf("the mark stands: %s", now.Value)
	}
}

// Full it is still, whoever looks.
func TestStartLeavesAnOldMarkWhereThereIsNoRoom(t *testing.T) {
	c := newClock()
	r, client := small(t)
	r.options.Now = c.now
	stuff(t, client, 25)
	finds(t, r, true)
	c.advance(time.Hour)
	_, err := r.Start(timed(t, desertedAfter+3*askRoom), Spec{ID: "p", Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrFull)
	if lookUp(t, r, r.keys.full()) == nil {
		t.Error("the mark is gone")
	}
}
