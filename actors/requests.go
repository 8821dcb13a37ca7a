package actors

import "github.com/drover-run/drover/runner"

// requests are the processes that somebody asked to end. They are kept as a
// set as the request may be seen before the attempt that it concerns exists.
// Slots.mu guards it.
type requests struct {
	standing map[string]bool
	// changed is what was heard of while the whole set is read anew; nil if
	// it is not. What was heard is at least as new as what is read.
	changed map[string]bool
}

// Requested notes that somebody asked to end the process, and cancels an
// attempt at it; or that the request is gone.
func (s *Slots) Requested(id string, stands bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests.changed != nil {
		s.requests.changed[id] = true
	}
	if !stands {
		delete(s.requests.standing, id)
		return
	}
	s.requests.standing[id] = true
	s.cancelRequested(id)
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
func (s *Slots) SetRequests(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	standing := map[string]bool{}
	for id := range s.requests.changed {
		if s.requests.standing[id] {
			standing[id] = true
		}
	}
	for _, id := range ids {
		if !s.requests.changed[id] {
			standing[id] = true
			s.cancelRequested(id)
		}
	}
	s.requests = requests{standing: standing}
}

// cancelRequested needs mu.
func (s *Slots) cancelRequested(id string) {
	for a := range s.attempts {
		if a.id == id {
			a.cancel(runner.ErrCancelRequested)
		}
	}
}
