package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A survey says who lives and what they claim, also that somebody drains.
func TestSurveyTellsWhoClaimsWhat(t *testing.T) {
	r := newRegistry(t)
	a := join(t, r, "a")
	b, err := r.OpenSession(t.Context(), NodeInfo{Name: "b", Queues: []string{"q"}, Kinds: []string{"k"}, Max: 3}, time.Minute)
	noErr(t, err)
	t.Cleanup(func() { leave(t, b) })
	survey := func() (all []string) {
		s, err := r.Survey(t.Context())
		noErr(t, err)
		for _, p := range s.Peers {
			if p.After(s.Revision) {
				t.Errorf("%+v is of a revision after %d", p, s.Revision)
			}
			name := strings.NewReplacer(a.ID(), "a", b.ID(), "b").Replace(p.Session)
			all = append(all, fmt.Sprint(name, p.Queues, p.Kinds, p.Max, p.Draining))
		}
		slices.Sort(all)
		return all
	}
	if got, want := survey(), []string{"a[default] [] 8 false", "b[q] [k] 3 false"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	noErr(t, r.Drain(t.Context(), b))
	if got, want := survey(), []string{"a[default] [] 8 false", "b[q] [k] 3 true"}; !slices.Equal(got, want) {
		t.Errorf("b drains: %q, want %q", got, want)
	}
	if !b.Alive() {
		t.Error("draining ended the session")
	}
	leave(t, a)
	write(t, r, r.keys.session("detached"), `{"node":"x","queues":["q"],"max":1}`)
	if got, want := survey(), []string{"b[q] [k] 3 true"}; !slices.Equal(got, want) {
		t.Errorf("a has ended, and one is on no lease: %q, want %q", got, want)
	}
}

// A survey that ended something tells the state after that.
func TestSurveySeesWhatItEnded(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a := join(t, r, "a")
	claim(t, r, a, "p")
	noErr(t, a.Close(t.Context()))
	write(t, r, r.keys.session(a.ID()), `{"node":"a"}`) // on no lease
	s, err := r.Survey(t.Context())
	noErr(t, err)
	orphans, err := r.OrphansBut(t.Context(), s, 10, func(Orphan) bool { return false })
	noErr(t, err)
	if len(s.Peers) != 0 || len(orphans) != 1 {
		t.Errorf("%d peers, %d orphans; want none and 1", len(s.Peers), len(orphans))
	}
}

// What is put back for want of room says so, and is run like any other.
func TestAnOrphanThatIsPutBackIsCommon(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	if entryOf(t, r, "p").Common() {
		t.Error("what was just started is common")
	}
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	_, err := r.Adopt(t.Context(), b, orphanOf(t, r, "p"), false)
	noErr(t, err)
	if !entryOf(t, r, "p").Common() {
		t.Error("what was put back is not common")
	}
	c := claim(t, r, b, "p")
	noErr(t, r.Release(t.Context(), c))
	if entryOf(t, r, "p").Common() {
		t.Error("what was handed back is common")
	}
}

// Orphans of many queues are read as well, and what is wrong with one is not
// the others'.
func TestOrphansAreReadTogether(t *testing.T) {
	r := newRegistry(t)
	a, b := join(t, r, "a"), join(t, r, "b")
	var orphans []Orphan
	const count = 100
	for i := range count {
		id, queue := fmt.Sprint("p", i), fmt.Sprint("q", i%40)
		start(t, r, id, func(s *Spec) { s.Queue = queue })
		entries, _, err := r.Window([]string{queue}, []string{"k"}).List(t.Context(), 10, nil)
		noErr(t, err)
		_, err = r.Claim(t.Context(), a, entries[0])
		noErr(t, err)
	}
	leave(t, a)
	orphans, err := r.Orphans(t.Context(), count)
	noErr(t, err)
	write(t, r, r.keys.process("p7"), "{")
	_, err = r.Adopt(t.Context(), b, orphans[slices.IndexFunc(orphans, func(o Orphan) bool { return o.ID == "p8" })], true)
	noErr(t, err)
	noErr(t, r.ReadOrphans(t.Context(), orphans))
	for _, o := range orphans {
		c, err := r.Adopt(t.Context(), b, o, true)
		switch o.ID {
		case "p7":
			if _, corrupt := errors.AsType[*CorruptError](err); !corrupt || c != nil {
				t.Errorf("%s: %v, %v", o.ID, c, err)
			}
		case "p8":
			wantErr(t, err, ErrNotClaimable)
		default:
			noErr(t, err)
			if c.ID != o.ID || c.Queue != o.Queue || c.Attempt != 2 {
				t.Errorf("%s: the claim is %+v", o.ID, c)
			}
		}
	}
}

// A request that came after an orphan was read is not passed over.
func TestARequestAfterAnOrphanWasReadIsSeen(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	read := []Orphan{orphanOf(t, r, "p")}
	noErr(t, r.ReadOrphans(t.Context(), read))
	_, err := r.Cancel(t.Context(), "p", Request{By: "me"})
	noErr(t, err)
	for _, run := range []bool{true, false} {
		_, err = r.Adopt(t.Context(), b, read[0], run)
		wantErr(t, err, ErrNotClaimable)
	}
	_, err = r.Adopt(t.Context(), b, orphanOf(t, r, "p"), true)
	noErr(t, err)
	wants(t, r, "p", StatusCancelled, 1, 0, 0, 0)
}

// Whoever took one over may have ended it, or had it run again, when it is read: that is no corruption.
func TestAnOrphanThatSomebodyEndedIsNotCorrupt(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a, b := join(t, r, "a"), join(t, r, "b")
	claim(t, r, a, "p")
	leave(t, a)
	orphan := orphanOf(t, r, "p")
	c, err := r.Adopt(t.Context(), b, orphan, true)
	noErr(t, err)
	noErr(t, r.Complete(t.Context(), c, nil))
	_, err = r.Adopt(t.Context(), b, orphan, true)
	wantErr(t, err, ErrNotClaimable)
}

// However many processes are to be ended elsewhere, the request that concerns an orphan is found.
func TestAmongManyRequestsThatOfAnOrphanIsSeen(t *testing.T) {
	r := newRegistry(t)
	a, b := join(t, r, "a"), join(t, r, "b")
	start(t, r, "z")
	claim(t, r, a, "z")
	for i := range fewRequests {
		id := fmt.Sprintf("p%03d", i)
		start(t, r, id)
		claim(t, r, b, id)
		_, err := r.Cancel(t.Context(), id, Request{By: "me"})
		noErr(t, err)
	}
	_, err := r.Cancel(t.Context(), "z", Request{By: "me"})
	noErr(t, err)
	leave(t, a)
	_, err = r.Adopt(t.Context(), b, orphanOf(t, r, "z"), true)
	noErr(t, err)
	wants(t, r, "z", StatusCancelled, 1, 0, 0, 0)
}

// Timers of another are left to it for a while.
func TestMatureLeavesTimersToOthers(t *testing.T) {
	r := newRegistry(t)
	clock := time.Now()
	r.options.Now = func() time.Time { return clock }
	due := clock.Add(time.Minute)
	for _, id := range []string{"mine", "other"} {
		start(t, r, id, At(due))
	}
	start(t, r, "later", At(due.Add(time.Second)))
	start(t, r, "other later", At(due.Add(time.Second/2)))
	left := func(id string) time.Duration {
		if strings.HasPrefix(id, "other") {
			return 200 * time.Millisecond
		}
		return 0
	}
	mature := func(at time.Time) (n int, next time.Time) {
		clock = at
		n, next, err := r.MatureWithin(t.Context(), 10, time.Hour, left)
		noErr(t, err)
		return n, next
	}
	if n, next := mature(due); n != 1 || !next.Equal(due.Add(time.Second)) {
		t.Errorf("at once: %d, next %s; want 1, and that of its own", n, next)
	}
	wants(t, r, "mine", StatusPending, 0, 0, 0, 0)
	if n, _ := mature(due.Add(199 * time.Millisecond)); n != 0 {
		t.Errorf("%d of another too early", n)
	}
	if n, _ := mature(due.Add(200 * time.Millisecond)); n != 1 {
		t.Errorf("%d of another in the end, want 1", n)
	}
}
