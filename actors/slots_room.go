package actors

import (
	"context"
	"slices"
)

// Free is how many more processes may run now. A handler that goes on after
// its context was cancelled still takes its slot; one that waits for another
// process, and gave its slot back, does not.
//
// Whoever wants its slot back comes first: there is none free while somebody
// could have it.
func (s *Slots) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free()
}

// free needs mu. Those in returning need not be counted, here or by queue: if
// there is room, they have it already, unless it is their queues that are full.
func (s *Slots) free() int {
	if s.closed {
		return 0
	}
	return max(s.max-s.used-len(s.waiting), 0)
}

// FreeIn is how many more processes of the queue may run now.
func (s *Slots) FreeIn(queue string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	free, limit := s.free(), s.limits[queue]
	if limit == 0 {
		return free
	}
	room := limit - s.usedBy[queue]
	for _, a := range s.waiting {
		if a.queue == queue {
			room--
		}
	}
	return min(free, max(room, 0))
}

// hasRoom needs mu.
func (s *Slots) hasRoom(queue string) bool {
	limit := s.limits[queue]
	return s.used < s.max && (limit == 0 || s.usedBy[queue] < limit)
}

// get needs mu.
func (s *Slots) get(a *attempt) {
	a.has = true
	s.used++
	s.usedBy[a.queue]++
}

// give needs mu.
func (s *Slots) give(a *attempt) {
	if a.has {
		a.has = false
		s.used--
		s.usedBy[a.queue]--
	}
}

// change changes the table, under mu. What has become free goes to those who
// want their slot back, in the order in which they came; then those that wait
// are looked at.
func (s *Slots) change(how func()) {
	s.mu.Lock()
	how()
	s.returning = slices.DeleteFunc(s.returning, func(r *returner) bool {
		if !s.hasRoom(r.attempt.queue) {
			return false
		}
		s.get(r.attempt)
		close(r.back)
		return true
	})
	waiting := len(s.waiting) > 0
	s.mu.Unlock()
	if waiting {
		// Not under mu: without an actor there the message is a dead letter,
		// which runs code of the host's.
		s.actor.send(handed{})
	}
}

// take returns an attempt that waits for a slot actor; nil if none does, or
// for want of room: a drive counts what is free, and somebody may have come
// back before it has handed on what it claimed. One that was cancelled needs
// no room, as it does not begin any more.
func (s *Slots) take() *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.waiting, func(a *attempt) bool { return s.hasRoom(a.queue) || a.ended() })
	if i < 0 {
		return nil
	}
	a := s.waiting[i]
	s.waiting = slices.Delete(s.waiting, i, i+1)
	s.get(a)
	return a
}

// putBack is for an attempt whose slot actor ended before it was entered.
func (s *Slots) putBack(a *attempt) {
	if a.entered.Load() {
		return
	}
	over := false
	s.change(func() {
		s.give(a)
		if over = s.closed && a.ended(); !over {
			s.waiting = append(s.waiting, a)
		}
	})
	if over {
		s.enter(a, nil, nil) // Flush has been
	}
}

// returner is an attempt that wants its slot back.
type returner struct {
	attempt *attempt
	back    chan struct{} // closed when it has it
}

// turn is the slot of an attempt as the attempt knows it, a [runner.Slot].
type turn struct {
	slots   *Slots
	attempt *attempt
}

// Yield implements runner.Slot. It does nothing for an attempt that has
// ended.
func (t turn) Yield() {
	yielded := false
	t.slots.change(func() {
		yielded = t.attempt.has
		t.slots.give(t.attempt)
	})
	if yielded {
		t.slots.freed()
	}
}

// Resume implements runner.Slot.
func (t turn) Resume(ctx context.Context) error {
	r := &returner{attempt: t.attempt, back: make(chan struct{})}
	t.slots.change(func() {
		if t.slots.attempts[t.attempt] && !t.attempt.has {
			t.slots.returning = append(t.slots.returning, r)
		} else {
			close(r.back)
		}
	})
	select {
	case <-r.back:
		return nil
	case <-ctx.Done():
	}
	t.slots.mu.Lock()
	defer t.slots.mu.Unlock()
	if t.attempt.has {
		return nil // just in time
	}
	t.slots.returning = slices.DeleteFunc(t.slots.returning, func(other *returner) bool { return other == r })
	return context.Cause(ctx)
}
