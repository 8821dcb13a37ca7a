package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"github.com/drover-run/drover/lease/etcdtest"
)

// crowd lets transitions of one registry meet: they arrive while a request is
// held up on the wire. What it holds of sessions is made by another registry
// with the same keys, plain, so that only transitions pass the wire.
type crowd struct {
	t        *testing.T
	wire     *wire
	r, plain *Registry

	mu       sync.Mutex
	requests []*etcdserverpb.TxnRequest // with transitions, that were answered
}

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	g := &crowd{t: t, wire: newWire(t)}
	g.r, g.plain = g.wire.registry(t), newRegistry(t)
	g.plain.keys, g.plain.table = g.r.keys, g.r.table
	g.r.batches.patience = time.Hour // a machine may be slow
	g.wire.saw(func(req *etcdserverpb.TxnRequest, _ *etcdserverpb.TxnResponse) {
		g.mu.Lock()
		defer g.mu.Unlock()
		if isWrite(req) {
			g.requests = append(g.requests, req)
		}
	})
	return g
}

// hold keeps the next request of the registry on the wire until release is
// called, and returns when it is there.
func (g *crowd) hold() (release func()) {
	g.t.Helper()
	there, released, answered := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	letGo := sync.OnceFunc(func() { close(released) })
	g.t.Cleanup(letGo) // also if the test fails before
	g.wire.nextWrites(func(send func() error) error { close(there); <-released; return send() })
	go func() {
		_, err := g.r.Start(g.t.Context(), Spec{Kind: "held", Disposition: Rerunnable})
		answered <- err
	}()
	<-there
	return func() {
		g.t.Helper()
		letGo()
		noErr(g.t, <-answered)
	}
}

// wait returns when so many transitions wait for a request.
func (g *crowd) wait(n int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d wait", n), func() bool {
		g.r.batches.mu.Lock()
		defer g.r.batches.mu.Unlock()
		return len(g.r.batches.waiting) == n
	})
}

// meet makes the calls while a request is held, each once the one before it
// waits, and returns their errors. meanwhile happens when all wait. The acts
// are for the requests after the one that is held.
func (g *crowd) meet(meanwhile func(), acts []act, calls ...func() error) []error {
	g.t.Helper()
	release := g.hold()
	g.wire.nextWrites(acts...)
	errs := make([]error, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() { errs[i] = call() })
		g.wait(i + 1)
	}
	if meanwhile != nil {
		meanwhile()
	}
	release()
	all.Wait()
	if n := g.wire.left(); n != 0 {
		g.t.Fatalf("%d faults were not played", n)
	}
	return errs
}

// shapes are how many transitions the requests held that were answered, but
// for the one that was held up: 0 for one that travelled alone.
func (g *crowd) shapes() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	var n []int
	for _, req := range g.requests {
		if !bytes.Contains(req.Success[0].GetRequestPut().GetValue(), []byte(`"kind":"held"`)) {
			n = append(n, len(nested(req)))
		}
	}
	return n
}

func (g *crowd) wantShapes(want ...int) {
	g.t.Helper()
	if got := g.shapes(); !slices.Equal(got, want) {
		g.t.Fatalf("the requests held %v transitions, want %v", got, want)
	}
}

// wantAlone wants one batch, unless it was not answered, and then each of n
// alone, with all its conditions.
func (g *crowd) wantAlone(n int) {
	g.t.Helper()
	got := g.shapes()
	if len(got) > 0 && got[0] > 0 {
		got = got[1:]
	}
	if !slices.Equal(got, make([]int, n)) {
		g.t.Fatalf("the requests held %v transitions, want %d that held one", got, n)
	}
}

func (g *crowd) starts(ids ...string) (calls []func() error) {
	for _, id := range ids {
		calls = append(calls, func() error {
			got, err := g.r.Start(g.t.Context(), Spec{ID: id, Kind: "k", Disposition: Rerunnable})
			if got.Existing {
				return fmt.Errorf("%s is said to have been there before", id)
			}
			return err
		})
	}
	return calls
}

func (g *crowd) claims(s *Session, entries ...Entry) (calls []func() error) {
	for _, e := range entries {
		calls = append(calls, func() error {
			c, err := g.r.Claim(g.t.Context(), s, e)
			if err != nil {
				return err
			}
			p, err := g.plain.Get(g.t.Context(), e.ID)
			if err == nil && (c.ID != e.ID || p.Claim == nil || c.Fence != p.Claim.Fence) {
				return fmt.Errorf("claimed %+v, it is %+v", c, p)
			}
			return err
		})
	}
	return calls
}

// entries starts processes and lists them.
func (g *crowd) entries(ids ...string) (found []Entry) {
	g.t.Helper()
	for _, id := range ids {
		start(g.t, g.plain, id)
		found = append(found, entryOf(g.t, g.plain, id))
	}
	return found
}

func (g *crowd) wantAll(status Status, attempt int, ids ...string) {
	g.t.Helper()
	for _, id := range ids {
		wants(g.t, g.plain, id, status, attempt, 0, 0, 0)
	}
}

func wantNone(t *testing.T, errs []error) {
	t.Helper()
	noErr(t, errors.Join(errs...))
}

func TestALoneTransitionIsAPlainTransaction(t *testing.T) {
	g := newCrowd(t)
	noErr(t, g.starts("p")[0]())
	g.wantShapes(0)
	if got := g.requests[0]; len(got.Compare) != 2 || len(got.Success) != 2 || len(got.Failure) != 2 {
		t.Errorf("sent %v", got)
	}
}

func TestWhatArrivesMeanwhileTravelsTogether(t *testing.T) {
	g := newCrowd(t)
	wantNone(t, g.meet(nil, nil, g.starts("a", "b", "c", "d")...))
	g.wantShapes(4)
	g.wantAll(StatusPending, 0, "a", "b", "c", "d")
}

// Both would be judged on the state before the other, and succeed.
func TestABatchHoldsOneTransitionOfEachProcess(t *testing.T) {
	g := newCrowd(t)
	s, e := join(t, g.plain, "n"), g.entries("p", "q")
	ended := true
	cancel := func() (err error) {
		ended, err = g.r.Cancel(t.Context(), "p", Request{})
		return err
	}
	errs := g.meet(nil, nil, g.claims(s, e[0])[0], cancel, g.claims(s, e[1])[0])
	wantNone(t, errs)
	// The cancel finds the process claimed, and asks for its end then.
	g.wantShapes(2, 0, 0)
	if ended {
		t.Error("what was claimed is said to have ended")
	}
	g.wantAll(StatusRunning, 1, "p", "q")
}

func TestWhatIsAboutNoProcessTravelsAlone(t *testing.T) {
	g := newCrowd(t)
	s := join(t, g.plain, "n")
	e := g.entries("p")
	nodes, err := g.plain.Nodes(t.Context())
	noErr(t, err)
	errs := g.meet(nil, nil, g.starts("a")[0],
		func() error { return g.r.EndSession(t.Context(), nodes[0], "dead") },
		g.claims(s, e[0])[0], g.starts("b")[0])
	wantNone(t, errs)
	g.wantShapes(3, 0)
	g.wantAll(StatusOrphaned, 1, "p")
}

// A condition that does not hold is the affair of its transition alone.
func TestARefusedTransitionLeavesItsNeighboursAlone(t *testing.T) {
	g := newCrowd(t)
	s, e := join(t, g.plain, "n"), g.entries("p", "q", "r")
	calls := append(g.claims(s, e...), g.starts("s")...)
	errs := g.meet(func() {
		_, err := g.plain.Cancel(t.Context(), "q", Request{})
		noErr(t, err)
	}, nil, calls...)
	g.wantShapes(4)
	wantErr(t, errs[1], ErrNotClaimable)
	wantNone(t, []error{errs[0], errs[2], errs[3]})
	g.wantAll(StatusRunning, 1, "p", "r")
	g.wantAll(StatusCancelled, 0, "q")
	g.wantAll(StatusPending, 0, "s")
}

func TestSharedConditionsStandOnce(t *testing.T) {
	g := newCrowd(t)
	s, e := join(t, g.plain, "n"), g.entries("p", "q", "r")
	wantNone(t, g.meet(nil, nil, append(g.claims(s, e...), g.starts("s")...)...))
	g.wantShapes(4)
	batch := g.requests[1]
	var outer []string
	for _, c := range batch.Compare {
		outer = append(outer, string(c.Key))
	}
	if want := []string{g.r.keys.queue("default"), s.Key(), s.Key()}; !slices.Equal(outer, want) {
		t.Errorf("asked for all: %q, want %q", outer, want)
	}
	for i, m := range nested(batch) {
		if len(m.Compare) == 0 {
			t.Errorf("%d asks for nothing of its own", i)
		}
		for _, c := range m.Compare {
			id := []string{"p", "q", "r", "s"}[i]
			if id == "s" && string(c.Key) == g.r.keys.full() {
				continue // that there is room is not asked for all: it would hold up those that need none
			}
			if last(string(c.Key)) != id {
				t.Errorf("%s asks for %s", id, c.Key)
			}
		}
	}
}

// When what they share does not hold, each is sent alone with all of its
// conditions: it may be one that does not share it.
func TestASharedConditionThatFailsIsAskedOfEachAlone(t *testing.T) {
	g := newCrowd(t)
	s, e := join(t, g.plain, "n"), g.entries("p", "q")
	errs := g.meet(func() { leave(t, s) }, nil, append(g.claims(s, e...), g.starts("r")...)...)
	g.wantShapes(3, 0, 0, 0)
	wantErr(t, errs[0], ErrNotClaimable)
	wantErr(t, errs[1], ErrNotClaimable)
	noErr(t, errs[2])
	g.wantAll(StatusPending, 0, "p", "q", "r")
}

// A batch that landed, though its answer is lost, is recognised by each of its
// members, also if what they shared does not hold any more.
func TestAnUnansweredBatchIsRecognisedByEachMember(t *testing.T) {
	g := newCrowd(t)
	s := join(t, g.plain, "n")
	e := g.entries("p", "q", "r")
	complete := claim(t, g.plain, s, "r")
	lost := func(send func() error) error {
		if err := send(); err != nil {
			return err
		}
		leave(t, s)
		return errCut
	}
	errs := g.meet(nil, []act{lost}, append(append(g.claims(s, e[0])[:1:1], g.starts("t")...),
		func() error { return g.r.Complete(t.Context(), complete, nil) },
		func() error {
			_, err := g.r.Claim(t.Context(), s, e[1])
			return err
		})...)
	wantNone(t, errs)
	g.wantAlone(4)
	g.wantAll(StatusOrphaned, 1, "p", "q")
	g.wantAll(StatusCompleted, 1, "r")
	g.wantAll(StatusPending, 0, "t")
}

func TestABatchThatWasLostIsSentAgain(t *testing.T) {
	g := newCrowd(t)
	wantNone(t, g.meet(nil, []act{swallow}, g.starts("a", "b", "c")...))
	g.wantAlone(3)
	g.wantAll(StatusPending, 0, "a", "b", "c")
}

// etcd refuses a request for what one member holds. The others must not pay.
func TestABatchThatEtcdRefusesIsSentOneByOne(t *testing.T) {
	g := newCrowd(t)
	bad := g.r.keys.process("bad")
	errs := g.meet(nil, nil, append(g.starts("a", "b"), func() error {
		_, err := g.r.commit(t.Context(), transition{
			id: "bad", when: []clientv3.Cmp{absent(bad)}, then: []clientv3.Op{put(bad, "1"), put(bad, "2")},
			applied: func(view) bool { return false },
		})
		return err
	})...)
	wantErr(t, errs[2], rpctypes.ErrDuplicateKey)
	if errors.Is(errs[2], ErrUnresolved) {
		t.Errorf("%v, and nothing was done", errs[2])
	}
	wantNone(t, errs[:2])
	g.wantAlone(2)
	g.wantAll(StatusPending, 0, "a", "b")
}

func TestARefusalOfAMemberAfterAnUnansweredBatchProvesNothing(t *testing.T) {
	g := newCrowd(t)
	deny := func(func() error) error { return rpctypes.ErrGRPCPermissionDenied }
	errs := g.meet(nil, []act{lose(errCut), deny}, g.starts("a", "b")...)
	if errs[0] == nil {
		errs[0], errs[1] = errs[1], errs[0] // whichever is sent again first
	}
	wantErr(t, errs[0], ErrUnresolved)
	wantErr(t, errs[0], ErrDenied)
	noErr(t, errs[1])
	g.wantAll(StatusPending, 0, "a", "b") // both had landed
}

func TestAMemberThatGivesUpLeavesTheOthersAlone(t *testing.T) {
	g := newCrowd(t)
	ctx, giveUp := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	given, released := make(chan error, 1), make(chan struct{})
	inFlight := func(send func() error) error {
		giveUp(enough)
		<-released
		return send()
	}
	go func() {
		err := <-given // while the request is still on the wire
		close(released)
		given <- err
	}()
	errs := g.meet(nil, []act{inFlight}, append(g.starts("a", "b"), func() error {
		_, err := g.r.Start(ctx, Spec{ID: "c", Kind: "k", Disposition: Rerunnable})
		given <- err
		return err
	})...)
	wantErr(t, errs[2], ErrUnresolved)
	wantErr(t, errs[2], enough)
	wantNone(t, errs[:2])
	g.wantShapes(3)
	g.wantAll(StatusPending, 0, "a", "b", "c") // it landed all the same
}

func TestWhoGivesUpBeforeItIsSentIsNotSent(t *testing.T) {
	g := newCrowd(t)
	ctx, giveUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	errs := g.meet(func() { giveUp(); <-left }, nil, append(g.starts("a", "b"), func() error {
		defer close(left)
		_, err := g.r.Start(ctx, Spec{ID: "c", Kind: "k", Disposition: Rerunnable})
		return err
	})...)
	wantErr(t, errs[2], ErrUnresolved)
	wantNone(t, errs[:2])
	g.wantShapes(2)
	_, err := g.plain.Get(t.Context(), "c")
	wantErr(t, err, ErrNotFound)
}

func TestCloseEndsWhatIsInFlightAndWhatWaits(t *testing.T) {
	g := newCrowd(t)
	errs, sent, cut := make(chan error, 3), make(chan struct{}), make(chan struct{})
	g.wire.nextWrites(func(func() error) error { close(sent); <-cut; return errCut })
	for i, call := range g.starts("a", "b", "c") {
		go func() { errs <- call() }()
		if i == 0 {
			<-sent
		}
	}
	g.wait(2)
	closed := make(chan error, 1)
	go func() { closed <- g.r.Close() }()
	g.wait(0)
	close(cut)
	noErr(t, <-closed)
	for range 3 {
		err := <-errs
		wantErr(t, err, ErrClosed)
		wantErr(t, err, ErrUnresolved)
	}
	_, err := g.r.Start(t.Context(), Spec{Kind: "k", Disposition: Rerunnable})
	wantErr(t, err, ErrClosed)
}

// A request that is never answered ends at the timeout, and holds nobody up
// for as long.
func TestARequestThatHangsHoldsNobodyUp(t *testing.T) {
	g := newCrowd(t)
	g.r.batches.patience = defaultPatience
	release := g.hold()
	wantNone(t, []error{g.starts("a")[0](), g.starts("b")[0]()})
	release()
}

func TestThirtyTwoThatWaitAreSentBesideARequestInFlight(t *testing.T) {
	g := newCrowd(t)
	release := g.hold()
	var errs [32]error
	var all sync.WaitGroup
	for i := range errs[:31] {
		all.Go(func() { errs[i] = g.starts(fmt.Sprint("p", i))[0]() })
	}
	g.wait(31)
	errs[31] = g.starts("p31")[0]()
	all.Wait()
	wantNone(t, errs[:])
	release()
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(nested(g.requests[0])); n != 32 || len(g.requests) != 2 {
		t.Errorf("%d requests, the first holds %d", len(g.requests), n)
	}
}

func TestEightRequestsAreInFlightAtTheMost(t *testing.T) {
	g := newCrowd(t)
	g.r.batches.patience = time.Millisecond
	there, released := make(chan struct{}, 9), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(released) })
	t.Cleanup(letGo) // also if the test fails before
	hold := func(send func() error) error { there <- struct{}{}; <-released; return send() }
	g.wire.nextWrites(hold, hold, hold, hold, hold, hold, hold, hold, hold)
	errs := make(chan error, 9)
	for i := range 9 {
		go func() { errs <- g.starts(fmt.Sprint("p", i))[0]() }()
		if i < 8 {
			<-there
		}
	}
	g.wait(1)
	for range 50 { // the ninth is impatient, and waits all the same
		g.r.batches.hurry()
	}
	g.wait(1)
	letGo()
	for range 9 {
		noErr(t, <-errs)
	}
}

func TestABatchStaysWithinEtcdsLimits(t *testing.T) {
	k := newKeys("x")
	value := strings.Repeat("x", 2<<20)
	of := func(i, conditions, operations, bytes int) *member {
		tr := transition{id: fmt.Sprint(i)}
		for range conditions {
			tr.when = append(tr.when, absent(k.process(tr.id)))
		}
		for range operations {
			tr.then = append(tr.then, put("k", value[:bytes/operations]))
		}
		return newMember(tr, false)
	}
	for _, test := range []struct {
		name                          string
		conditions, operations, bytes int
		want                          int
	}{
		{"many small ones", 1, 1, 10, 119},
		{"seven operations each", 4, 7, 10, 113},
		{"nine conditions each", 9, 7, 10, 111},
		{"400 KiB each", 4, 7, 400 << 10, 3},
		{"10 KiB each", 4, 7, 10 << 10, 113},
		{"20 KiB each", 4, 7, 20 << 10, 71},
		{"too large alone", 4, 7, 2 << 20, 1},
		{"too many operations alone", 4, 200, 200, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &batch{}
			for i := range min(200, 8<<20/test.bytes) {
				b.add(of(i, test.conditions, test.operations, test.bytes))
			}
			if len(b.members) != test.want {
				t.Errorf("%d travel together, want %d", len(b.members), test.want)
			}
		})
	}
	t.Run("the widest counts", func(t *testing.T) {
		b := &batch{}
		for i := range 100 {
			if !b.add(of(i, 1, 1, 1)) {
				t.Fatal(i)
			}
		}
		if b.add(of(100, 1, 20, 20)) || !b.add(of(100, 1, 19, 19)) || b.add(of(101, 1, 1, 1)) {
			t.Error("100 small ones have room for one of 19 operations, and for nothing else")
		}
	})
}

// What a batch is counted for is etcd's rule, which is nowhere written down.
func TestEtcdCountsMembersAndTheWidestOfThem(t *testing.T) {
	client, root := etcdtest.Client(t), etcdtest.Namespace(t)
	batch := func(members, operations int) error {
		var then []clientv3.Op
		for i := range members {
			var inner []clientv3.Op
			for j := range operations {
				inner = append(inner, put(fmt.Sprintf("/%s/%d/%d", root, i, j), ""))
			}
			then = append(then, clientv3.OpTxn(nil, inner, nil))
		}
		_, err := client.Txn(t.Context()).Then(then...).Commit()
		return err
	}
	noErr(t, batch(100, 28))
	wantErr(t, batch(100, 29), rpctypes.ErrTooManyOps)
	noErr(t, batch(127, 1))
	wantErr(t, batch(128, 1), rpctypes.ErrTooManyOps)
}

// More conditions can be shared than there are members to share them.
func TestSharedConditionsAreNoMoreThanMembers(t *testing.T) {
	b := &batch{}
	for i := range 2 {
		tr := transition{id: fmt.Sprint(i)}
		for j := range 5 {
			tr.when = append(tr.when, absent(fmt.Sprint("shared ", j)))
		}
		b.add(newMember(tr, false))
	}
	when, then, _ := b.request()
	for i, op := range then {
		if own, _, _ := op.Txn(); len(own) != 3 {
			t.Errorf("%d has %d conditions of its own, want 3", i, len(own))
		}
	}
	if len(when) != 2 {
		t.Errorf("%d are asked for all, want 2", len(when))
	}
}

// Large inputs fill a request by their bytes, and many small ones by their
// number. etcd takes all of it at the first attempt.
func TestManyTransitionsFillRequestsThatEtcdTakes(t *testing.T) {
	for name, test := range map[string]struct{ n, bytes int }{"small": {300, 10}, "of 60 KiB": {60, 60 << 10}} {
		t.Run(name, func(t *testing.T) {
			g := newCrowd(t)
			release := g.hold()
			errs := make([]error, test.n)
			var all sync.WaitGroup
			for i := range errs {
				all.Go(func() {
					spec := Spec{ID: fmt.Sprint(i), Kind: "k", Disposition: Rerunnable}
					_, errs[i] = g.r.Start(t.Context(), spec.With(input(`"`+strings.Repeat("x", test.bytes)+`"`)))
				})
			}
			release()
			all.Wait()
			wantNone(t, errs)
			started, largest := 0, 0
			for _, req := range g.requests {
				started += max(len(nested(req)), 1)
				largest = max(largest, len(nested(req)))
				if n := proto.Size(req); n > 1536<<10 || len(req.Success) > 120 {
					t.Errorf("a request of %d bytes with %d transitions", n, len(req.Success))
				}
			}
			if started != test.n+1 || largest < 10 { // more means that some were sent twice
				t.Errorf("%d were sent, at most %d together", started, largest)
			}
		})
	}
}

// TestARequestThatIsNotAnsweredHoldsUpNoneOfTheOthers: of a crowd that is sent
// together each learns of its answer when it is there.
func TestARequestThatIsNotAnsweredHoldsUpNoneOfTheOthers(t *testing.T) {
	g := newCrowd(t)
	g.r.batches.patience = time.Millisecond
	s := join(t, g.plain, "n")
	var all []*transition
	for _, e := range g.entries("a", "b", "c") {
		tr, err := g.r.table.claim(s.holder(), e, claimValue{Nonce: e.ID})
		noErr(t, err)
		tr.alone = true
		all = append(all, &tr)
	}
	released := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(released) })
	t.Cleanup(letGo) // also if the test fails before
	g.wire.nextWrites(func(send func() error) error { <-released; return send() })
	answered, ended := make(chan int, len(all)), make(chan struct{})
	go func() {
		defer close(ended)
		g.r.commitAll(t.Context(), all, func(i int, a answer, err error) {
			if err != nil || !a.applied {
				t.Errorf("the claim of %d: applied %v, %v", i, a.applied, err)
			}
			answered <- i
		})
	}()
	eventually(t, "those that etcd has answered know of it", func() bool { return len(answered) == 2 })
	letGo()
	<-ended
	got := []int{<-answered, <-answered, <-answered}
	if got[2] != 0 || got[0]+got[1] != 3 {
		t.Errorf("they were answered in the order %v, want 0 last, which was held", got)
	}
}

func TestAClaimThatIsPutBackHoldsUpNoneOfTheOthers(t *testing.T) {
	g := newCrowd(t)
	s := join(t, g.plain, "n")
	entries := g.entries("a", "b", "c")
	_, err := g.wire.client.Put(t.Context(), g.r.keys.process("b"), "not a row")
	noErr(t, err)
	release := g.hold()
	released := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(released) })
	t.Cleanup(letGo) // also if the test fails before
	g.wire.nextWrites(
		func(send func() error) error { return send() },             // the claims, in one
		func(send func() error) error { <-released; return send() }, // what puts back
	)
	told, ended := make(chan int, len(entries)), make(chan struct{})
	go func() {
		defer close(ended)
		g.r.ClaimAll(t.Context(), s, entries, func(i int, c *Claim, err error) {
			if _, corrupt := errors.AsType[*CorruptError](err); corrupt != (i == 1) || (c == nil) != corrupt {
				t.Errorf("the claim of %d: %v, %v", i, c, err)
			}
			told <- i
		})
	}()
	g.wait(len(entries))
	release()
	eventually(t, "the others know of their claims", func() bool { return len(told) == 2 })
	letGo()
	<-ended
	if got := []int{<-told, <-told, <-told}; got[2] != 1 {
		t.Errorf("they were told in the order %v, want 1 last, which was put back", got)
	}
	if found := pending(t, g.plain); len(found) != 1 || found[0].ID != "b" {
		t.Errorf("after a corrupt row was put back, these wait: %v", found)
	}
}
