package etcdserver

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func dial(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestRestartKeepsDataAndLeases(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := serve(t, Options{Dir: dir})
	lease, err := s.Client().Grant(ctx, 600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Client().Put(ctx, "kept", "value", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	stop(t, s)

	s = serve(t, Options{Dir: dir})
	got, err := s.Client().Get(ctx, "kept")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "value" || got.Kvs[0].Lease != int64(lease.ID) {
		t.Errorf("after the restart: %v, want value on lease %x", got.Kvs, lease.ID)
	}
	left, err := s.Client().TimeToLive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if left.GrantedTTL != 600 || left.TTL < 500 {
		t.Errorf("the lease has %d of %d s left, want all of 600", left.TTL, left.GrantedTTL)
	}
}

func TestDataDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	s := serve(t, Options{Dir: dir})
	for _, path := range []string{dir, filepath.Join(dir, "etcd"), s.socketDir} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", path, info.Mode().Perm())
		}
	}
}

func TestEndpointsServePlainClients(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir(), Listen: "localhost:0"})
	if len(s.Endpoints()) != 2 || !strings.HasPrefix(s.Endpoints()[0], "http://127.0.0.1:") ||
		!strings.HasPrefix(s.Endpoints()[1], "unix:///") {
		t.Fatalf("endpoints %q, want a TCP one and a socket", s.Endpoints())
	}
	if strings.HasSuffix(s.Endpoints()[0], ":0") {
		t.Errorf("endpoint %s, want the real port", s.Endpoints()[0])
	}
	for _, e := range s.Endpoints() {
		if _, err := dial(t, e).Put(t.Context(), "key", e); err != nil {
			t.Errorf("put through %s: %v", e, err)
		}
	}
}

func TestAllInterfacesAreFoundOnLoopback(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir(), Listen: ":0"})
	if !strings.HasPrefix(s.Endpoints()[0], "http://127.0.0.1:") {
		t.Errorf("endpoint %s, want one on 127.0.0.1", s.Endpoints()[0])
	}
	if _, err := dial(t, s.Endpoints()[0]).Put(t.Context(), "key", ""); err != nil {
		t.Error(err)
	}
}

func TestWithoutListenThereIsOnlyTheSocket(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir()})
	if len(s.Endpoints()) != 1 || !strings.HasPrefix(s.Endpoints()[0], "unix:///") {
		t.Errorf("endpoints %q, want one socket", s.Endpoints())
	}
}

func TestTakenPortLeavesNothingBehind(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tmp, dir, addr := t.TempDir(), t.TempDir(), l.Addr().String()
	t.Setenv("TMPDIR", tmp)

	_, err = Start(t.Context(), Options{Dir: dir, Listen: addr})
	var taken *PortError
	if !errors.As(err, &taken) || taken.Addr != addr {
		t.Fatalf("Start: %v, want a PortError of %s", err, addr)
	}
	if !strings.Contains(err.Error(), "--etcd-listen 127.0.0.1:0") {
		t.Errorf("%q does not name the alternative", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("etcd's directory: %v, want none", err)
	}
	if left, _ := os.ReadDir(tmp); len(left) != 0 {
		t.Errorf("%v is left in the temporary directory", left)
	}
	if holder, _, err := look(dir); err != nil || holder.PID != 0 {
		t.Errorf("held by %+v, %v, want nobody", holder, err)
	}

	l.Close()
	serve(t, Options{Dir: dir, Listen: addr})
}

func TestBadListenAddressIsAnError(t *testing.T) {
	for _, listen := range []string{"127.0.0.1", "127.0.0.1:port", "127.0.0.1:70000", "no host:1", "192.0.2.1:0"} {
		_, err := Start(t.Context(), Options{Dir: t.TempDir(), Listen: listen})
		if err == nil || !strings.Contains(err.Error(), listen) {
			t.Errorf("Start on %q: %v, want an error that names it", listen, err)
		}
	}
}

func TestStopDoesNotWaitForOtherConnections(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, e := range s.Endpoints() {
		c := dial(t, e)
		<-c.Watch(ctx, "key", clientv3.WithCreatedNotify())
		lease, err := c.Grant(ctx, 60)
		if err != nil {
			t.Fatal(err)
		}
		alive, err := c.KeepAlive(ctx, lease.ID)
		if err != nil {
			t.Fatal(err)
		}
		<-alive
		// One on which nobody ever says anything.
		network, addr, _ := strings.Cut(e, "://")
		network = strings.Replace(network, "http", "tcp", 1)
		silent, err := net.Dial(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
	}
	eventually(t, "gRPC has all four connections", func() bool {
		s.grpc.mu.Lock()
		defer s.grpc.mu.Unlock()
		return len(s.grpc.conns) == 4
	})
	local := s.Client().Watch(ctx, "key", clientv3.WithCreatedNotify())
	<-local

	begin := time.Now()
	stop(t, s)
	if took := time.Since(begin); took > time.Second {
		t.Errorf("Stop took %v, want less than a second", took)
	}
	for end := range local { // it is closed with the client
		t.Logf("the watch inside ended with %v", end.Err())
	}
}

func TestStopIsIdempotent(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir()})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { stop(t, s) })
	}
	wg.Wait()
	select {
	case err := <-s.Err():
		t.Errorf("Err delivered %v, want nothing after Stop", err)
	default:
	}
}

func TestStopGoesOnWhenItsContextEnds(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancelCause(t.Context())
	impatient := errors.New("impatient")
	cancel(impatient)
	if err := s.Stop(ctx); err != nil && !errors.Is(err, impatient) {
		t.Errorf("Stop: %v, want the context's cause or nothing", err)
	}
	stop(t, s)
}

func TestStopRemovesSocketAndRecord(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, Options{Dir: dir})
	stop(t, s)
	if _, err := os.Stat(s.socketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's directory: %v, want none", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "lock")); err != nil || len(b) != 0 {
		t.Errorf("the record is %q, %v, want it empty", b, err)
	}
}

func TestErrTellsThatTheServerDied(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir()})
	s.etcd.Server.HardStop()
	select {
	case err := <-s.Err():
		if err == nil {
			t.Error("Err delivered nil")
		}
	case <-time.After(limit):
		t.Error("Err delivered nothing")
	}
}

func TestCancelledStartCleansUp(t *testing.T) {
	enough := errors.New("enough")
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			tmp, dir := t.TempDir(), t.TempDir()
			t.Setenv("TMPDIR", tmp)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer time.AfterFunc(after, func() { cancel(enough) }).Stop()
			if after == 0 {
				cancel(enough)
			}
			s, err := Start(ctx, Options{Dir: dir, Listen: "127.0.0.1:0"})
			if err == nil && after > 0 { // quick enough
				stop(t, s)
			} else if !errors.Is(err, enough) {
				t.Errorf("Start: %v, want the context's cause", err)
			}
			if left, _ := os.ReadDir(tmp); len(left) != 0 {
				t.Errorf("%v is left in the temporary directory", left)
			}
			serve(t, Options{Dir: dir})
		})
	}
}

func TestOrdinaryLifeLogsNothing(t *testing.T) {
	core, seen := observer.New(zapcore.DebugLevel)
	s := serve(t, Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Logger: zap.New(core)})
	if _, err := dial(t, s.Endpoints()[0]).Put(t.Context(), "key", ""); err != nil {
		t.Fatal(err)
	}
	stop(t, s)
	for _, e := range seen.All() {
		t.Errorf("logged %s %s: %s", e.Level, e.LoggerName, e.Message)
	}
}

func TestWarningsReachTheLogger(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	s := serve(t, Options{Dir: t.TempDir(), Logger: zap.New(core)})
	s.etcd.GetLogger().Named("x").Warn("a warning")
	s.etcd.GetLogger().Info("no warning")
	all := seen.All()
	if len(all) != 1 || all[0].Message != "a warning" || all[0].LoggerName != "etcd.x" {
		t.Errorf("logged %v, want the warning alone", all)
	}
}
