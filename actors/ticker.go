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
	fire     func()

	mu    sync.Mutex
	timer *time.Timer // nil before start and after stop
	next  time.Time   // the end of the interval
	due   time.Time   // the earliest due time that is known; zero if none is
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
	if t.timer == nil { // stopped while we were on the way
		t.mu.Unlock()
		return
	}
	t.next, t.due = time.Now().Add(t.interval), time.Time{}
	t.arm()
	t.mu.Unlock()
	t.fire()
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

// driveBegins forgets what is due, which the drive reads anew. What becomes
// known from here on is kept.
func (t *ticker) driveBegins() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.due = time.Time{}
}

// driveEnded begins a new interval.
func (t *ticker) driveEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = time.Now().Add(t.interval)
	t.arm()
}

// arm needs mu.
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
