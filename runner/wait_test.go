package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-run/drover/registry"
)

// stand is a slot that notes what is done with it, and a Starter whose waits
// end when the test says so.
type stand struct {
	mu    sync.Mutex
	did   []string
	busy  chan struct{} // until it is closed, nobody gets a slot; nil: at once
	ended map[string]chan struct{}
}

func newStand(ids ...string) *stand {
	s := &stand{ended: map[string]chan struct{}{}}
	for _, id := range ids {
		s.ended[id] = make(chan struct{})
	}
	return s
}

func (s *stand) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, what)
}

func (s *stand) Yield() { s.note("yield") }

func (s *stand) Resume(ctx context.Context) error {
	s.note("resume")
	if s.busy == nil {
		return nil
	}
	select {
	case <-s.busy:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stand) Start(context.Context, registry.Spec) (registry.Started, error) {
	return registry.Started{}, errors.New("not here")
}

func (s *stand) Wait(ctx context.Context, id string) (registry.Process, error) {
	select {
	case <-s.ended[id]:
		s.note(id)
		return registry.Process{ID: id, Status: registry.StatusCompleted}, nil
	case <-ctx.Done():
		return registry.Process{}, context.Cause(ctx)
	}
}

func (s *stand) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.did, want) {
		t.Errorf("it came to %q, want %q", s.did, want)
	}
}

// waiting starts an Await.
func (s *stand) waiting(ctx context.Context, id string) <-chan error {
	returned := make(chan error, 1)
	go func() {
		_, err := Await(ctx, s, id)
		returned <- err
	}()
	synctest.Wait()
	return returned
}

func wantReturned(t *testing.T, returned <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-returned:
		if !errors.Is(err, want) {
			t.Errorf("Await: %v, want %v", err, want)
		}
	default:
		t.Error("Await has not returned")
	}
}

func TestAwaitWithoutSlotIsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("child")
		returned := s.waiting(t.Context(), "child")
		close(s.ended["child"])
		wantReturned(t, returned, nil)
		s.want(t, "child")
	})
}

func TestAwaitGivesSlotBackMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("child")
		s.busy = make(chan struct{})
		returned := s.waiting(WithSlot(t.Context(), s), "child")
		s.want(t, "yield")
		close(s.ended["child"])
		s.want(t, "yield", "child", "resume")
		if len(returned) > 0 {
			t.Error("Await returned without a slot")
		}
		close(s.busy)
		wantReturned(t, returned, nil)
	})
}

func TestRefWaitsOfOneAttemptShareItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("a", "b")
		ctx := WithSlot(t.Context(), s)
		first := s.waiting(ctx, "a")
		second := make(chan error, 1)
		go func() {
			_, err := Ref[any]{id: "b", on: nested{s}}.Wait(ctx)
			second <- err
		}()
		s.want(t, "yield")
		close(s.ended["a"])
		wantReturned(t, first, nil)
		s.want(t, "yield", "a")
		close(s.ended["b"])
		wantReturned(t, second, nil)
		s.want(t, "yield", "a", "b", "resume")
		third := s.waiting(ctx, "a") // and again
		wantReturned(t, third, nil)
		s.want(t, "yield", "a", "b", "resume", "yield", "a", "resume")
	})
}

// nested is a Starter that awaits, as a node's Driver does.
type nested struct{ *stand }

func (n nested) Wait(ctx context.Context, id string) (registry.Process, error) {
	return Await(ctx, n.stand, id)
}

// Who gets a slot back while the attempt waits again would keep it from the
// one that is waited for.
func TestAwaitCallsOffOneThatWantsTheSlotBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("a", "b")
		s.busy = make(chan struct{})
		ctx := WithSlot(t.Context(), s)
		first := s.waiting(ctx, "a")
		close(s.ended["a"])
		s.want(t, "yield", "a", "resume")
		second := s.waiting(ctx, "b")
		wantReturned(t, first, nil)
		close(s.ended["b"])
		s.want(t, "yield", "a", "resume", "b", "resume")
		close(s.busy)
		wantReturned(t, second, nil)
	})
}

func TestAwaitThatTimesOutTakesTheSlotAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("child")
		s.busy = make(chan struct{})
		ctx, cancel := context.WithTimeout(WithSlot(t.Context(), s), time.Second)
		defer cancel()
		returned := s.waiting(ctx, "child")
		time.Sleep(2 * time.Second)
		s.want(t, "yield", "resume")
		if len(returned) > 0 {
			t.Error("Await returned without a slot")
		}
		close(s.busy)
		wantReturned(t, returned, context.DeadlineExceeded)
	})
}

func TestCancelledAttemptIsNotKeptForWantOfASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("child")
		s.busy = make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		returned := s.waiting(WithSlot(ctx, s), "child")
		close(s.ended["child"])
		s.want(t, "yield", "child", "resume")
		cancel(ErrCancelRequested)
		wantReturned(t, returned, ErrCancelRequested)
	})
}

// The context that a handler gets may end before the one of its slot.
func TestAttemptTimeoutEndsTheWaitForASlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand("child")
		s.busy = make(chan struct{})
		ctx, cancel := context.WithTimeoutCause(WithSlot(t.Context(), s), time.Second, ErrAttemptTimeout)
		defer cancel()
		returned := s.waiting(ownSlot(ctx), "child")
		close(s.ended["child"])
		time.Sleep(2 * time.Second)
		wantReturned(t, returned, ErrAttemptTimeout)
	})
}
