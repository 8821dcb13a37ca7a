package runner_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// silent is a node that lives and has its share, and takes none of it.
func (b *bench) silent(kinds ...string) *registry.Session {
	b.t.Helper()
	s, err := b.registry.OpenSession(b.t.Context(), registry.NodeInfo{
		Name: "silent", Queues: []string{"default"}, Kinds: kinds, Max: 1,
	}, 30*time.Second)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = s.Close(b.t.Context()) })
	return s
}

// takesAll drives when a drive says that there is something, until so many were
// handed over, and returns how long after begun that was.
func (b *bench) takesAll(begun time.Time, d runner.Drove, count int) time.Duration {
	b.t.Helper()
	for got := len(b.empty()); got < count; got += len(b.empty()) {
		if d.Next.IsZero() || time.Since(begun) > 20*time.Second {
			b.t.Fatalf("%d of %d, and the next drive is due at %s", got, count, d.Next)
		}
		<-time.After(time.Until(d.Next))
		d = b.drive()
	}
	return time.Since(begun)
}

func TestWhatIsAnothersIsLeftToItAndThenTaken(t *testing.T) {
	b := newBench(t, 100, "k")
	b.silent("k")
	for i := range 40 {
		b.start(fmt.Sprint("p", i), "k")
	}
	begun := time.Now()
	d := b.look()
	own := len(b.empty())
	if own < 5 || own > 35 || d.Claimed != own {
		t.Errorf("took %d of 40 at once, want about a half", own)
	}
	if took := b.takesAll(begun, d, 40-own); took < 200*time.Millisecond {
		t.Errorf("took what is another's after %s", took)
	}
	if tried, lost := b.runner.Claims(); tried != 40 || lost != 0 {
		t.Errorf("%d claims, %d lost; want 40 and none", tried, lost)
	}
}

// Who does not know the kind has no share of it.
func TestNothingIsLeftToWhoCannotRunIt(t *testing.T) {
	b := newBench(t, 100, "k")
	b.silent("other")
	for i := range 20 {
		b.start(fmt.Sprint("p", i), "k")
	}
	if d := b.look(); d.Claimed != 20 {
		t.Errorf("took %d of 20 at once", d.Claimed)
	}
}

func TestOrphansOfAnothersShareAreLeftToItAndThenTaken(t *testing.T) {
	b := newBench(t, 100, "k")
	p := b.peer("dead", 40, lease.Identity{})
	for i := range 40 {
		b.start(fmt.Sprint("p", i), "k")
	}
	p.look()
	p.die()
	b.silent("k")
	b.runner.LookForOrphans()
	begun := time.Now()
	d := b.drive()
	own := len(b.empty())
	if own < 5 || own > 35 {
		t.Errorf("adopted %d of 40 at once, want about a half", own)
	}
	if took := b.takesAll(begun, d, 40-own); took < 200*time.Millisecond {
		t.Errorf("adopted what is another's after %s", took)
	}
	if p := b.get("p0"); p.Adoptions != 1 {
		t.Errorf("adopted %d times", p.Adoptions)
	}
}

// What a node is not to take does not make it drive, and is remembered until
// it is gone.
func TestNoticeLeavesWhatIsAnothers(t *testing.T) {
	b := newBench(t, 100, "k")
	b.silent("k")
	b.look() // makes the two known to each other
	mine := 0
	for i := range 40 {
		if b.runner.Notice(registry.Entry{ID: fmt.Sprint("p", i), Queue: "default", Kind: "k"}) {
			mine++
		}
	}
	if mine < 5 || mine > 35 {
		t.Errorf("%d of 40 lead to a drive, want about a half", mine)
	}
}

// slowHand takes its time over each claim that it is handed.
type slowHand struct {
	*bench
	pause time.Duration
}

func (s slowHand) Hand(c *registry.Claim) {
	s.bench.Hand(c)
	<-time.After(s.pause)
}

// What others did not take falls due while a drive fills the last slot: no drive
// is made for it then, so whoever frees the slot has to make one.
func TestWhatFallsDueInADriveThatFillsTheSlotsIsNotForgotten(t *testing.T) {
	b := newBench(t, 1, "k")
	b.silent("k")
	var woken atomic.Int64
	r, err := runner.New(runner.Options{
		Registry: b.registry, Mux: b.mux, Slots: slowHand{b, 600 * time.Millisecond}, Queues: []string{"default"},
		Session: func() *registry.Session { return b.session }, Wake: func() { woken.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	b.runner = r
	b.look() // who there is
	mine, others := "", ""
	for i := 0; mine == "" || others == ""; i++ {
		if id := fmt.Sprint("p", i); r.Fires(id) {
			mine = id
		} else {
			others = id
		}
	}
	b.start(mine, "k")
	b.start(others, "k")
	d := b.drive()
	if got := ids(b.empty()); len(got) != 1 || got[0] != mine {
		t.Fatalf("it took %v, want %s", got, mine)
	}
	if woken.Load() != 0 {
		t.Error("a drive was made though there was no room")
	}
	if !d.Starved {
		t.Error("whoever frees the slot does not know that something waits for it")
	}
	// From when it had no room its owner has its time again.
	b.drive()
	for begun := time.Now(); woken.Load() == 0; <-time.After(time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("no drive was made once there was room")
		}
	}
	b.drive()
	if got := ids(b.empty()); len(got) != 1 || got[0] != others {
		t.Errorf("then it took %v, want %s", got, others)
	}
}
