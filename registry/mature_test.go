package registry

import (
	"errors"
	"testing"
	"time"
)

func TestMatureMakesClaimableWhatIsDue(t *testing.T) {
	r := newRegistry(t)
	clock := time.Now()
	r.options.Now = func() time.Time { return clock }
	start(t, r, "first", At(clock.Add(10*time.Second)))
	start(t, r, "second", At(clock.Add(11*time.Second)))
	start(t, r, "late", At(clock.Add(time.Hour)))
	for _, step := range []struct {
		after   time.Duration
		matured int
		next    time.Duration // 0 for none
	}{
		{0, 0, 0}, // what is due is beyond the horizon
		{9 * time.Second, 0, 10 * time.Second},
		{10 * time.Second, 1, 11 * time.Second},
		{11 * time.Second, 1, 0},
		{11 * time.Second, 0, 0},
		{2 * time.Hour, 1, 0},
	} {
		r.options.Now = func() time.Time { return clock.Add(step.after) }
		n, next, err := r.Mature(t.Context(), 10)
		noErr(t, err)
		if n != step.matured || next.IsZero() != (step.next == 0) || step.next != 0 && !next.Equal(clock.Add(step.next)) {
			t.Errorf("after %s: %d matured, next %s; want %d, %s", step.after, n, next, step.matured, step.next)
		}
	}
	if n := len(pending(t, r)); n != 3 {
		t.Errorf("%d are pending, want 3", n)
	}
}

func TestMatureStopsAtTheLimit(t *testing.T) {
	r := newRegistry(t)
	clock := time.Now()
	r.options.Now = func() time.Time { return clock }
	for _, id := range []string{"a", "b", "c"} {
		start(t, r, id, At(clock.Add(time.Second)))
	}
	clock = clock.Add(time.Minute)
	for _, want := range []int{2, 1, 0} {
		n, _, err := r.Mature(t.Context(), 2)
		noErr(t, err)
		if n != want {
			t.Errorf("%d matured, want %d", n, want)
		}
	}
}

func TestMaturePassesOverWhatItCannotRead(t *testing.T) {
	r := newRegistry(t)
	clock := time.Now()
	r.options.Now = func() time.Time { return clock }
	start(t, r, "p", At(clock.Add(time.Second)))
	write(t, r, r.keys.timers()+"00000000000000000000/nonsense", "x")
	write(t, r, r.keys.timer(clock, "q", "start"), "elsewhere")
	write(t, r, r.keys.timer(clock, "q", "retry"), r.keys.pending(Entry{ID: "another", Queue: "default", Kind: "k", Seq: 1}))
	clock = clock.Add(time.Minute)
	n, _, err := r.Mature(t.Context(), 10)
	var corrupt *CorruptError
	if n != 1 || !errors.As(err, &corrupt) {
		t.Errorf("%d matured, %v", n, err)
	}
	if got := pending(t, r); len(got) != 1 || got[0].ID != "p" {
		t.Errorf("pending: %+v", got)
	}
}

// A wall clock that jumps, forwards or back, moves when processes fall due, and
// neither loses one nor matures it twice.
func TestAClockThatJumpsNeitherLosesNorDoubles(t *testing.T) {
	r := newRegistry(t)
	begin := time.Now()
	at := func(offset time.Duration) { r.options.Now = func() time.Time { return begin.Add(offset) } }
	start(t, r, "soon", At(begin.Add(time.Hour)))
	start(t, r, "later", At(begin.Add(3*time.Hour)))
	s := join(t, r, "n")
	for _, step := range []struct {
		clock   time.Duration
		matured int
		soon    Status
		later   Status
	}{
		{0, 0, StatusScheduled, StatusScheduled},
		{2 * time.Hour, 1, StatusPending, StatusScheduled},
		{-24 * time.Hour, 0, StatusPending, StatusScheduled},
		{2 * time.Hour, 0, StatusPending, StatusScheduled},
		{24 * time.Hour, 1, StatusPending, StatusPending},
		{-time.Hour, 0, StatusPending, StatusPending},
	} {
		at(step.clock)
		if n, _, err := r.Mature(t.Context(), 10); n != step.matured || err != nil {
			t.Errorf("at %s: matured %d, %v; want %d", step.clock, n, err, step.matured)
		}
		wants(t, r, "soon", step.soon, 0, 0, 0, 0)
		wants(t, r, "later", step.later, 0, 0, 0, 0)
	}
	for _, id := range []string{"soon", "later"} {
		noErr(t, r.Complete(t.Context(), claim(t, r, s, id), nil))
		wants(t, r, id, StatusCompleted, 1, 0, 0, 0)
	}
	if left := append(keysUnder(t, r, "timer/"), keysUnder(t, r, "pending/")...); len(left) != 0 {
		t.Errorf("left are %v", left)
	}
}
