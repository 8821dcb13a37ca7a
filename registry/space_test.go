package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestNearlyFullIsWhenDataOrFileAre(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		m           Member
		full, roomy bool
	}{
		{Member{Size: 900, InUse: 900}, false, true}, // of nothing known
		{Member{Size: 80, InUse: 79, Quota: 100}, false, false},
		{Member{Size: 80, InUse: 80, Quota: 100}, true, false},
		{Member{Size: 80, InUse: 70, Quota: 100}, false, false},
		{Member{Size: 80, InUse: 69, Quota: 100}, false, true},
		{Member{Size: 995 * mib, InUse: 100 * mib, Quota: 1000 * mib}, false, false},
		{Member{Size: 996 * mib, InUse: 100 * mib, Quota: 1000 * mib}, true, false},
		{Member{Size: 993 * mib, InUse: 100 * mib, Quota: 1000 * mib}, false, true},
	} {
		if c.m.full() != c.full || c.m.roomy() != c.roomy {
			t.Errorf("%+v: full %v, roomy %v", c.m, c.m.full(), c.m.roomy())
		}
	}
}

func TestMarkIsClearedByWhoSeesTheMemberThatWasFull(t *testing.T) {
	now := time.Now()
	full, between, roomy := Member{ID: "f", InUse: 80, Quota: 100}, Member{ID: "b", InUse: 75, Quota: 100}, Member{ID: "r", InUse: 50, Quota: 100}
	was := Member{ID: "f", InUse: 50, Quota: 100}
	young, old := fullValue{Member: "f", Since: now.Add(-59 * time.Second)}, fullValue{Member: "f", Since: now.Add(-time.Minute)}
	for name, c := range map[string]struct {
		members []Member
		marked  bool
		mark    fullValue
		change  bool
	}{
		"one is full":                   {[]Member{roomy, full}, false, fullValue{}, true},
		"one is full, as marked":        {[]Member{roomy, full}, true, old, false},
		"none is full":                  {[]Member{roomy, between}, false, fullValue{}, false},
		"the one that was has room":     {[]Member{was, roomy}, true, young, true},
		"it has, another has not":       {[]Member{was, between}, true, old, false},
		"the one that was is not asked": {[]Member{roomy}, true, young, false},
		"nor is it for a minute":        {[]Member{roomy}, true, old, true},
		"somebody put it by hand":       {[]Member{roomy}, true, fullValue{}, true},
	} {
		if _, change := judgeSpace(c.members, c.marked, c.mark, now); change != c.change {
			t.Errorf("%s: the mark changes: %v", name, change)
		}
	}
}

// small is a registry on an etcd of 32 MiB.
func small(t *testing.T) (*Registry, *clientv3.Client) {
	t.Helper()
	client := etcdtest.New(t, etcdtest.Quota(32<<20)).Client(t)
	return registryOn(t, client, Options{}), client
}

// stuff fills etcd with so many MiB that are not drover's.
func stuff(t *testing.T, client *clientv3.Client, mib int) {
	t.Helper()
	for i := range mib * 32 {
		_, err := client.Put(t.Context(), fmt.Sprint("stuff", i), strings.Repeat("x", 32<<10))
		noErr(t, err)
	}
}

// unstuff makes room again.
func unstuff(t *testing.T, client *clientv3.Client) {
	t.Helper()
	resp, err := client.Delete(t.Context(), "stuff", clientv3.WithPrefix())
	noErr(t, err)
	_, err = client.Compact(t.Context(), resp.Header.Revision, clientv3.WithCompactPhysical())
	noErr(t, err)
}

func deleteKey(t *testing.T, r *Registry, key string) error {
	t.Helper()
	_, err := r.client.Delete(t.Context(), key)
	return err
}

// finds looks until etcd has written what it holds, every tenth of a second, and fails
// unless it is found so full.
func finds(t *testing.T, r *Registry, full bool) Space {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		s, err := r.CheckSpace(t.Context())
		noErr(t, err)
		if s.Full == full {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is %+v", s)
		}
		rest(t.Context(), 50*time.Millisecond)
	}
}

func TestFullEtcdStartsNothingAndEndsWhatRuns(t *testing.T) {
	r, client := small(t)
	s := join(t, r, "n")
	for _, id := range []string{"runs", "waits", "ended"} {
		start(t, r, id)
	}
	if _, err := r.Cancel(t.Context(), "ended", Request{}); err != nil {
		t.Fatal(err)
	}
	c := claim(t, r, s, "runs")
	if space := finds(t, r, false); space.Nodes != 1 || space.Fills() > 0.1 || len(space.Members) != 1 {
		t.Errorf("at first it is %+v", space)
	}
	stuff(t, client, 25)
	if space := finds(t, r, true); space.Fills() < 0.8 || !space.Scarce() {
		t.Errorf("then it is %+v", space)
	}

	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	spec := Spec{ID: "new", Kind: "k", Disposition: Rerunnable}
	const words = "etcd is nearly full, nothing new is started: its data fill 8"
	for range 2 { // the second knows before it is sent
		_, err := r.Start(soon(), spec)
		wantErr(t, err, ErrFull)
		wantErr(t, err, context.DeadlineExceeded)
		if errors.Is(err, ErrUnresolved) || !strings.Contains(err.Error(), words) {
			t.Errorf("a start: %v", err)
		}
	}
	for _, o := range []StartManyOptions{{}, {AllOrNothing: true}} {
		for _, res := range r.StartMany(soon(), []Spec{spec, {ID: "new 2", Kind: "k", Disposition: Rerunnable}}, o) {
			wantErr(t, res.Err, ErrFull)
		}
	}
	_, err := r.Reopen(soon(), "ended")
	wantErr(t, err, ErrFull)
	if _, err := r.Get(t.Context(), "new"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it was started: %v", err)
	}
	if h := healthOf(t, r); !h.Full || !strings.HasPrefix(strings.Join(h.Problems, "; "), words) {
		t.Errorf("its health is %+v", h)
	}

	// What is there already is told, and what runs and waits goes on.
	if there, err := r.Start(t.Context(), Spec{ID: "waits", Kind: "k", Disposition: Rerunnable}); err != nil || !there.Existing {
		t.Errorf("a start of what is there: %+v, %v", there, err)
	}
	noErr(t, r.Complete(t.Context(), c, nil))
	noErr(t, r.Complete(t.Context(), claim(t, r, s, "waits"), nil))

	// Whoever waits goes on when there is room.
	waiting := make(chan error, 1)
	go func() {
		_, err := r.Start(t.Context(), spec)
		waiting <- err
	}()
	unstuff(t, client)
	finds(t, r, false)
	noErr(t, <-waiting)
	if _, err := r.Reopen(t.Context(), "ended"); err != nil {
		t.Error(err)
	}
	if h := healthOf(t, r); h.Full {
		t.Errorf("its health is %+v", h)
	}
}

// etcd counts what is free when something is written, and here nothing is.
func TestRoomIsSeenThoughNobodyWrites(t *testing.T) {
	r, client := small(t)
	stuff(t, client, 25)
	finds(t, r, true)
	unstuff(t, client)
	finds(t, r, false)
	stuff(t, client, 25)
	finds(t, r, true)
	before := lookUp(t, r, r.keys.full())
	if _, err := r.CheckSpace(t.Context()); err != nil {
		t.Error(err)
	}
	after := lookUp(t, r, r.keys.full())
	if then, now := readFull(before), readFull(after); after.ModRevision == before.ModRevision || !now.Since.Equal(then.Since) || now.Member != then.Member {
		t.Errorf("the mark was %s and is %s", before.Value, after.Value)
	}
}

func lookUp(t *testing.T, r *Registry, key string) *mvccpb.KeyValue {
	t.Helper()
	resp, err := r.read(t.Context(), get(key))
	noErr(t, err)
	return newView(resp.Responses)[key]
}

// A start that was not answered may land when there is room again, whatever a
// later copy was told.
func TestStartWithoutRoomIsUnsureAfterALostRequest(t *testing.T) {
	w := newWire(t)
	r := w.registry(t)
	write(t, r, r.keys.full(), `{}`)
	acts := late()
	ctx, cancel := context.WithCancel(t.Context())
	w.nextWrites(acts[0])
	w.saw(func(txn *etcdserverpb.TxnRequest, _ *etcdserverpb.TxnResponse) {
		if !isWrite(txn) { // it looks whether there is room
			cancel()
		}
	})
	spec := Spec{ID: "p", Kind: "k", Disposition: Rerunnable}
	_, err := r.Start(ctx, spec)
	wantErr(t, err, ErrUnresolved)
	wantErr(t, err, ErrFull)
	noErr(t, deleteKey(t, r, r.keys.full()))
	w.nextWrites(acts[1]) // after which the first copy lands
	start(t, r, "q")
	if there, err := r.Start(t.Context(), spec); err != nil || !there.Existing {
		t.Errorf("it has landed late: %+v, %v", there, err)
	}
}

// Were it asked once for all, what ends a process would be sent again alone
// whenever a start travels with it.
func TestBatchIsNotTornApartForLackOfRoom(t *testing.T) {
	tb := table{newKeys("x")}
	b := &batch{}
	for _, id := range []string{"p", "q"} {
		e, err := encodeSpec(Spec{ID: id, Kind: "k", Disposition: Rerunnable}, 100)
		noErr(t, err)
		tr, err := tb.start(e, 1, time.Now())
		noErr(t, err)
		if !b.add(newMember(tr, false)) {
			t.Fatal("it does not go into the batch")
		}
	}
	if when, then, _ := b.request(); len(when) != 0 || len(then) != 2 {
		t.Errorf("%d operations under the conditions %v", len(then), when)
	}
}

func TestKeepsLessWhenSpaceIsScarce(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		fills             float64
		completed, others time.Duration
	}{
		{0, 24 * hour, 168 * hour},
		{0.5, 24 * hour, 168 * hour},
		{0.575, 37*time.Minute + 57*time.Second, 168 * hour},
		{0.65, time.Minute, 168 * hour},
		{0.70, time.Minute, 1*hour + 40*time.Minute + 24*time.Second},
		{0.75, time.Minute, time.Minute},
		{1, time.Minute, time.Minute},
	} {
		if got := (Retention{}).within(c.fills); got != (Retention{Completed: c.completed, Others: c.others}) {
			t.Errorf("at %v it keeps %v", c.fills, got)
		}
		given := Retention{Completed: hour, Others: -1}
		if got := given.within(c.fills); got != given {
			t.Errorf("at %v it keeps %v of what was given", c.fills, got)
		}
	}
}

func TestRetainDeletesEarlierWhenSpaceIsScarce(t *testing.T) {
	c := newClock()
	r := registryAt(t, c)
	cancelled(t, r, "old")
	c.advance(2 * time.Minute)
	cancelled(t, r, "young")
	c.advance(30 * time.Second)
	for _, step := range []struct {
		inUse int64
		keep  Retention
		want  int
	}{{40, Retention{}, 0}, {80, Retention{Others: time.Hour}, 0}, {80, Retention{}, 1}} {
		pruned, more, err := r.Retain(t.Context(), step.keep, Space{Members: []Member{{InUse: step.inUse, Quota: 100}}})
		if err != nil || pruned != step.want || more {
			t.Errorf("at %d %%: pruned %d, more: %v, %v", step.inUse, pruned, more, err)
		}
	}
	if left := keysUnder(t, r, "process/"); fmt.Sprint(left) != "[process/young]" {
		t.Errorf("left are %v", left)
	}
}
