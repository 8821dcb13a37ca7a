package runner

import (
	"sync"
	"time"
)

const (
	// maxSeen bounds what is remembered of what is others' to take. It is
	// forgotten all at once then: who comes upon it again waits again.
	maxSeen = 10_000
	// longWait is after which what is another's is anybody's, in the order of the
	// queue.
	longWait = 2 * time.Second
	// wakeInterval is between two drives for what others did not take.
	wakeInterval = 25 * time.Millisecond
)

// seen is what is others' to take, and since when this node knows of it, by
// its own monotonic clock: those of starters may be anywhere.
type seen struct {
	// wake makes a drive. It is not called for what was taken meanwhile, and
	// once at the most for each entry: who can't take it then is told when it
	// can.
	wake func()
	now  func() time.Time

	mu      sync.Mutex
	entries map[waiting]sighting
	timer   *time.Timer // nil while it is not armed, and after stop
	fires   time.Time
	fired   time.Time // the last time
	stopped bool
}

type sighting struct {
	first  time.Time
	due    time.Time
	called bool
}

func newSeen(wake func()) *seen {
	return &seen{wake: wake, now: time.Now, entries: map[waiting]sighting{}}
}

// see remembers the entry, if it is new, and says when it may be taken: that
// much later than it was first seen, and than the other time.
func (s *seen) see(e waiting, after time.Time, wait time.Duration) (due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	is, known := s.entries[e]
	if !known {
		if len(s.entries) >= maxSeen {
			clear(s.entries)
		}
		is.first = now
	}
	if after.Before(is.first) {
		after = is.first
	}
	is.due = after.Add(wait)
	is.called = is.called && !is.due.After(now)
	s.entries[e] = is
	if !is.called {
		s.arm(is.due)
	}
	return is.due
}

// longAgo says whether the entry was seen so long ago that whose it is counts no
// more.
func (s *seen) longAgo(e waiting, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	is, known := s.entries[e]
	return known && now.Sub(is.first) >= longWait
}

// forget is for an entry that was taken.
func (s *seen) forget(e waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, e)
}

// arm needs mu.
func (s *seen) arm(at time.Time) {
	if s.stopped || s.wake == nil || s.timer != nil && !at.Before(s.fires) {
		return
	}
	if earliest := s.fired.Add(wakeInterval); at.Before(earliest) {
		at = earliest
	}
	s.fires = at
	delay := max(at.Sub(s.now()), 0)
	if s.timer != nil && s.timer.Stop() {
		s.timer.Reset(delay)
		return
	}
	s.timer = time.AfterFunc(delay, s.fire)
}

// fire makes a drive if something is due for which none was made yet.
func (s *seen) fire() {
	s.mu.Lock()
	now, next, due := s.now(), time.Time{}, false
	s.timer, s.fired = nil, now
	for e, is := range s.entries {
		switch {
		case is.called:
		case is.due.After(now):
			if next.IsZero() || is.due.Before(next) {
				next = is.due
			}
		default:
			is.called, due = true, true
			s.entries[e] = is
		}
	}
	if !next.IsZero() {
		s.arm(next)
	}
	stopped := s.stopped
	s.mu.Unlock()
	if due && !stopped {
		s.wake()
	}
}

// stop ends the waking.
func (s *seen) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
}
