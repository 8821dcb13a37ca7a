package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// lookout is a watch whose events the test makes.
type lookout struct {
	watch  *Watch
	poker  Poker
	slots  *Slots
	events chan registry.Events // of each new watch
	lose   chan error
	read   func() (map[string]registry.Request, error)

	mu    sync.Mutex
	heard []string
}

func (l *lookout) hear(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, what)
}

func newLookout(t *testing.T, system *actor.ActorSystem) *lookout {
	l := &lookout{poker: NewPoker(), events: make(chan registry.Events, 1), lose: make(chan error)}
	l.read = func() (map[string]registry.Request, error) { return nil, nil }
	l.slots = NewSlots(SlotsOptions{Max: 1, Freed: func() {}, Run: func(ctx context.Context, _ *registry.Claim) runner.Report {
		<-ctx.Done()
		l.hear(context.Cause(ctx).Error())
		return runner.Report{}
	}})
	spawn(t, system, "attempts", l.slots.Props())
	l.watch = NewWatch(WatchOptions{
		Follow: func(ctx context.Context, e registry.Events) error {
			l.events <- e
			select {
			case <-ctx.Done():
				return nil
			case err := <-l.lose:
				return err
			}
		},
		Requests: func(context.Context) (map[string]registry.Request, error) { return l.read() },
		Serves:   func(e registry.Entry) bool { return e.Kind == "known" },
		Notice:   func(e registry.Entry) bool { l.hear("notice " + e.ID); return e.ID != "another's" },
		Gone:     func(e registry.Entry) { l.hear("gone " + e.ID) },
		Joined:   func(p registry.Peer) bool { l.hear("joined " + p.Session); return p.Draining },
		Ended:    func(sid string) { l.hear("ended " + sid) },
		Reset:    func() { l.hear("reset") },
		Orphans:  func() { l.hear("orphans") },
		Due:      func(id string, _ time.Time) { l.hear("due " + id) },
		Poker:    l.poker, Slots: l.slots,
	})
	spawn(t, system, "watcher", l.watch.Props())
	t.Cleanup(func() {
		if err := l.watch.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		l.slots.Cancel(runner.ErrShutdown)
	})
	return l
}

// want says what was heard since the last time, and whether it came to a poke.
func (l *lookout) want(t *testing.T, poked bool, heard ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.heard, heard) {
		t.Errorf("heard %q, want %q", l.heard, heard)
	}
	l.heard = nil
	if got := l.poker.bell.owed.Swap(false); got != poked {
		t.Errorf("poked: %t, want %t", got, poked)
	}
}

func TestWatchPassesEventsOn(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		l := newLookout(t, system)
		l.read = func() (map[string]registry.Request, error) {
			return map[string]registry.Request{"asked": *asked}, nil
		}
		e := <-l.events
		e.Ready()
		l.want(t, true, "reset", "orphans")
		e.Pending(registry.Entry{ID: "a", Kind: "known"})
		l.want(t, true, "notice a")
		e.Pending(registry.Entry{ID: "another's", Kind: "known"})
		l.want(t, false, "notice another's")
		e.Gone(registry.Entry{ID: "a", Kind: "known"})
		l.want(t, false, "gone a")
		e.Pending(registry.Entry{ID: "b", Kind: "unknown"})
		l.want(t, false)
		e.Gone(registry.Entry{ID: "b", Kind: "unknown"})
		l.want(t, false)
		e.Joined(registry.Peer{Session: "s"})
		l.want(t, false, "joined s")
		e.Joined(registry.Peer{Session: "s", Draining: true})
		l.want(t, true, "joined s")
		e.SessionEnded("s")
		l.want(t, true, "ended s", "orphans")
		e.Timer("p", time.Now())
		l.want(t, false, "due p")
		e.Poked()
		l.want(t, true)
		l.slots.Hand(&registry.Claim{ID: "asked"})
		l.want(t, false, "cancel requested")
		l.slots.Hand(&registry.Claim{ID: "p"})
		e.Requested("p", asked)
		l.want(t, false, "cancel requested")
	})
}

// What is heard while the requests are read is newer than what is read.
func TestRequestsHeardWhileTheyAreReadAreKept(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		l := newLookout(t, system)
		read := make(chan struct{})
		l.read = func() (map[string]registry.Request, error) { <-read; return nil, nil }
		e := <-l.events
		e.Ready()
		e.Requested("p", asked)
		close(read)
		l.want(t, true, "reset", "orphans")
		l.slots.Hand(&registry.Claim{ID: "p"})
		l.want(t, false, "cancel requested")
	})
}

func TestLostWatchIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		l := newLookout(t, system)
		for range 20 {
			e := <-l.events
			e.Ready()
			l.want(t, true, "reset", "orphans")
			l.lose <- errors.New("lost")
		}
		<-l.events
	})
}

func TestWatchThatPanicsIsReplaced(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		l := newLookout(t, system)
		l.read = func() (map[string]registry.Request, error) { panic("a fault") }
		(<-l.events).Ready()
		l.want(t, true, "reset", "orphans")
		e := <-l.events
		l.read = func() (map[string]registry.Request, error) { return nil, nil }
		e.Ready()
		l.want(t, true, "reset", "orphans")
	})
}

func TestWatchIsReplacedWhenRequestsCannotBeRead(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		l := newLookout(t, system)
		l.read = func() (map[string]registry.Request, error) { return nil, errors.New("etcd is away") }
		(<-l.events).Ready()
		<-l.events // another watch, which reads them again
	})
}
