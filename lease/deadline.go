package lease

import (
	"fmt"
	"sync"
	"time"
)

// minMargin is what a busy machine may need to run a timer, cancel the
// contexts and let handlers notice. A tenth of the smallest TTL that etcd
// grants by default, 2 s, is just that.
const minMargin = 200 * time.Millisecond

// margin is by how much a session ends here before it could end in etcd.
func margin(ttl time.Duration) time.Duration {
	return max(ttl/10, minMargin)
}

// Boottime is the time since the machine booted, suspends included, where the
// system can tell (CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on Darwin): all
// processes of a machine read the same clock. Elsewhere it is the monotonic
// time since this process started.
func Boottime() time.Duration { return boottime() }

// instant is a moment on both clocks.
type instant struct {
	mono time.Time     // Go's monotonic clock, on which timers run; stops in suspend
	boot time.Duration // see Boottime
}

func now() instant { return instant{mono: time.Now(), boot: boottime()} }

func (i instant) add(d time.Duration) instant {
	return instant{mono: i.mono.Add(d), boot: i.boot + d}
}

// left is how much time there is until u, by the clock that has less.
func (i instant) left(u instant) time.Duration {
	return min(u.mono.Sub(i.mono), u.boot-i.boot)
}

// tenure is for how long a session may believe in itself, and how it ended.
type tenure struct {
	now     func() instant // tests put another clock
	stop    func()         // stops the session's goroutines; called once
	done    chan struct{}  // closed, under mu, when err is set
	renewed chan struct{}  // doorbell

	mu      sync.Mutex // guards the rest
	ttl     time.Duration
	until   instant
	renewal Renewal
	err     error // nil while alive, then for ever the same
}

// newTenure begins with a lease that was granted for ttl by a request that was
// sent no earlier than asked.
func newTenure(clock func() instant, asked instant, ttl time.Duration, stop func()) *tenure {
	return &tenure{
		now:     clock,
		stop:    stop,
		done:    make(chan struct{}),
		renewed: make(chan struct{}, 1),
		ttl:     ttl,
		until:   asked.add(ttl - margin(ttl)),
		renewal: Renewal{Asked: asked.mono},
	}
}

// extend moves the deadline: the lease has been renewed for ttl by a request
// that was sent no earlier than asked. An answer that comes after the old
// deadline changes nothing. Somebody may have been told that the session is
// over, and acted on it.
func (t *tenure) extend(asked instant, ttl time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settle() != nil {
		return
	}
	t.ttl, t.until, t.renewal = ttl, asked.add(ttl-margin(ttl)), Renewal{Asked: asked.mono}
	select {
	case t.renewed <- struct{}{}:
	default: // it has not been heard yet, and will be once
	}
}

// failed remembers why a renewal was not answered, for the case that the
// deadline passes.
func (t *tenure) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renewal.Err = err
}

func (t *tenure) last() Renewal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.renewal
}

// end ends the session, if nothing else has before.
func (t *tenure) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settle() == nil {
		t.finish(err)
	}
}

// over is nil while the session is alive, and else how it ended.
func (t *tenure) over() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.settle()
}

// settle is over, with mu held. It is what ends a session at its deadline,
// whoever asks first: after a freeze that is rarely the timer.
func (t *tenure) settle() error {
	if t.err == nil && t.now().left(t.until) <= 0 {
		cause := errDeadline
		if err := t.renewal.Err; err != nil {
			cause = fmt.Errorf("%w, the last failed: %w", errDeadline, err)
		}
		t.finish(lost(cause))
	}
	return t.err
}

func (t *tenure) finish(err error) {
	t.err = err
	close(t.done)
	t.stop()
}

func (t *tenure) deadline() instant {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.until
}

func (t *tenure) granted() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ttl
}
