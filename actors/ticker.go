package actors

import (
	"sync"
	"time"
)

// minDelay is between a drive and one for what is due: a due time that can't
// be acted on must not keep the node busy.
const minDelay = 5 * time.Millisecond

// ticker calls fire every interval, and earlier when something is due. It
// arms itself again before each call, so it goes on whatever becomes of it.
// The end of a drive starts a new interval: ticks that came during a drive are
// not made up for.
//
// The interval is not jittered, as everything else that repeats is: the time
// that drives take keeps nodes out of step.
type ticker struct {
	interval time.Duration
	fire     func(turn int)

	mu    sync.Mutex
	timer *time.Timer // nil before start and after stop
	next  time.Time   // the end of the interval
	due   time.Time   // the earliest due time that is known; zero if none is
	turn  int         // how many drives have ended
}

// start begins the first interval.
func (t *ticker) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.next = time.Now().Add(t.interval)
		t.timer = time.AfterFunc(t.interval, t.ring)
	}
}

func (t *ticker) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

func (t *ticker) ring() {
	t.mu.Lock()
	now := time.Now()
	// Stopped, or armed anew by the end of a drive, while we were on the way?
	early := now.Before(t.next) && (t.due.IsZero() || now.Before(t.due))
	if t.timer == nil || early {
		t.arm()
		t.mu.Unlock()
		return
	}
	t.next = now.Add(t.interval)
	if !t.due.IsZero() && !now.Before(t.due) {
		t.due = time.Time{} // the drive says what comes next
	}
	t.arm()
	turn := t.turn
	t.mu.Unlock()
	t.fire(turn)
}

// current says whether no drive has ended since the tick of this turn was
// fired. Those that were fired during a drive are dropped, also when it has
// ended before they are read, as are those that piled up while the actor paused.
func (t *ticker) current(turn int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.turn == turn
}

// dueAt makes it fire when something is due, on the wall clock.
func (t *ticker) dueAt(due time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if due.IsZero() || !t.due.IsZero() && !due.Before(t.due) {
		return
	}
	t.due = due
	t.arm()
}

// driveEnded begins a new interval.
func (t *ticker) driveEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = time.Now().Add(t.interval)
	t.turn++
	t.arm()
}

// arm needs mu. It does nothing after stop.
func (t *ticker) arm() {
	if t.timer == nil {
		return
	}
	delay := time.Until(t.next)
	if !t.due.IsZero() {
		delay = min(delay, max(time.Until(t.due), minDelay))
	}
	t.timer.Reset(delay)
}
