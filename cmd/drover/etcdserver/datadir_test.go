package etcdserver

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
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

	endpoints, holder, ok, err := Living(dir)
	if err != nil || !ok || holder.PID != h.cmd.Process.Pid || holder.State != Serving {
		t.Fatalf("Living: %+v, %v, %v, want the helper serving", holder, ok, err)
	}
	if len(endpoints) != 2 {
		t.Fatalf("Living: endpoints %q, want two", endpoints)
	}
	for _, e := range endpoints {
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
	_, holder, _, _ := Living(dir)
	h.kill()

	endpoints, after, ok, err := Living(dir)
	if err != nil || ok || after.PID != 0 || len(endpoints) != 0 {
		t.Errorf("Living: %q, %+v, %v, %v, want nobody", endpoints, after, ok, err)
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

func TestStartDoesNotWaitForEver(t *testing.T) {
	for _, state := range []State{Starting, Stopping, Serving} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			hold(t, dir, Holder{PID: 4711, State: state})
			wantInUse(t, dir, 4711, state)
		})
	}
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

func TestLivingTellsStatesApart(t *testing.T) {
	me := os.Getpid()
	for _, tt := range []struct {
		name  string
		held  Holder
		state State
		ok    bool
	}{
		{"starting", Holder{PID: me, State: Starting}, Starting, false},
		{"stopping", Holder{PID: me, State: Stopping}, Stopping, false},
		{"serving", Holder{PID: me, State: Serving, Endpoints: []string{"unix:///s"}}, Serving, true},
		{"serving in another PID namespace", Holder{PID: 1 << 30, State: Serving, Endpoints: []string{"unix:///s"}}, Serving, true},
		{"has not written yet", Holder{}, Starting, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			hold(t, dir, tt.held)
			endpoints, holder, ok, err := Living(dir)
			if err != nil || ok != tt.ok || holder.State != tt.state || holder.PID != tt.held.PID {
				t.Errorf("Living: %+v, %v, %v, want %s, %v", holder, ok, err, tt.state, tt.ok)
			}
			if len(endpoints) != len(tt.held.Endpoints) {
				t.Errorf("Living: endpoints %q, want %q", endpoints, tt.held.Endpoints)
			}
		})
	}
}

func TestLivingDoesNotBelieveAPredecessorsRecord(t *testing.T) {
	dir := t.TempDir()
	f := hold(t, dir, Holder{PID: 1 << 30, State: Serving, Endpoints: []string{"unix:///gone"}})
	d := &dataDir{path: dir, lock: f, rec: Holder{PID: os.Getpid()}}
	time.AfterFunc(time.Millisecond, func() { _ = d.record(Starting, "", nil) })
	endpoints, holder, ok, err := Living(dir)
	if err != nil || ok || holder.PID != os.Getpid() || len(endpoints) != 0 {
		t.Errorf("Living: %q, %+v, %v, %v, want the new holder, starting", endpoints, holder, ok, err)
	}
}

func TestLivingWithoutADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	endpoints, holder, ok, err := Living(dir)
	if err != nil || ok || holder.PID != 0 || len(endpoints) != 0 {
		t.Errorf("Living: %q, %+v, %v, %v, want nobody", endpoints, holder, ok, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v, want none", err)
	}
}

func TestLivingDoesNotDisturbAStart(t *testing.T) {
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
				if _, _, _, err := Living(dir); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 100 {
		d, _, err := openDataDir(t.Context(), dir)
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
	d, _, err := openDataDir(t.Context(), t.TempDir())
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
	d, _, err := openDataDir(t.Context(), dir)
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
	again, _, err := openDataDir(t.Context(), dir)
	if err != nil {
		t.Fatalf("openDataDir: %v, want the new directory's lock", err)
	}
	again.close()
}
