//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// family is a shell with children that ignore what a terminal or a polite supervisor would send, and with a grandchild.
const family = `trap "" TERM HUP INT; sleep 1000 & (sleep 1000 & wait) & sleep 1000 & wait`

const familySize = 5

func TestWitnessEndsGroupsWhenNodeIsKilled(t *testing.T) {
	n := startNode(t)
	first := n.start("-", family, familySize)
	second := n.start("-", family, familySize)

	n.signal(syscall.SIGKILL)
	_ = n.exit()

	eventually(t, "the witness exits", func() bool { return !alive(n.witness) })
	// Its exit is the proof, so nothing may be left now.
	if left := append(living(t, first), living(t, second)...); len(left) > 0 {
		t.Errorf("the witness is gone and processes are left: %v", left)
	}
}

func TestWitnessEndsGroupsWhenFrozenNodePassesDeadline(t *testing.T) {
	n := startNode(t)
	n.say("deadline s1 1h")
	n.say("deadline s2 1h")
	doomed := n.start("s1", family, familySize)
	n.say("deadline s1 3s") // heard before the next line is
	other := n.start("s2", family, familySize)

	n.signal(syscall.SIGSTOP)
	eventually(t, "the group of the session whose deadline passed is gone", func() bool { return len(living(t, doomed)) == 0 })
	if len(living(t, other)) != familySize {
		t.Error("a group of another session was killed")
	}
	if !alive(n.witness) {
		t.Error("the witness is gone although the node lives")
	}

	n.signal(syscall.SIGCONT)
	if got, want := n.hear("ended"), fmtInt(doomed)+" signal: killed"; got != want {
		t.Errorf("the node saw %q, want %q", got, want)
	}
}

func TestWitnessHeedsTheLastDeadlineThatItWasTold(t *testing.T) {
	w := startWitness(t)
	first := lease.Boottime() + 2*time.Second
	w.Deadline("s", first)
	g := startGroup(t, w, shell("s", "sleep 1000"))
	w.Deadline("s", first+time.Hour)
	eventually(t, "the first deadline is over", func() bool { return lease.Boottime() > first+200*time.Millisecond })
	if !alive(g.PID()) {
		t.Fatal("the command was killed although the deadline was renewed in time")
	}
	w.Deadline("s", lease.Boottime())
	if got := g.Wait().String(); got != "signal: killed" {
		t.Errorf("the command ended with %q, want %q", got, "signal: killed")
	}
}

func TestWitnessRefusesSessionItCannotGuard(t *testing.T) {
	w := startWitness(t)
	w.Deadline("past", lease.Boottime()-time.Nanosecond)
	for _, session := range []string{"past", "unknown"} {
		marker := filepath.Join(t.TempDir(), "ran")
		_, err := w.Start(t.Context(), shell(session, "touch "+marker))
		if !errors.Is(err, ErrWitnessRefused) {
			t.Errorf("session %s: error %v, want ErrWitnessRefused", session, err)
		}
		if exists(t, marker) {
			t.Errorf("session %s: the command ran", session)
		}
	}
}

func TestWitnessIgnoresSignalsMeantForNode(t *testing.T) {
	n := startNode(t)
	pgid := n.start("-", family, familySize)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGTSTP} {
		if err := syscall.Kill(n.witness, s); err != nil {
			t.Fatal(err)
		}
	}
	n.signal(syscall.SIGKILL)
	_ = n.exit()
	eventually(t, "the witness, which still lived, ended the group", func() bool {
		return len(living(t, pgid)) == 0 && !alive(n.witness)
	})
}

func TestWitnessIsOutOfTheTerminalsReach(t *testing.T) {
	w := startWitness(t)
	p, err := witness.Look(w.Identity().PID)
	if err != nil {
		t.Fatal(err)
	}
	if p.Group != p.PID {
		t.Errorf("the witness is in group %d, want one of its own, %d", p.Group, p.PID)
	}
}

func TestWitnessCloseEndsItCleanly(t *testing.T) {
	w := startWitness(t)
	g := startGroup(t, w, shell("", family))
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Errorf("the second Close: %v", err)
	}
	if err := w.Err(); err != nil {
		t.Errorf("Err after Close: %v, want nil", err)
	}
	if left := living(t, g.PID()); len(left) > 0 {
		t.Errorf("the witness has left and processes are left: %v", left)
	}
	if _, err := w.Start(t.Context(), shell("", "true")); !errors.Is(err, ErrWitnessGone) {
		t.Errorf("Start after Close: %v, want ErrWitnessGone", err)
	}
}

func TestWitnessCloseGivesUpOnOneThatIsStopped(t *testing.T) {
	w := startWitness(t)
	if err := syscall.Kill(w.Identity().PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: %v, want context.DeadlineExceeded", err)
	}
	if alive(w.Identity().PID) {
		t.Error("the witness lives")
	}
}

func TestGateStaysShutWithoutWitness(t *testing.T) {
	w := startWitness(t)
	// One that is put on no record watches nothing.
	refused := errors.New("etcd is away")
	detach := w.attach(func(context.Context, lease.Identity) error { return refused })
	first := w.Identity().PID
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end is noticed", func() bool { return errors.Is(w.Err(), refused) })
	marker := filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := w.Start(ctx, shell("", "touch "+marker)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v, want that it waits", err)
	}
	if exists(t, marker) {
		t.Error("the command ran unwatched")
	}
	detach()
	startGroup(t, w, shell("", "touch "+marker)).Wait()
	if !exists(t, marker) {
		t.Error("the command did not run when there was a witness again")
	}
	if w.Identity().PID == first || w.Err() != nil {
		t.Errorf("witness %d, error %v, want another one", w.Identity().PID, w.Err())
	}
}

func TestNextWitnessTakesOverGroupsAndDeadlines(t *testing.T) {
	w := startWitness(t)
	w.Deadline("s", lease.Boottime()+time.Hour)
	g := startGroup(t, w, shell("s", family))
	recorded := make(chan int, 10)
	w.attach(func(_ context.Context, identity lease.Identity) error {
		if len(living(t, g.PID())) == 0 {
			t.Error("the command ended with the witness")
		}
		recorded <- identity.PID
		return nil
	})
	if err := syscall.Kill(w.Identity().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := <-recorded
	killAtEnd(t, second)
	later := startGroup(t, w, shell("s", family)) // the deadline is known there
	if w.Identity().PID != second {
		t.Errorf("the witness is %d, and %d on the record", w.Identity().PID, second)
	}
	w.Deadline("s", lease.Boottime())
	<-g.Done()
	<-later.Done()
	for _, g := range []*Group{g, later} {
		if got := g.Wait().String(); got != "signal: killed" {
			t.Errorf("the command ended with %q, want %q", got, "signal: killed")
		}
	}
}

func TestAWitnessThatDoesNotAnswerIsReplaced(t *testing.T) {
	w := startWitness(t)
	silent := w.Identity().PID
	if err := syscall.Kill(silent, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g := startGroup(t, w, shell("", "exit 0"))
	killAtEnd(t, w.Identity().PID)
	if state := g.Wait(); state == nil || !state.Success() {
		t.Errorf("the command ended with %v", state)
	}
	if w.Identity().PID == silent || alive(silent) {
		t.Errorf("the witness that does not answer, %d, is there still", silent)
	}
}

func TestWhatIsNoSessionIsNotToldToTheWitness(t *testing.T) {
	w := startWitness(t)
	pid := w.Identity().PID
	for _, session := range []string{"two words", "a\nleave", "tab\t"} {
		w.Deadline(session, lease.Boottime()+time.Hour)
		if _, err := w.Start(t.Context(), shell(session, "true")); err == nil {
			t.Errorf("a command of session %q was started", session)
		}
	}
	startGroup(t, w, shell("", "true")).Wait()
	if w.Identity().PID != pid || w.Err() != nil {
		t.Errorf("the witness is %d, it was %d: %v", w.Identity().PID, pid, w.Err())
	}
}
