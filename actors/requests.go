package actors

import (
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// requests are the processes that somebody asked to end. They are kept as a
// set as the request may be seen before the attempt that it concerns exists.
// Slots.mu guards it.
type requests struct {
	standing map[string]registry.Request
	// changed is what was heard of while the whole set is read anew; nil if
	// it is not. What was heard is at least as new as what is read.
	changed map[string]bool
}

// meet cancels an attempt that a standing request is meant for. A request is
// meant for the claim that it found: a process may run again under its id, in
// another series, before word comes that the request was answered.
func (r requests) meet(a *attempt) {
	if q, stands := r.standing[a.id]; stands && q.Revision > a.fence {
		a.cancel(causeOf(q))
	}
}

// causeOf is why the context of an attempt ends that the request is for.
func causeOf(q registry.Request) error {
	switch q.What {
	case registry.RequestAbandon:
		return runner.ErrAbandonRequested
	case registry.RequestDeadline:
		return runner.ErrDeadline
	default:
		return runner.ErrCancelRequested
	}
}

// Requested notes that somebody asked to end the process, and cancels an
// attempt at it; or that the request is gone, if q is nil.
func (s *Slots) Requested(id string, q *registry.Request) {
	s.change(func() {
		if s.requests.changed != nil {
			s.requests.changed[id] = true
		}
		if q == nil {
			delete(s.requests.standing, id)
			return
		}
		s.requests.standing[id] = *q
		s.meet(id)
	})
}

// ReadRequests is to be called before the requests are read, with the watch
// that tells of later ones standing.
func (s *Slots) ReadRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests.changed = map[string]bool{}
}

// SetRequests replaces the set by what was read, but for what has changed
// since ReadRequests.
func (s *Slots) SetRequests(read map[string]registry.Request) {
	s.change(func() {
		standing := map[string]registry.Request{}
		for id := range s.requests.changed {
			if q, stands := s.requests.standing[id]; stands {
				standing[id] = q
			}
		}
		for id, q := range read {
			if !s.requests.changed[id] {
				standing[id] = q
			}
		}
		s.requests = requests{standing: standing}
		for a := range s.attempts {
			s.requests.meet(a)
		}
	})
}

// meet needs mu.
func (s *Slots) meet(id string) {
	for a := range s.attempts {
		if a.id == id {
			s.requests.meet(a)
		}
	}
}
