package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// field is a table of slots whose attempts run until their contexts end, or
// until they are told to return.
type field struct {
	slots *Slots
	pid   *actor.PID
	freed int

	mu     sync.Mutex
	ran    map[string]int
	causes map[string]error
	finish map[string]chan struct{}
}

func newField(t *testing.T, system *actor.ActorSystem, slots int, opts ...actor.PropsOption) *field {
	f := &field{ran: map[string]int{}, causes: map[string]error{}, finish: map[string]chan struct{}{}}
	f.slots = NewSlots(SlotsOptions{Max: slots, Run: f.run, Freed: func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.freed++
	}})
	f.pid = spawn(t, system, "attempts", f.slots.Props().Configure(opts...))
	synctest.Wait()
	t.Cleanup(func() { f.slots.Close(); f.slots.Cancel(runner.ErrShutdown); f.slots.Flush() })
	return f
}

func (f *field) run(ctx context.Context, c *registry.Claim) runner.Report {
	f.mu.Lock()
	f.ran[c.ID]++
	finish := f.finish[c.ID]
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-finish:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.causes[c.ID] = context.Cause(ctx)
	return runner.Report{ID: c.ID}
}

func (f *field) hand(ids ...string) {
	for _, id := range ids {
		f.mu.Lock()
		f.finish[id] = make(chan struct{})
		f.mu.Unlock()
		f.slots.Hand(&registry.Claim{ID: id})
	}
	synctest.Wait()
}

func (f *field) end(ids ...string) {
	for _, id := range ids {
		close(f.finish[id])
	}
	synctest.Wait()
}

func (f *field) wantFree(t *testing.T, want int) {
	t.Helper()
	synctest.Wait()
	if got := f.slots.Free(); got != want {
		t.Errorf("%d slots are free, want %d", got, want)
	}
}

func (f *field) wantCause(t *testing.T, id string, want error) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	got, ended := f.causes[id]
	if !ended || !errors.Is(got, want) {
		t.Errorf("%s: ended: %t, with %v; want it to have ended with %v", id, ended, got, want)
	}
}

func TestSlotsAreFreedAndReused(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var mu sync.Mutex
		spawned := 0
		f := newField(t, system, 3, actor.WithSpawnMiddleware(func(next actor.SpawnFunc) actor.SpawnFunc {
			return func(s *actor.ActorSystem, id string, p *actor.Props, c actor.SpawnerContext) (*actor.PID, error) {
				mu.Lock()
				spawned++
				mu.Unlock()
				return next(s, id, p, c)
			}
		}))
		f.wantFree(t, 3)
		for round := range 10 {
			a, b := fmt.Sprint("a", round), fmt.Sprint("b", round)
			f.hand(a, b)
			f.wantFree(t, 1)
			f.end(a, b)
			f.wantFree(t, 3)
		}
		if spawned != 2 || f.freed != 20 {
			t.Errorf("%d slots were made and %d times one became free, want 2 and 20", spawned, f.freed)
		}
	})
}

func TestAttemptOutlivesItsActors(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 2)
		f.hand("a")
		system.Root.Stop(f.pid)
		synctest.Wait()
		f.hand("b") // waits for the next incarnation
		f.wantFree(t, 0)
		if f.ran["b"] != 0 {
			t.Error("b runs without a slot")
		}
		spawn(t, system, "attempts", f.slots.Props())
		synctest.Wait()
		f.end("a", "b")
		f.wantFree(t, 2)
		if f.ran["a"] != 1 || f.ran["b"] != 1 {
			t.Errorf("ran %v, want each once", f.ran)
		}
	})
}

// asked is a request that is younger than the claims here.
var asked = &registry.Request{Revision: 1}

func TestRequestCancelsAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 4)
		f.hand("a", "b")
		f.slots.Requested("a", asked)
		f.wantCause(t, "a", runner.ErrCancelRequested)
		f.wantFree(t, 3)
		// The event came before the attempt.
		f.slots.Requested("c", asked)
		f.hand("c")
		f.wantCause(t, "c", runner.ErrCancelRequested)
		// And one that was answered does nothing any more.
		f.slots.Requested("d", asked)
		f.slots.Requested("d", nil)
		f.hand("d")
		f.wantFree(t, 2)
	})
}

func TestRequestsThatWereReadCancelAttempts(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 8)
		f.slots.Requested("gone", asked) // its end was missed
		f.hand("a", "b")
		f.slots.ReadRequests()
		f.slots.Requested("new", asked)
		f.slots.Requested("answered", nil)
		f.slots.SetRequests(map[string]registry.Request{"a": *asked, "answered": *asked, "later": *asked})
		f.wantCause(t, "a", runner.ErrCancelRequested)
		f.hand("gone", "answered", "new", "later")
		f.wantCause(t, "new", runner.ErrCancelRequested)
		f.wantCause(t, "later", runner.ErrCancelRequested)
		f.wantFree(t, 5) // b, gone and answered run
	})
}

func TestLostSessionCancelsItsAttemptsOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 4)
		first, second := &registry.Session{}, &registry.Session{}
		f.slots.Hand(&registry.Claim{ID: "a", Session: first})
		f.slots.Hand(&registry.Claim{ID: "b", Session: second})
		synctest.Wait()
		f.slots.SessionLost(first)
		f.wantCause(t, "a", runner.ErrLeaseLost)
		f.wantFree(t, 3)
	})
}

func TestClosedSlotsGiveBackWhatTheyAreHanded(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 4)
		f.hand("a")
		f.slots.Close()
		f.wantFree(t, 0)
		f.hand("b") // by a drive that was on
		f.wantCause(t, "b", runner.ErrShutdown)
		if got := f.slots.Wait(ended()); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%v run, want a", got)
		}
	})
}

// ended is a context that has.
func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestFlushEntersWhatWaitsForASlotActor(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 4)
		system.Root.Stop(f.pid)
		synctest.Wait()
		f.hand("a")
		f.slots.Close()
		f.slots.Cancel(runner.ErrShutdown)
		f.slots.Flush()
		f.wantCause(t, "a", runner.ErrShutdown)
		if got := f.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v still run", got)
		}
	})
}

func TestFailedSlotLosesNoAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		failed := false
		breaks := func(next actor.ReceiverFunc) actor.ReceiverFunc {
			return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
				if _, ok := e.Message.(enter); ok && !failed {
					failed = true
					panic("a slot's fault")
				}
				next(c, e)
			}
		}
		f := newField(t, system, 2, actor.WithSpawnMiddleware(func(next actor.SpawnFunc) actor.SpawnFunc {
			return func(s *actor.ActorSystem, id string, p *actor.Props, c actor.SpawnerContext) (*actor.PID, error) {
				return next(s, id, p.Configure(actor.WithReceiverMiddleware(breaks)), c)
			}
		}))
		f.hand("a")
		if !failed || f.ran["a"] != 1 {
			t.Errorf("failed: %t; a ran %d times, want once", failed, f.ran["a"])
		}
		f.end("a")
		f.wantFree(t, 2)
	})
}

func TestWaitReturnsWhenNothingRuns(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 2)
		f.hand("a")
		time.AfterFunc(time.Second, func() { close(f.finish["a"]) })
		begun := time.Now()
		if got := f.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v still run", got)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Wait took %s, want 1s", took)
		}
	})
}

// The closer and a slot actor may both get at it.
func TestAttemptIsEnteredOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		f := newField(t, system, 2)
		system.Root.Stop(f.pid)
		synctest.Wait()
		f.hand("a")
		a := f.slots.take()
		f.slots.enter(a, nil, nil)
		f.slots.enter(a, nil, nil)
		f.slots.putBack(a)
		f.slots.Flush()
		f.end("a")
		if f.ran["a"] != 1 {
			t.Errorf("a ran %d times, want once", f.ran["a"])
		}
		f.wantFree(t, 2)
	})
}
