package etcdserver

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// hold takes the lock of dir as a process would that says h of itself.
func hold(t *testing.T, dir string, h Holder) *os.File {
	t.Helper()
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "lock")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := flock(f, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return f
}

// wantInUse starts in dir and wants to be refused within two seconds.
func wantInUse(t *testing.T, dir string, pid int, state State) {
	t.Helper()
	begin := time.Now()
	_, err := Start(t.Context(), Options{Dir: dir})
	took := time.Since(begin)
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("Start: %v, want an InUseError", err)
	}
	if inUse.Dir != dir || inUse.PID != pid || inUse.State != state {
		t.Errorf("Start: %+v, want pid %d, %s", *inUse, pid, state)
	}
	if took > 2*time.Second {
		t.Errorf("Start took %v, want less than 2 s", took)
	}
}

func TestSecondStartInOneProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	serve(t, Options{Dir: dir})
	wantInUse(t, dir, os.Getpid(), Serving)
}

func TestStartNamesTheOtherProcess(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "serve", dir)
	h.next()
	wantInUse(t, dir, h.cmd.Process.Pid, Serving)

	holder, held, err := look(dir)
	if err != nil || !held || holder.PID != h.cmd.Process.Pid || holder.State != Serving {
		t.Fatalf("look: %+v, %v, %v, want the helper serving", holder, held, err)
	}
	if len(holder.Endpoints) != 2 {
		t.Fatalf("look: endpoints %q, want two", holder.Endpoints)
	}
	for _, e := range holder.Endpoints {
		if _, err := dial(t, e).Put(t.Context(), "key", "value"); err != nil {
			t.Errorf("put through %s: %v", e, err)
		}
	}

	h.stdin.Close()
	if err := h.wait(); err != nil || h.stderr.Len() != 0 {
		t.Errorf("the helper ended with %v and wrote %q, want neither", err, h.stderr.String())
	}
	s := serve(t, Options{Dir: dir})
	if got, err := s.Client().Get(t.Context(), "key"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("the helper's data: %v, %v", got, err)
	}
}

func TestKilledHolderBlocksNobody(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "serve", dir)
	h.next()
	holder, _, _ := look(dir)
	h.kill()

	if after, held, err := look(dir); err != nil || held || after.PID != 0 {
		t.Errorf("look: %+v, %v, %v, want nobody", after, held, err)
	}
	if _, err := os.Stat(holder.SocketDir); err != nil {
		t.Fatalf("the killed holder's socket directory: %v", err)
	}
	begin := time.Now()
	s := serve(t, Options{Dir: dir})
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Start took %v, want no waiting", took)
	}
	if _, err := os.Stat(holder.SocketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the killed holder's socket directory: %v, want none", err)
	}
	if _, err := s.Client().Put(t.Context(), "key", ""); err != nil {
		t.Error(err)
	}
}

func TestStartWaitsForHolderThatIsNotServing(t *testing.T) {
	for _, state := range []State{Starting, Stopping, ""} {
		t.Run(string(state), func(t *testing.T) {
			dir := t.TempDir()
			f := hold(t, dir, Holder{PID: os.Getpid(), State: state})
			time.AfterFunc(600*time.Millisecond, func() { f.Close() })
			serve(t, Options{Dir: dir})
		})
	}
}

func TestStartDoesNotWaitForOneThatServesOrSaysNothing(t *testing.T) {
	for _, state := range []State{Serving, ""} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			hold(t, dir, Holder{PID: 4711, State: state})
			wantInUse(t, dir, 4711, state)
		})
	}
}

func TestWaitingLastsForAsLongAsTheHolderIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := waiting{serving: 200 * time.Millisecond, changing: 30 * time.Second}
		for _, step := range []struct {
			after time.Duration
			h     Holder
			over  bool
		}{
			{0, Holder{PID: 1, State: Starting}, false},
			{30*time.Second - 1, Holder{PID: 1, State: Starting}, false},
			{1, Holder{PID: 1, State: Starting}, true},
			{0, Holder{PID: 1, State: Serving}, false},
			{200 * time.Millisecond, Holder{PID: 1, State: Serving}, true},
			{0, Holder{PID: 1, State: Stopping}, false},
			{29 * time.Second, Holder{PID: 2, State: Stopping}, false},
			{29 * time.Second, Holder{PID: 2, State: Stopping}, false},
			{1 * time.Second, Holder{PID: 2, State: Stopping}, true},
			{0, Holder{}, false},
			{1499 * time.Millisecond, Holder{}, false},
			{1 * time.Millisecond, Holder{}, true},
		} {
			<-time.After(step.after)
			if over := w.over(step.h); over != step.over {
				t.Errorf("%+v after %s more: over is %v", step.h, step.after, over)
			}
		}
	})
}

func TestWaitingForTheHolderEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	hold(t, dir, Holder{PID: os.Getpid(), State: Starting})
	ctx, cancel := contextEndingAfter(t, 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := Start(ctx, Options{Dir: dir}); !errors.Is(err, errWaitedEnough) {
		t.Errorf("Start: %v, want the context's cause", err)
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Start took %v after its context ended", took)
	}
}

func TestTheRecordOfALivingHolderIsBelieved(t *testing.T) {
	me := os.Getpid()
	for _, tt := range []struct {
		name string
		held Holder
	}{
		{"starting", Holder{PID: me, State: Starting}},
		{"stopping", Holder{PID: me, State: Stopping}},
		{"serving", Holder{PID: me, State: Serving, Endpoints: []string{"unix:///s"}}},
		{"serving in another PID namespace", Holder{PID: 1 << 30, State: Serving, Endpoints: []string{"unix:///s"}}},
		{"has not written yet", Holder{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			hold(t, dir, tt.held)
			holder, held, err := look(dir)
			if err != nil || !held || holder.State != tt.held.State || holder.PID != tt.held.PID {
				t.Errorf("look: %+v, %v, %v, want %+v", holder, held, err, tt.held)
			}
			if len(holder.Endpoints) != len(tt.held.Endpoints) {
				t.Errorf("look: endpoints %q, want %q", holder.Endpoints, tt.held.Endpoints)
			}
		})
	}
}

func TestAPredecessorsRecordIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	f := hold(t, dir, Holder{PID: 1 << 30, State: Serving, Endpoints: []string{"unix:///gone"}})
	d := &dataDir{path: dir, lock: f, rec: Holder{PID: os.Getpid()}}
	time.AfterFunc(time.Millisecond, func() { _ = d.record(Starting, "", nil) })
	holder, held, err := look(dir)
	if err != nil || !held || holder.State != Starting || holder.PID != os.Getpid() || len(holder.Endpoints) != 0 {
		t.Errorf("look: %+v, %v, %v, want the new holder, starting", holder, held, err)
	}
}

func TestLookingMakesNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	holder, held, err := look(dir)
	if err != nil || held || holder.PID != 0 {
		t.Errorf("look: %+v, %v, %v, want nobody", holder, held, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v, want none", err)
	}
}

func TestLookingDoesNotDisturbAStart(t *testing.T) {
	dir := t.TempDir()
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, _, err := look(dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		d, _, err := openDataDir(t.Context(), dir, waiting{serving: servingPatience, changing: changingPatience})
		if err != nil {
			t.Errorf("openDataDir: %v", err)
			break
		}
		if err := d.close(); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

func TestShorterRecordIsReadable(t *testing.T) {
	d, _, err := tryDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := d.record(Serving, "", []string{strings.Repeat("x", 500)}); err != nil {
		t.Fatal(err)
	}
	if err := d.record(Stopping, "", nil); err != nil {
		t.Fatal(err)
	}
	h := readHolder(d.lock.Name())
	if h.State != Stopping || h.PID != os.Getpid() || len(h.Endpoints) != 0 {
		t.Errorf("read %+v, want the last record", h)
	}
	// As between the two steps of a write.
	if _, err := d.lock.WriteAt([]byte(`{"pid":7,"state":"serving"}`+"\n"), 0); err != nil {
		t.Fatal(err)
	}
	if h := readHolder(d.lock.Name()); h.PID != 7 || h.State != Serving {
		t.Errorf("read %+v, want the first value", h)
	}
}

func TestRemovedDirectoryIsNotHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	d, _, err := tryDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if sameFile(d.lock, filepath.Join(dir, lockName)) {
		t.Error("the lock of a removed directory counts")
	}
	again, _, err := tryDataDir(dir)
	if err != nil {
		t.Fatalf("tryDataDir: %v, want the new directory's lock", err)
	}
	again.close()
}
