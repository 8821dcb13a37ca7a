package registry

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// mail holds copies back until a later request was answered, or the very end.
type mail struct {
	mu   sync.Mutex
	held []func() error
}

func (m *mail) late(send func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = append(m.held, send)
	return errCut
}

// arrive sends, and delivers what was late after it.
func (m *mail) arrive(send func() error) error {
	err := send()
	m.deliver()
	return err
}

func (m *mail) deliver() {
	m.mu.Lock()
	held := m.held
	m.held = nil
	m.mu.Unlock()
	for _, send := range held {
		_ = send() // nobody waits for the answer
	}
}

// TestFiftyTransitionsThatMeetSurviveEveryFault: whatever happens to the
// requests that they travel in, each of them happens once and says so.
func TestFiftyTransitionsThatMeetSurviveEveryFault(t *testing.T) {
	var m mail
	for name, acts := range map[string][]act{
		"nothing":                     nil,
		"answers are lost":            {lose(errCut), lose(errCut), lose(errTooLong), lose(errCut), lose(errCut)},
		"answers come back as errors": {lose(rpctypes.ErrGRPCNoLeader), lose(rpctypes.ErrGRPCNoSpace), lose(rpctypes.ErrGRPCTimeout), lose(rpctypes.ErrGRPCRequestTooManyRequests)},
		"they are sent twice":         {twice, twice, twice, twice, twice, twice},
		"they are lost":               {swallow, swallow, swallow, swallow},
		"they are late":               {m.late, m.late, m.arrive, m.late, m.late, m.late, m.arrive},
		"everything": {
			lose(errCut), m.late, twice, swallow, lose(rpctypes.ErrGRPCNoSpace), m.late, twice, lose(errTooLong),
			m.arrive, m.late, swallow, twice, lose(errCut), m.late, lose(rpctypes.ErrGRPCNoLeader), m.arrive, m.late,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newCrowd(t)
			calls, check := g.fifty()
			release := g.hold()
			g.wire.nextWrites(acts...)
			errs := make([]error, len(calls))
			var all sync.WaitGroup
			for i, call := range calls {
				all.Go(func() { errs[i] = call() })
				if i == 30 {
					g.wait(31) // the next one makes it a batch of 32
				}
			}
			release()
			all.Wait()
			for i, err := range errs {
				// Without space a claim is given up. This one got through, and would be found as a stray.
				if i%5 == 1 && errors.Is(err, ErrNoSpace) && errors.Is(err, ErrUnresolved) {
					errs[i] = nil
				}
			}
			wantNone(t, errs)
			// How many requests they make is a matter of luck.
			if n := g.wire.left(); n > 0 && n == len(acts) {
				t.Fatal("no fault was played")
			}
			if n := slices.Max(g.shapes()); name == "nothing" && n < 31 {
				t.Errorf("%d travelled together, want 31 or more", n)
			}
			check()
			m.deliver() // what lands when all is over changes nothing
			check()
		})
	}
}

// fifty are ten transitions of each of five kinds, and what is to be there
// when each of them has happened once.
func (g *crowd) fifty() (calls []func() error, check func()) {
	ctx := g.t.Context()
	s := join(g.t, g.plain, "n")
	id := func(what string, i int) string { return fmt.Sprintf("%s %d", what, i) }
	due := time.Now().Add(time.Hour)
	for i := range 10 {
		calls = append(calls, g.starts(id("start", i))...)
		calls = append(calls, g.claims(s, g.entries(id("claim", i))...)...)
		start(g.t, g.plain, id("complete", i))
		done := claim(g.t, g.plain, s, id("complete", i))
		start(g.t, g.plain, id("retry", i))
		again := claim(g.t, g.plain, s, id("retry", i))
		start(g.t, g.plain, id("cancel", i))
		calls = append(calls,
			func() error { return g.r.Complete(ctx, done, []byte(`1`)) },
			func() error { return g.r.Retry(ctx, again, due, "boom") },
			func() error {
				ended, err := g.r.Cancel(ctx, id("cancel", i), Request{})
				if err == nil && !ended {
					return fmt.Errorf("cancel %d has not ended", i)
				}
				return err
			})
	}
	return calls, func() {
		g.t.Helper()
		for i := range 10 {
			wants(g.t, g.plain, id("start", i), StatusPending, 0, 0, 0, 0)
			wants(g.t, g.plain, id("claim", i), StatusRunning, 1, 0, 0, 0)
			p := wants(g.t, g.plain, id("complete", i), StatusCompleted, 1, 0, 0, 0)
			q := wants(g.t, g.plain, id("retry", i), StatusScheduled, 1, 1, 0, 0)
			wants(g.t, g.plain, id("cancel", i), StatusCancelled, 0, 0, 0, 0)
			if len(p.History) != 1 || len(q.History) != 1 {
				g.t.Errorf("%d and %d attempts in history, want 1 each", len(p.History), len(q.History))
			}
		}
		if n := len(keysUnder(g.t, g.plain, "done/")); n != 20 {
			g.t.Errorf("%d hints, want 20", n)
		}
	}
}
