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

// SlotsOptions are for NewSlots. All but Limits and Logger are required.
type SlotsOptions struct {
	Max int // processes at a time
	// Limits are how many of a queue at a time, for queues that have less
	// than all.
	Limits map[string]int
	// Run makes an attempt and records how it ended: runner.Runner.Run.
	Run func(ctx context.Context, c *registry.Claim) runner.Report
	// Freed is called whenever a slot has become free.
	Freed  func()
	Logger *zap.Logger
}

// Slots is where the attempts of a node run: the table of them, which
// outlives restarts of the actors. It is the runner's [runner.Slots].
type Slots struct {
	max    int
	limits map[string]int
	run    func(context.Context, *registry.Claim) runner.Report
	freed  func()
	log    *zap.Logger
	actor  address

	mu       sync.Mutex
	closed   bool
	attempts map[*attempt]bool // all that have not ended
	used     int               // those of them that have a slot
	usedBy   map[string]int    // by queue
	// waiting are those that were handed and that no slot actor has yet, or
	// for whom there is no room.
	waiting   []*attempt
	returning []*returner   // those that gave their slot back, and want one again
	idle      chan struct{} // closed when attempts has become empty
	requests  requests
}

// attempt is one claim in a slot.
type attempt struct {
	id      string
	queue   string
	fence   int64
	session *registry.Session
	cancel  context.CancelCauseFunc
	ended   func() bool  // whether it was cancelled
	run     func(*stall) // holds the context
	entered atomic.Bool

	has bool // a slot; Slots.mu guards it
}

// NewSlots makes the slots of a node.
func NewSlots(o SlotsOptions) *Slots {
	return &Slots{
		max: o.Max, limits: o.Limits, run: o.Run, freed: o.Freed, log: orNop(o.Logger).Named("slots"),
		attempts: map[*attempt]bool{}, usedBy: map[string]int{},
		requests: requests{standing: map[string]registry.Request{}},
	}
}

// Hand gives a claim to a slot. The attempt can be cancelled from here on; if
// a request to end the process stands already, it is.
func (s *Slots) Hand(c *registry.Claim) {
	ctx, cancel := context.WithCancelCause(context.Background())
	a := &attempt{
		id: c.ID, queue: c.Queue, fence: c.Fence, session: c.Session, cancel: cancel,
		ended: func() bool { return ctx.Err() != nil },
	}
	a.run = func(in *stall) {
		defer cancel(nil)
		s.run(runner.WithSlot(in.within(ctx), turn{s, a}), c)
	}
	s.mu.Lock()
	if len(s.attempts) == 0 {
		s.idle = make(chan struct{})
	}
	s.attempts[a] = true
	s.requests.meet(a)
	closed := s.closed
	if closed {
		// A drive that was on when the node began to stop.
		cancel(runner.ErrShutdown)
	} else {
		s.waiting = append(s.waiting, a)
	}
	s.mu.Unlock()
	if closed {
		s.enter(a, nil, nil)
		return
	}
	s.actor.send(handed{})
}

// enter runs the attempt on a goroutine, once, whoever asks: in a slot actor,
// or in none if it is not to begin. Its slot is free before left is called,
// which may be nil.
func (s *Slots) enter(a *attempt, in *stall, left func()) {
	if !a.entered.CompareAndSwap(false, true) {
		return
	}
	go func() {
		if err := recovered(func() { a.run(in) }); err != nil {
			s.panicked(a, err)
		}
		s.leave(a)
		if left != nil {
			left()
		}
	}()
}

// panicked is for an attempt that ended in a panic, which the runner's never
// do: the claim is in an unknown state and is left to the end of the session.
func (s *Slots) panicked(a *attempt, err error) {
	s.log.Error("an attempt ended in a panic outside of its handler", zap.String("process", a.id), zap.Error(err))
}

func (s *Slots) leave(a *attempt) {
	s.change(func() {
		delete(s.attempts, a)
		s.give(a)
		// A goroutine that the handler left behind gets no slot any more.
		s.returning = slices.DeleteFunc(s.returning, func(r *returner) bool {
			if r.attempt != a {
				return false
			}
			close(r.back)
			return true
		})
		if len(s.attempts) == 0 {
			close(s.idle)
		}
	})
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
	s.change(func() {
		for a := range s.attempts {
			if which(a) {
				a.cancel(cause)
			}
		}
	})
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
		s.enter(a, nil, nil)
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

// Running is how many attempts have not ended, also those that gave their slot
// back for a while.
func (s *Slots) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.attempts)
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
