package runner

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-run/drover/registry"
)

// woken counts the drives that are made for what others did not take.
func woken(t *testing.T, f func(t *testing.T, s *seen, drives *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, drives := newSeen(nil), &atomic.Int64{}
		s.wake = func() { drives.Add(1) }
		f(t, s, drives)
		s.stop()
	})
}

func pass(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestOneDriveIsMadeForWhatOthersDidNotTake(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, drives *atomic.Int64) {
		s.see(waiting{"a", 1}, time.Time{}, 200*time.Millisecond)
		s.see(waiting{"b", 1}, time.Time{}, 201*time.Millisecond)
		pass(199 * time.Millisecond)
		if drives.Load() != 0 {
			t.Errorf("%d drives too early", drives.Load())
		}
		pass(time.Millisecond)
		if drives.Load() != 1 {
			t.Errorf("%d drives when it was time, want 1", drives.Load())
		}
		pass(time.Minute)
		if drives.Load() != 2 { // one for b
			t.Errorf("%d drives in the end, want 2", drives.Load())
		}
	})
}

func TestNoDriveIsMadeForWhatWasTaken(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, drives *atomic.Int64) {
		for i := range 100 {
			s.see(waiting{fmt.Sprint("p", i), 1}, time.Time{}, 200*time.Millisecond)
			pass(10 * time.Millisecond)
			s.forget(waiting{fmt.Sprint("p", i), 1})
		}
		pass(time.Minute)
		if drives.Load() != 0 {
			t.Errorf("%d drives, want none", drives.Load())
		}
	})
}

// The wait counts from when it was first seen, or from when the node had room.
func TestTheWaitCountsFromWhatCameLast(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, drives *atomic.Int64) {
		first := time.Now()
		s.see(waiting{"a", 1}, time.Time{}, 200*time.Millisecond)
		pass(100 * time.Millisecond)
		full := time.Now()
		if due := s.see(waiting{"a", 1}, time.Time{}, 225*time.Millisecond); !due.Equal(first.Add(225 * time.Millisecond)) {
			t.Errorf("due %s after it was first seen", due.Sub(first))
		}
		pass(200 * time.Millisecond)
		if due := s.see(waiting{"a", 1}, full, 225*time.Millisecond); !due.Equal(full.Add(225 * time.Millisecond)) {
			t.Errorf("due %s after there was no room", due.Sub(full))
		}
		if drives.Load() != 1 {
			t.Errorf("%d drives, want 1", drives.Load())
		}
		pass(time.Second)
		if drives.Load() != 2 {
			t.Errorf("%d drives, want another one as it was too early", drives.Load())
		}
	})
}

func TestWhatIsSeenIsBounded(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, drives *atomic.Int64) {
		for i := range 3 * maxSeen {
			s.see(waiting{fmt.Sprint("p", i), 1}, time.Time{}, 200*time.Millisecond)
		}
		s.mu.Lock()
		n := len(s.entries)
		s.mu.Unlock()
		if n > maxSeen {
			t.Errorf("%d are remembered", n)
		}
		pass(time.Minute)
		if drives.Load() != 1 {
			t.Errorf("%d drives for what fell due together, want 1", drives.Load())
		}
	})
}

func TestNoDriveIsMadeAfterStop(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, drives *atomic.Int64) {
		s.see(waiting{"a", 1}, time.Time{}, 200*time.Millisecond)
		s.stop()
		s.see(waiting{"b", 1}, time.Time{}, 200*time.Millisecond)
		pass(time.Minute)
		if drives.Load() != 0 {
			t.Errorf("%d drives", drives.Load())
		}
	})
}

func TestIdleTriesFewOfOthersAtFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var i idle
		begun := time.Now()
		want := func(allowance int, from time.Time) {
			t.Helper()
			if got := i.allowance(); got != allowance || !i.since(registry.Entry{}).Equal(from) {
				t.Errorf("%d, from %s; want %d, from %s", got, i.since(registry.Entry{}), allowance, from)
			}
		}
		want(4, time.Time{})
		i.full()
		want(4, begun)
		i.took(3, 7, true)
		want(16, begun)
		i.took(0, 16, true)
		want(64, begun)
		pass(time.Second)
		i.full() // with what it took of others': it goes on taking
		i.took(5, 5, true)
		want(64, begun)
		i.took(0, 64, false)
		want(4, time.Now())
		lost := time.Now()
		pass(time.Second)
		i.took(0, 4, true)
		want(16, lost)
		i.took(90, 64, true) // it has enough of its own
		i.full()
		want(4, time.Now())
	})
}

// However often it is seen again, and whatever room there was.
func TestWhatWaitedForLongIsNobodysInParticular(t *testing.T) {
	woken(t, func(t *testing.T, s *seen, _ *atomic.Int64) {
		e := waiting{"a", 1}
		for range 19 {
			s.see(e, time.Now(), 200*time.Millisecond)
			pass(100 * time.Millisecond)
		}
		if s.longAgo(e, time.Now()) || s.longAgo(waiting{"b", 1}, time.Now()) {
			t.Error("too early, or never seen")
		}
		pass(100 * time.Millisecond)
		if !s.longAgo(e, time.Now()) {
			t.Error("after 2 s it is still another's")
		}
	})
}
