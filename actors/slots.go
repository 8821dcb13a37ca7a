package actors

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// SlotsOptions are for NewSlots. All but Logger are required.
type SlotsOptions struct {
	Max int // processes at a time
	// Run makes an attempt and records how it ended: runner.Runner.Run.
	Run func(ctx context.Context, c *registry.Claim) runner.Report
	// Freed is called whenever a slot has become free.
	Freed  func()
	Logger *zap.Logger
}

// Slots is where the attempts of a node run: the table of them, which
// outlives restarts of the actors. It is the runner's [runner.Slots].
type Slots struct {
	max   int
	run   func(context.Context, *registry.Claim) runner.Report
	freed func()
	log   *zap.Logger
	actor address

	mu       sync.Mutex
	closed   bool
	attempts map[*attempt]bool // all that take a slot
	waiting  []*attempt        // those of them that no slot actor has yet
	idle     chan struct{}     // closed when attempts has become empty
	requests requests
}

// attempt is one claim in a slot. Its fields don't change.
type attempt struct {
	id      string
	session *registry.Session
	cancel  context.CancelCauseFunc
	run     func() // holds the context
	entered atomic.Bool
}

// NewSlots makes the slots of a node.
func NewSlots(o SlotsOptions) *Slots {
	return &Slots{
		max: o.Max, run: o.Run, freed: o.Freed, log: orNop(o.Logger).Named("slots"),
		attempts: map[*attempt]bool{}, requests: requests{standing: map[string]bool{}},
	}
}

// Free is how many more processes may run now. A handler that goes on after
// its context was cancelled still takes its slot.
func (s *Slots) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0
	}
	return max(s.max-len(s.attempts), 0)
}

// Hand gives a claim to a slot. The attempt can be cancelled from here on; if
// a request to end the process stands already, it is.
func (s *Slots) Hand(c *registry.Claim) {
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{id: c.ID, session: c.Session, cancel: cancel}
	a.run = func() {
		defer cancel(nil)
		s.run(ctx, c)
	}
	s.mu.Lock()
	if len(s.attempts) == 0 {
		s.idle = make(chan struct{})
	}
	s.attempts[a] = true
	if s.requests.standing[c.ID] {
		cancel(runner.ErrCancelRequested)
	}
	closed := s.closed
	if closed {
		// A drive that was on when the node began to stop.
		cancel(runner.ErrShutdown)
	} else {
		s.waiting = append(s.waiting, a)
	}
	s.mu.Unlock()
	if closed {
		s.enter(a, nil)
		return
	}
	s.actor.send(handed{})
}

// take returns an attempt that waits for a slot actor; nil if none does.
func (s *Slots) take() *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	a := s.waiting[0]
	s.waiting = s.waiting[1:]
	return a
}

// putBack is for an attempt whose slot actor ended before it was entered.
func (s *Slots) putBack(a *attempt) {
	if a.entered.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, a)
}

// enter runs the attempt on a goroutine, once, whoever asks. Its slot is free
// before left is called, which may be nil.
func (s *Slots) enter(a *attempt, left func()) {
	if !a.entered.CompareAndSwap(false, true) {
		return
	}
	go func() {
		if err := recovered(a.run); err != nil {
			// The runner never panics, so the claim is in an unknown state
			// and is left to the end of the session.
			s.log.Error("an attempt ended in a panic outside of its handler", zap.String("process", a.id), zap.Error(err))
		}
		s.leave(a)
		if left != nil {
			left()
		}
	}()
}

func (s *Slots) leave(a *attempt) {
	s.mu.Lock()
	delete(s.attempts, a)
	if len(s.attempts) == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	s.freed()
}

// SessionLost cancels what runs under the session. It is to be called by
// whoever notices, and not through a queue: somebody else may run these
// processes soon.
func (s *Slots) SessionLost(lost *registry.Session) {
	s.cancel(runner.ErrLeaseLost, func(a *attempt) bool { return a.session == lost })
}

// Cancel cancels everything that runs.
func (s *Slots) Cancel(cause error) {
	s.cancel(cause, func(*attempt) bool { return true })
}

func (s *Slots) cancel(cause error, which func(*attempt) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a := range s.attempts {
		if which(a) {
			a.cancel(cause)
		}
	}
}

// Close takes all slots away. What runs goes on; what is handed from now on
// is given back at once.
func (s *Slots) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Flush enters what still waits for a slot actor: when the actors are gone,
// nobody else does. It is to be called after Close and Cancel, so that those
// attempts are given back.
func (s *Slots) Flush() {
	for a := s.take(); a != nil; a = s.take() {
		s.enter(a, nil)
	}
}

// Wait returns when nothing runs, or when ctx ends: then with the ids of the
// processes that still run, in order.
func (s *Slots) Wait(ctx context.Context) (running []string) {
	for {
		s.mu.Lock()
		idle, left := s.idle, len(s.attempts)
		s.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return s.running()
		}
	}
}

func (s *Slots) running() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for a := range s.attempts {
		ids = append(ids, a.id)
	}
	slices.Sort(ids)
	return ids
}
