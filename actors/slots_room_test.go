package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// yard is a table of slots whose attempts do what the test sends them, one
// thing after the other, and note when they begin, go on and end.
type yard struct {
	slots *Slots
	freed int // Slots calls it under no lock, and the test reads when all is quiet

	mu    sync.Mutex
	steps map[string]chan func(ctx context.Context)
	notes []string
}

func newYard(t *testing.T, system *actor.ActorSystem, o SlotsOptions) *yard {
	y := &yard{steps: map[string]chan func(context.Context){}}
	o.Run = func(ctx context.Context, c *registry.Claim) runner.Report {
		if ctx.Err() != nil {
			y.note(c.ID + " " + context.Cause(ctx).Error())
			return runner.Report{}
		}
		y.note(c.ID + " begins")
		for step := range y.step(c.ID) {
			step(ctx)
		}
		y.note(c.ID + " ends")
		return runner.Report{}
	}
	o.Freed = func() { y.mu.Lock(); defer y.mu.Unlock(); y.freed++ }
	y.slots = NewSlots(o)
	spawn(t, system, "attempts", y.slots.Props())
	synctest.Wait()
	t.Cleanup(func() {
		y.slots.Cancel(runner.ErrShutdown)
		y.mu.Lock()
		defer y.mu.Unlock()
		for _, steps := range y.steps {
			close(steps)
		}
	})
	return y
}

func (y *yard) step(id string) chan func(context.Context) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.steps[id] == nil {
		y.steps[id] = make(chan func(context.Context), 1)
	}
	return y.steps[id]
}

func (y *yard) note(what string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.notes = append(y.notes, what)
}

// hand hands claims of a queue.
func (y *yard) hand(queue string, ids ...string) {
	for _, id := range ids {
		y.slots.Hand(&registry.Claim{ID: id, Queue: queue, Fence: 1})
		synctest.Wait()
	}
}

// await has an attempt wait until what it waits for is closed.
func (y *yard) await(id string) (child chan struct{}) {
	child = make(chan struct{})
	y.step(id) <- func(ctx context.Context) {
		_, err := runner.Await(ctx, awaits(child), "child")
		if err != nil {
			y.note(id + " gets no slot: " + context.Cause(ctx).Error())
			return
		}
		y.note(id + " goes on")
	}
	synctest.Wait()
	return child
}

func (y *yard) finish(id string) {
	steps := y.step(id)
	y.mu.Lock()
	delete(y.steps, id)
	y.mu.Unlock()
	close(steps)
	synctest.Wait()
}

func (y *yard) want(t *testing.T, free int, notes ...string) {
	t.Helper()
	synctest.Wait()
	y.mu.Lock()
	defer y.mu.Unlock()
	if !slices.Equal(y.notes, notes) {
		t.Errorf("noted %q, want %q", y.notes, notes)
	}
	y.notes = nil
	if got := y.slots.Free(); got != free {
		t.Errorf("%d slots are free, want %d", got, free)
	}
}

// awaits is a Starter whose processes have ended once it is closed.
type awaits chan struct{}

func (awaits) Start(context.Context, registry.Spec) (registry.Started, error) {
	return registry.Started{}, errors.New("not here")
}

func (a awaits) Wait(ctx context.Context, _ string) (registry.Process, error) {
	select {
	case <-a:
		return registry.Process{}, nil
	case <-ctx.Done():
		return registry.Process{}, context.Cause(ctx)
	}
}

func TestAttemptThatWaitsTakesNoSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 1})
		y.hand("q", "parent")
		y.want(t, 0, "parent begins")
		child := y.await("parent")
		y.want(t, 1)
		if y.freed != 1 {
			t.Errorf("it was said %d times that a slot is free, want once", y.freed)
		}
		y.hand("q", "child")
		y.want(t, 0, "child begins")
		close(child)
		y.want(t, 0) // the child still has the slot
		y.finish("child")
		y.want(t, 0, "child ends", "parent goes on")
		y.finish("parent")
		y.want(t, 1, "parent ends")
	})
}

// A drive asks what is free and claims; what it claimed comes later.
func TestWhoWantsItsSlotBackComesBeforeWhatIsClaimed(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 1})
		y.hand("q", "parent")
		child := y.await("parent")
		y.want(t, 1, "parent begins") // so the drive claims one
		close(child)
		y.want(t, 0, "parent goes on")
		y.hand("q", "claimed")
		y.want(t, 0) // never two at a time
		again := y.await("parent")
		y.want(t, 0, "claimed begins")
		close(again)
		y.hand("q", "late")
		y.finish("claimed")
		y.want(t, 0, "claimed ends", "parent goes on")
		y.finish("parent")
		y.want(t, 0, "parent ends", "late begins")
	})
}

func TestSlotsReturnInOrder(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 2})
		y.hand("q", "a", "b")
		first, second := y.await("a"), y.await("b")
		y.hand("q", "c", "d")
		close(second)
		synctest.Wait()
		close(first)
		y.want(t, 0, "a begins", "b begins", "c begins", "d begins")
		y.finish("c")
		y.want(t, 0, "c ends", "b goes on")
		y.finish("d")
		y.want(t, 0, "d ends", "a goes on")
	})
}

func TestClaimWithoutRoomEndsAtOnceWhenItIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 1})
		y.hand("q", "parent")
		close(y.await("parent"))
		y.want(t, 0, "parent begins", "parent goes on")
		y.hand("q", "claimed", "other")
		y.want(t, 0)
		y.slots.Requested("claimed", asked)
		y.want(t, 0) // the request came before the claim
		y.slots.Requested("claimed", &registry.Request{Revision: 2})
		y.want(t, 0, "claimed cancel requested")
		y.finish("parent")
		y.want(t, 0, "parent ends", "other begins")
	})
}

func TestCancelReachesAttemptsThatWait(t *testing.T) {
	for name, cancel := range map[string]struct {
		how  func(s *Slots)
		want string
	}{
		"a request":    {func(s *Slots) { s.Requested("parent", &registry.Request{Revision: 2}) }, "cancel requested"},
		"the session":  {func(s *Slots) { s.SessionLost(nil) }, "lease lost"},
		"the shutdown": {func(s *Slots) { s.Close(); s.Cancel(runner.ErrShutdown) }, "node shuts down"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
				y := newYard(t, system, SlotsOptions{Max: 1})
				y.hand("q", "parent")
				y.await("parent")
				y.want(t, 1, "parent begins")
				cancel.how(y.slots)
				synctest.Wait()
				y.mu.Lock()
				got := y.notes
				y.mu.Unlock()
				if want := []string{"parent gets no slot: " + cancel.want}; !slices.Equal(got, want) {
					t.Errorf("noted %q, want %q", got, want)
				}
			})
		})
	}
}

func TestWaitWaitsForAttemptsThatGaveTheirSlotBack(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 1})
		y.hand("q", "parent")
		child := y.await("parent")
		y.slots.Close()
		if got := y.slots.Wait(ended()); !slices.Equal(got, []string{"parent"}) {
			t.Errorf("%v run, want the parent", got)
		}
		close(child)
		y.want(t, 0, "parent begins", "parent goes on") // there is a slot, though none for claims
		y.finish("parent")
		if got := y.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v run, want nothing", got)
		}
	})
}

func TestGoroutineThatOutlivesItsAttemptTakesNoSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 1})
		y.hand("q", "a")
		var left turn
		for a := range y.slots.attempts {
			left = turn{y.slots, a}
		}
		left.Yield()
		y.hand("q", "b")
		resumed := make(chan error, 1)
		go func() { resumed <- left.Resume(context.Background()) }()
		synctest.Wait() // it wants the slot that b has
		y.finish("a")
		if err := <-resumed; err != nil {
			t.Error(err)
		}
		y.finish("b")
		y.want(t, 1, "a begins", "b begins", "a ends", "b ends")
		if err := left.Resume(context.Background()); err != nil {
			t.Error(err)
		}
		left.Yield()
		y.want(t, 1)
	})
}

func TestQueueHasALimitOfItsOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		y := newYard(t, system, SlotsOptions{Max: 5, Limits: map[string]int{"slow": 2}})
		wantIn := func(slow, fast int) {
			t.Helper()
			synctest.Wait()
			if gotSlow, gotFast := y.slots.FreeIn("slow"), y.slots.FreeIn("fast"); gotSlow != slow || gotFast != fast {
				t.Errorf("free: %d of slow and %d of fast, want %d and %d", gotSlow, gotFast, slow, fast)
			}
		}
		wantIn(2, 5)
		y.hand("slow", "a", "b")
		wantIn(0, 3)
		child := y.await("a")
		wantIn(1, 4)
		y.hand("slow", "c")
		close(child)
		wantIn(0, 3)
		y.want(t, 3, "a begins", "b begins", "c begins") // a waits for its queue
		y.hand("fast", "d", "e", "f")
		y.want(t, 0, "d begins", "e begins", "f begins") // which keeps nobody else
		y.finish("c")
		y.want(t, 0, "c ends", "a goes on")
		wantIn(0, 0)
		y.finish("d")
		wantIn(0, 1)
		y.finish("b")
		wantIn(1, 2)
	})
}

func TestRequestIsForClaimsThatItFound(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 8)
		q := func(revision int64, what string) *registry.Request {
			return &registry.Request{Revision: revision, What: what}
		}
		f.slots.Requested("a", q(5, "")) // of the series before
		f.slots.Hand(&registry.Claim{ID: "a", Fence: 6})
		synctest.Wait()
		f.wantFree(t, 7)
		f.slots.ReadRequests()
		f.slots.SetRequests(map[string]registry.Request{"a": *q(5, "")})
		f.wantFree(t, 7)
		f.slots.Requested("a", q(7, ""))
		f.wantCause(t, "a", runner.ErrCancelRequested)
		for what, want := range map[string]error{
			registry.RequestAbandon: runner.ErrAbandonRequested, registry.RequestDeadline: runner.ErrDeadline,
		} {
			f.slots.Hand(&registry.Claim{ID: what, Fence: 6})
			f.slots.Requested(what, q(7, what))
			f.wantCause(t, what, want)
		}
	})
}

func TestFreeInCountsWhatWaitsForTheActors(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		s := NewSlots(SlotsOptions{Max: 5, Limits: map[string]int{"slow": 2}, Freed: func() {},
			Run: func(context.Context, *registry.Claim) runner.Report { return runner.Report{} }})
		s.Hand(&registry.Claim{ID: "a", Queue: "slow"})
		s.Hand(&registry.Claim{ID: "b", Queue: "fast"})
		if slow, fast := s.FreeIn("slow"), s.FreeIn("fast"); slow != 1 || fast != 3 {
			t.Errorf("free: %d of slow and %d of fast, want 1 and 3", slow, fast)
		}
		s.Close()
		if slow := s.FreeIn("slow"); slow != 0 {
			t.Errorf("free when it is closed: %d of slow, want 0", slow)
		}
		s.Cancel(runner.ErrShutdown)
		s.Flush()
		synctest.Wait()
	})
}

// The actors may be gone before what they were given has begun.
func TestAttemptThatIsPutBackAfterTheEndIsGivenBack(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 1)
		system.Root.Stop(f.pid)
		synctest.Wait()
		f.hand("a")
		a := f.slots.take()
		f.slots.Close()
		f.slots.Cancel(runner.ErrShutdown)
		f.slots.Flush()
		f.slots.putBack(a)
		f.wantCause(t, "a", runner.ErrShutdown)
		if got := f.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v still run", got)
		}
	})
}
