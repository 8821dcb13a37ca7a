//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

var errNoRecord = errors.New("etcd is out of space")

// unrecorded has the next witness be put on no record until it is told to, and returns once there is that one.
func unrecorded(t *testing.T, w *WitnessLink) (relent func()) {
	t.Helper()
	var relented atomic.Bool
	tried := make(chan lease.Identity, 1000)
	w.attach(func(_ context.Context, identity lease.Identity) error {
		tried <- identity
		if relented.Load() {
			return nil
		}
		return errNoRecord
	})
	if err := syscall.Kill(w.Identity().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two tries to record it", func() bool { return len(tried) > 1 })
	next := <-tried
	killAtEnd(t, next.PID)
	if again := <-tried; again != next {
		t.Errorf("the next try is to record %v, it was %v", again, next)
	}
	return func() { relented.Store(true) }
}

func TestNextWitnessWatchesWhatRunsThoughItIsOnNoRecord(t *testing.T) {
	w := startWitness(t)
	w.Deadline("s", lease.Boottime()+time.Hour)
	g := startGroup(t, w, shell("s", family))
	relent := unrecorded(t, w)
	w.Deadline("s", lease.Boottime())
	eventually(t, "the command is killed", func() bool { return len(living(t, g.PID())) == 0 })
	if got := g.Wait().String(); got != "signal: killed" {
		t.Errorf("the command ended with %q, want %q", got, "signal: killed")
	}

	// Nothing is started before it is on record.
	marker := filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := w.Start(ctx, shell("", "touch "+marker)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start: %v, want that it waits", err)
	}
	if exists(t, marker) {
		t.Error("the command ran by a witness that is on no record")
	}
	if !errors.Is(w.Err(), errNoRecord) {
		t.Errorf("Err: %v, want %v", w.Err(), errNoRecord)
	}
	watching := w.Identity().PID
	relent()
	startGroup(t, w, shell("", "touch "+marker)).Wait()
	if !exists(t, marker) || w.Identity().PID != watching || w.Err() != nil {
		t.Errorf("the witness is %d, it was %d; %v", w.Identity().PID, watching, w.Err())
	}
}

func TestNothingStartsWhileTheNextWitnessIsPutOnRecord(t *testing.T) {
	w := startWitness(t)
	asked, answer := make(chan struct{}), make(chan struct{})
	w.attach(func(context.Context, lease.Identity) error { // as long as etcd takes
		close(asked)
		<-answer
		return nil
	})
	if err := syscall.Kill(w.Identity().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-asked
	marker := filepath.Join(t.TempDir(), "ran")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := w.Start(ctx, shell("", "touch "+marker))
	close(answer)
	if !errors.Is(err, context.DeadlineExceeded) || exists(t, marker) {
		t.Errorf("Start: %v, want that it waits; it ran: %v", err, exists(t, marker))
	}
	startGroup(t, w, shell("", "true")).Wait()
}

func TestNodeThatIsKilledWhileItsWitnessIsOnNoRecord(t *testing.T) {
	n := startNode(t)
	pgid := n.start("-", family, familySize)
	n.say("refuse-record -")
	n.hear("refusing")
	if err := syscall.Kill(n.witness, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	next := n.hearNumber("unrecorded")
	killAtEnd(t, next)
	n.signal(syscall.SIGKILL)
	_ = n.exit()
	eventually(t, "the witness exits", func() bool { return !alive(next) })
	if left := living(t, pgid); len(left) > 0 {
		t.Errorf("the witness is gone and processes are left: %v", left)
	}
}

func TestCloseEndsAWitnessThatIsOnNoRecord(t *testing.T) {
	w := startWitness(t)
	g := startGroup(t, w, shell("", family))
	unrecorded(t, w)
	pid := w.Identity().PID
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if left := living(t, g.PID()); len(left) > 0 || alive(pid) || w.Err() != nil {
		t.Errorf("processes are left: %v; the witness lives: %v; %v", left, alive(pid), w.Err())
	}
}

// A command that waits for one witness is not to start by the word of the next.
func TestAnswerOfTheNextWitnessDoesNotCount(t *testing.T) {
	gone := newBeside(newCharges(), zap.NewNop())
	close(gone.done)
	for range 100 { // a select takes any
		answer := make(chan error, 1)
		answer <- nil
		if err := gone.await(t.Context(), answer); !errors.Is(err, ErrWitnessGone) {
			t.Fatalf("await: %v, want ErrWitnessGone", err)
		}
	}
}

// witnessedBy is what keeps a witness and a session in step, with a registry of its own.
func witnessedBy(t *testing.T, link *WitnessLink, access *WitnessAccess, log *zap.Logger) *witnessed {
	t.Helper()
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	w := newWitnessed(Config{Registry: reg, Mux: runner.NewMux(), Witness: link, WitnessAccess: access}, log)
	w.begin()
	t.Cleanup(w.end)
	return w
}

func openSession(t *testing.T, w *witnessed) *registry.Session {
	t.Helper()
	s, err := w.open(t.Context(), registry.NodeInfo{Name: "n", Queues: []string{"q"}, Max: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abandon)
	return s
}

func TestRecordGivesUpWithItsContextWhileASessionIsOpened(t *testing.T) {
	w := witnessedBy(t, startWitness(t), nil, zap.NewNop())
	openSession(t, w)
	if err := w.lock(t.Context()); err != nil { // as open does, for as long as etcd takes
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.record(ctx, w.link.Identity()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("record: %v, want context.DeadlineExceeded", err)
	}
	w.unlock()
	if err := w.record(t.Context(), w.link.Identity()); err != nil {
		t.Errorf("record when the session is open: %v", err)
	}
}

func TestWillThatCouldNotBeLeftIsTriedAgain(t *testing.T) {
	proxy := etcdtest.New(t).Proxy()
	proxy.Away(true)
	link := startWitness(t)
	core, logs := observer.New(zap.WarnLevel)
	w := witnessedBy(t, link, &WitnessAccess{Endpoints: []string{proxy.Endpoint()}}, zap.New(core))
	s := openSession(t, w)
	left := func() bool {
		link.charges.mu.Lock()
		defer link.charges.mu.Unlock()
		return link.charges.wills[s.ID()] != ""
	}
	said := func() int { return logs.FilterMessageSnippet("the witness can't reach etcd").Len() }
	eventually(t, "the first try is over", func() bool { return said() > 0 })
	if left() {
		t.Error("a will was left with a witness that can't reach etcd")
	}
	proxy.Away(false)
	eventually(t, "the will is left", left)
	if said() != 1 {
		t.Errorf("it was said %d times, want once", said())
	}
}
