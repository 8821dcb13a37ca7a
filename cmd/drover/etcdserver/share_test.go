package etcdserver

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func joined(t *testing.T, dir string) *Share {
	t.Helper()
	s, err := Join(t.Context(), dir, nil)
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	t.Cleanup(func() { leave(t, s) })
	return s
}

func leave(t *testing.T, s *Share) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// put goes through whatever serves within the limit. A request that is cut may
// have landed, and so is no error of the test's.
func put(t *testing.T, s *Share, key, value string) {
	t.Helper()
	eventually(t, "put "+key, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		_, err := s.Client().Put(ctx, key, value)
		return err == nil
	})
}

func get(t *testing.T, s *Share, key string) string {
	t.Helper()
	resp, err := s.Client().Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

// died is what Err delivers.
func died(t *testing.T, s *Share) error {
	t.Helper()
	select {
	case err := <-s.Err():
		return err
	case <-time.After(limit):
		t.Fatal("Err delivered nothing")
		return nil
	}
}

func serving(shares ...*Share) (n int) {
	for _, s := range shares {
		if s.server.Load() != nil {
			n++
		}
	}
	return n
}

func TestSharersTakeOverInTurn(t *testing.T) {
	dir := t.TempDir()
	shares := make([]*Share, 4)
	var wg sync.WaitGroup
	for i := range shares {
		wg.Go(func() { shares[i] = joined(t, dir) })
	}
	wg.Wait()
	if n := serving(shares...); n != 1 {
		t.Fatalf("%d of them serve, want 1", n)
	}
	for len(shares) > 0 {
		for _, s := range shares {
			put(t, s, "key", s.Endpoints()[0])
		}
		holder := 0
		eventually(t, "one of them serves", func() bool {
			for i, s := range shares {
				if s.server.Load() != nil {
					holder = i
					return true
				}
			}
			return false
		})
		last := get(t, shares[0], "key")
		leave(t, shares[holder])
		shares = append(shares[:holder], shares[holder+1:]...)
		if len(shares) > 0 && get(t, shares[0], "key") != last {
			t.Error("the next one has other data")
		}
	}
}

func TestLeasesAndWatchesOutliveAHandover(t *testing.T) {
	dir := t.TempDir()
	first := joined(t, dir)
	second := joined(t, dir)
	c := second.Client()
	lease, err := c.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), "session", "s", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	events := c.Watch(t.Context(), "later", clientv3.WithCreatedNotify())
	<-events
	leave(t, first)
	if _, err := c.KeepAliveOnce(t.Context(), lease.ID); err != nil {
		t.Errorf("renew: %v", err)
	}
	if got := get(t, second, "session"); got != "s" {
		t.Errorf("the session's key is %q", got)
	}
	put(t, second, "later", "v")
	if e := <-events; len(e.Events) != 1 || string(e.Events[0].Kv.Value) != "v" {
		t.Errorf("the watch says %+v", e)
	}
	if second.Client() != c || len(second.Endpoints()) != 1 || second.Endpoints()[0] != second.server.Load().Endpoints()[0] {
		t.Errorf("it serves at %q", second.Endpoints())
	}
}

func TestSharerTakesOverFromAKilledServer(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "serve", dir)
	h.next()
	core, seen := observer.New(zap.WarnLevel)
	s, err := Join(t.Context(), dir, zap.New(core))
	if err != nil {
		t.Fatal(err)
	}
	defer leave(t, s)
	put(t, s, "key", "value")
	socket, _, _ := look(dir)
	h.kill()
	if got := get(t, s, "key"); got != "value" {
		t.Errorf("the key is %q after the server was killed", got)
	}
	if serving(s) != 1 {
		t.Error("who serves?")
	}
	if _, err := os.Stat(socket.SocketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the killed one's socket: %v", err)
	}
	wantInUse(t, dir, os.Getpid(), Serving)
	for _, e := range seen.All() {
		t.Errorf("logged %s", e.Message)
	}
}

func TestFrozenHolderIsNamedWithinTwoSeconds(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "serve", dir)
	h.next()
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	pid := h.cmd.Process.Pid
	for name, open := range map[string]func() error{
		"Join": func() error {
			_, err := Join(t.Context(), dir, nil)
			return err
		},
		"Visit": func() error {
			_, _, err := Visit(t.Context(), dir)
			return err
		},
	} {
		begin := time.Now()
		err := open()
		took := time.Since(begin)
		inUse, ok := errors.AsType[*InUseError](err)
		if !ok || inUse.PID != pid || !inUse.Silent || inUse.Dir != dir {
			t.Errorf("%s: %v, want an InUseError of %d", name, err, pid)
		}
		if took > 2*time.Second {
			t.Errorf("%s took %v, want less than 2 s", name, took)
		}
	}
	if err := h.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	put(t, joined(t, dir), "key", "value")
}

func TestJoinNamesAHolderThatSaysNothing(t *testing.T) {
	dir := t.TempDir()
	hold(t, dir, Holder{PID: 4711})
	begin := time.Now()
	_, err := Join(t.Context(), dir, nil)
	if inUse, ok := errors.AsType[*InUseError](err); !ok || inUse.PID != 4711 {
		t.Errorf("Join: %v, want an InUseError of 4711", err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("Join took %v, want less than 2 s", took)
	}
}

func TestJoinWaitsForHolderThatStartsOrStops(t *testing.T) {
	for _, state := range []State{Starting, Stopping} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			f := hold(t, dir, Holder{PID: os.Getpid(), State: state})
			time.AfterFunc(2500*time.Millisecond, func() { f.Close() })
			put(t, joined(t, dir), "key", "")
		})
	}
}

func TestWaitingToJoinEndsWithTheContext(t *testing.T) {
	dir := t.TempDir()
	hold(t, dir, Holder{PID: os.Getpid(), State: Starting})
	ctx, cancel := contextEndingAfter(t, 50*time.Millisecond)
	defer cancel()
	if _, err := Join(ctx, dir, nil); !errors.Is(err, errWaitedEnough) {
		t.Errorf("Join: %v, want the context's cause", err)
	}
}

func TestVisitorsNeverServe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if s, ok, err := Visit(t.Context(), dir); s != nil || ok || err != nil {
		t.Errorf("Visit of nothing: %v, %v, %v", s, ok, err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v, want none", err)
	}
	first := joined(t, dir)
	put(t, first, "key", "value")
	v, ok, err := Visit(t.Context(), dir)
	if err != nil || !ok {
		t.Fatalf("Visit: %v, %v", ok, err)
	}
	defer leave(t, v)
	if got := get(t, v, "key"); got != "value" {
		t.Errorf("it reads %q", got)
	}
	leave(t, first)
	if s, ok, err := Visit(t.Context(), dir); s != nil || ok || err != nil {
		t.Errorf("Visit when all have left: %v, %v, %v", s, ok, err)
	}
	joined(t, dir) // the visitor that was there is still there
	if got := get(t, v, "key"); got != "value" {
		t.Errorf("it reads %q from the next one", got)
	}
	if serving(v) != 0 {
		t.Error("the visitor serves")
	}
}

func TestVisitorWaitsForWhoTakesOver(t *testing.T) {
	dir := t.TempDir()
	f, err := join(t.Context(), dir) // one of those who wait for their turn
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	visited := make(chan error, 1)
	go func() {
		v, ok, err := Visit(t.Context(), dir)
		if err == nil && !ok {
			err = errNobody
		}
		if ok {
			_, err = v.Client().Get(t.Context(), "key")
			leave(t, v)
		}
		visited <- err
	}()
	select {
	case err := <-visited:
		t.Fatalf("Visit between two holders: %v, want it to wait", err)
	case <-time.After(300 * time.Millisecond):
	}
	joined(t, dir)
	if err := <-visited; err != nil {
		t.Errorf("Visit: %v", err)
	}
}

func TestRemovedDirectoryIsNotServedAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	h := startHelper(t, "serve", dir)
	h.next()
	s := joined(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	h.kill()
	if err := died(t, s); !errors.Is(err, errDirGone) {
		t.Errorf("Err: %v, want that the directory is gone", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory: %v, want none", err)
	}
}

// committed has etcd write what it holds back for a moment into its database,
// which a snapshot begins with. Without it the database may still be empty.
func committed(t *testing.T, s *Share) {
	t.Helper()
	snapshot, err := s.Client().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	if _, err := io.Copy(io.Discard, snapshot); err != nil {
		t.Fatal(err)
	}
}

func TestTakeOverOfDamagedDataIsReported(t *testing.T) {
	dir := t.TempDir()
	h := startHelper(t, "serve", dir)
	h.next()
	s := joined(t, dir)
	put(t, s, "key", "")
	committed(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "etcd", "member", "wal")); err != nil {
		t.Fatal(err)
	}
	h.kill()
	err := died(t, s)
	if fatal, ok := errors.AsType[*FatalError](err); !ok || !errors.Is(fatal, errLogMissing) {
		t.Errorf("Err: %v, want what is damaged", err)
	}
}

func TestStopWhileTakingOver(t *testing.T) {
	for _, after := range []time.Duration{0, 5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond} {
		dir := t.TempDir()
		first, second := joined(t, dir), joined(t, dir)
		leave(t, first)
		<-time.After(after)
		leave(t, second)
		if _, held, err := look(dir); held || err != nil {
			t.Errorf("after %v: held %v, %v", after, held, err)
		}
		select {
		case err := <-second.Err():
			t.Errorf("after %v: Err delivered %v, want nothing after Stop", after, err)
		default:
		}
	}
}
