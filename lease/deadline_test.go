package lease

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
)

// clocks are the two clocks inside a synctest bubble. Suspend and freeze move
// them without letting any timer fire.
type clocks struct {
	begin time.Time

	mu        sync.Mutex
	suspended time.Duration // the boot clock went on, Go's did not
	frozen    time.Duration // both went on, no timer had its turn
}

func newClocks() *clocks { return &clocks{begin: time.Now()} }

func (c *clocks) now() instant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return instant{
		mono: time.Now().Add(c.frozen),
		boot: time.Since(c.begin) + c.frozen + c.suspended,
	}
}

func (c *clocks) suspend(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.suspended += d
}

func (c *clocks) freeze(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen += d
}

// link is how the other side answers in these tests: they are about time only.
type link struct {
	delay  time.Duration // of each answer
	cut    chan struct{} // if closed, nothing is answered
	result error         // of renewals that are answered
	found  error         // of checks

	mu    sync.Mutex
	asked []time.Time
}

func (l *link) answer(ctx context.Context) error {
	timer := time.NewTimer(l.delay)
	defer timer.Stop()
	select {
	case <-l.cut:
		<-ctx.Done()
		return ctx.Err()
	default:
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func (l *link) renew(ctx context.Context) (time.Duration, error) {
	l.mu.Lock()
	l.asked = append(l.asked, time.Now())
	l.mu.Unlock()
	if err := l.answer(ctx); err != nil {
		return 0, err
	}
	return 10 * time.Second, l.result
}

func (l *link) check(ctx context.Context) error {
	if err := l.answer(ctx); err != nil {
		return err
	}
	return l.found
}

// kept runs a tenure of 10 s, which begins now, until the test stops it.
func kept(t *testing.T, c *clocks, l *link) *tenure {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	asked := c.now()
	ten := newTenure(c.now, asked, 10*time.Second, stop)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		keep(ctx, ten, l, asked, zap.NewNop())
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return ten
}

// end waits for the end of ten, for an hour of the bubble's at most.
func end(t *testing.T, ten *tenure) {
	t.Helper()
	select {
	case <-ten.done:
	case <-time.After(time.Hour):
		t.Fatal("it does not end")
	}
}

func TestMarginIsATenthAndAtLeast200ms(t *testing.T) {
	for _, c := range []struct{ ttl, want time.Duration }{
		{1 * time.Second, 200 * time.Millisecond},
		{2 * time.Second, 200 * time.Millisecond},
		{3 * time.Second, 300 * time.Millisecond},
		{10 * time.Second, 1 * time.Second},
		{time.Minute, 6 * time.Second},
	} {
		if got := margin(c.ttl); got != c.want {
			t.Errorf("margin(%v) = %v, want %v", c.ttl, got, c.want)
		}
	}
}

func TestRepeatsAreJitteredAndBounded(t *testing.T) {
	for _, c := range []struct{ ttl, minInterval, maxInterval, minRetry, maxRetry time.Duration }{
		{2 * time.Second, 533 * time.Millisecond, 667 * time.Millisecond, 160 * time.Millisecond, 240 * time.Millisecond},
		{10 * time.Second, 2666 * time.Millisecond, 3334 * time.Millisecond, 800 * time.Millisecond, 1200 * time.Millisecond},
		{time.Minute, 16 * time.Second, 20 * time.Second, 800 * time.Millisecond, 1200 * time.Millisecond},
	} {
		intervals, retries := map[time.Duration]bool{}, map[time.Duration]bool{}
		for range 1000 {
			d, r := interval(c.ttl), retryDelay(c.ttl)
			if d < c.minInterval || d > c.maxInterval {
				t.Fatalf("interval(%v) = %v, want %v to %v", c.ttl, d, c.minInterval, c.maxInterval)
			}
			if r < c.minRetry || r > c.maxRetry {
				t.Fatalf("retryDelay(%v) = %v, want %v to %v", c.ttl, r, c.minRetry, c.maxRetry)
			}
			intervals[d], retries[r] = true, true
		}
		if len(intervals) < 100 || len(retries) < 100 {
			t.Errorf("TTL %v: %d intervals and %d retries out of 1000 differ", c.ttl, len(intervals), len(retries))
		}
	}
}

func TestDeadlineCountsFromBeforeTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{delay: 3 * time.Second, cut: make(chan struct{})}
		ten := kept(t, newClocks(), l)
		for i := range 5 {
			<-ten.renewed
			l.mu.Lock()
			asked := l.asked[i]
			l.mu.Unlock()
			if got := ten.deadline().mono.Sub(asked); got != 9*time.Second {
				t.Fatalf("deadline is %v after the request was sent, want 9s", got)
			}
		}
	})
}

func TestRenewalsKeepTheTenure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &link{delay: time.Second, cut: make(chan struct{})}
		ten := kept(t, newClocks(), l)
		time.Sleep(time.Hour)
		if err := ten.over(); err != nil {
			t.Fatalf("after an hour of renewals: %v", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		// An hour has 1080 intervals of 3.33 s and 1350 of 2.67 s.
		if n := len(l.asked); n < 1080 || n > 1350 {
			t.Errorf("%d renewals in an hour, want 1080 to 1350", n)
		}
	})
}

func TestSilenceEndsTheTenureAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		l := &link{cut: make(chan struct{})}
		close(l.cut)
		ten := kept(t, newClocks(), l)
		end(t, ten)
		if got := time.Since(begin); got != 9*time.Second {
			t.Errorf("ended after %v, want 9s", got)
		}
		err := ten.over()
		if !errors.Is(err, ErrLost) || !errors.Is(err, errDeadline) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want a lost session, by its deadline, as a renewal timed out", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		// Within 9 s: at about 3 s, again after a timeout of 3.3 s and a pause.
		if n := len(l.asked); n != 2 {
			t.Errorf("%d renewals were tried, want 2", n)
		}
	})
}

func TestFailedRenewalsAreRepeatedSoonerAndForgottenOnSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		l := &link{cut: make(chan struct{}), result: refused}
		ten := kept(t, newClocks(), l)
		begin := time.Now()
		end(t, ten)
		if got := time.Since(begin); got != 9*time.Second {
			t.Errorf("ended after %v, want 9s", got)
		}
		if err := ten.over(); !errors.Is(err, refused) {
			t.Errorf("got %v, want the cause of the last failure", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		// The first between 2.67 s and 3.33 s, then one each 0.8 s to 1.2 s.
		if n := len(l.asked); n < 5 || n > 8 {
			t.Errorf("%d renewals were tried, want 5 to 8", n)
		}
	})
}

func TestALateAnswerRevivesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClocks()
		asked := c.now()
		ten := newTenure(c.now, asked, 10*time.Second, func() {})
		sent := c.now()
		c.freeze(9 * time.Second) // and the answer arrives before the timer fires
		ten.extend(sent, time.Hour)
		if err := ten.over(); !errors.Is(err, errDeadline) {
			t.Fatalf("got %v, want the deadline to have ended it", err)
		}
		select {
		case <-ten.renewed:
			t.Error("a renewal was announced")
		default:
		}
	})
}

func TestAliveKnowsAFreezeBeforeAnyTimer(t *testing.T) {
	for name, pass := range map[string]func(*clocks, time.Duration){
		"frozen":    (*clocks).freeze,
		"suspended": (*clocks).suspend,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClocks()
				ten := kept(t, c, &link{cut: make(chan struct{})})
				pass(c, 8999*time.Millisecond)
				if err := ten.over(); err != nil {
					t.Fatalf("a millisecond before the deadline: %v", err)
				}
				pass(c, time.Millisecond)
				if err := ten.over(); !errors.Is(err, errDeadline) {
					t.Fatalf("at the deadline: %v", err)
				}
				end(t, ten) // by the question
				if got := time.Since(c.begin); got != 0 {
					t.Errorf("it took %v to close", got)
				}
			})
		})
	}
}

func TestASuspendIsNoticedWithoutBeingAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClocks()
		ten := kept(t, c, &link{cut: make(chan struct{})})
		c.suspend(time.Minute)
		end(t, ten) // by the next renewal's timer
		if got := time.Since(c.begin); got > 3334*time.Millisecond {
			t.Errorf("it took %v, want at most a renewal's interval", got)
		}
	})
}

func TestDoneDoesNotWaitForARequestThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		release := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		c := newClocks()
		asked := c.now()
		ten := newTenure(c.now, asked, 10*time.Second, stop)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			keep(ctx, ten, stuck(release), asked, zap.NewNop())
		}()
		end(t, ten)
		if got := time.Since(begin); got != 9*time.Second {
			t.Errorf("ended after %v, want 9s", got)
		}
		close(release)
		<-ended
	})
}

// stuck answers when it is released, whatever its context says.
type stuck chan struct{}

func (s stuck) renew(context.Context) (time.Duration, error) {
	<-s
	return 10 * time.Second, nil
}

func (s stuck) check(context.Context) error { return nil }

func TestEtcdsWordEndsTheTenureAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		link *link
		want error
	}{
		"of the lease": {&link{result: lost(errExpired)}, errExpired},
		"of the key":   {&link{found: lost(errDeleted)}, errDeleted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				c.link.cut = make(chan struct{})
				ten := kept(t, newClocks(), c.link)
				end(t, ten)
				if err := ten.over(); !errors.Is(err, ErrLost) || !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if got := time.Since(begin); got > 3334*time.Millisecond {
					t.Errorf("ended after %v, want the first renewal", got)
				}
			})
		})
	}
}

func TestAnUnansweredCheckLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ten := kept(t, newClocks(), &link{cut: make(chan struct{}), found: context.DeadlineExceeded})
		time.Sleep(time.Minute)
		if err := ten.over(); err != nil {
			t.Errorf("got %v, want a session that is alive", err)
		}
	})
}

func TestTheFirstEndStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClocks()
		ten := newTenure(c.now, c.now(), 10*time.Second, func() {})
		ten.end(ErrClosed)
		ten.end(lost(errDeleted))
		if err := ten.over(); !errors.Is(err, ErrClosed) || errors.Is(err, ErrLost) {
			t.Errorf("got %v, want it closed", err)
		}

		ten = newTenure(c.now, c.now(), 10*time.Second, func() {})
		c.freeze(time.Minute)
		ten.end(ErrClosed)
		if err := ten.over(); !errors.Is(err, errDeadline) {
			t.Errorf("got %v, want the deadline, which came first", err)
		}
	})
}

func TestBoottimeOnlyGrows(t *testing.T) {
	last := Boottime()
	for range 1000 {
		b := Boottime()
		if b < last {
			t.Fatalf("%v after %v", b, last)
		}
		last = b
	}
	if last <= 0 {
		t.Errorf("Boottime() = %v", last)
	}
}
