package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

// patience bounds every wait for something that must happen, on a slow machine.
const patience = 30 * time.Second

func records(namespace string) func(string) (Record, Record) {
	return func(sid string) (session, node Record) {
		return Record{Key: namespace + "/session/" + sid, Value: []byte("session of " + sid)},
			Record{Key: namespace + "/node/" + sid, Value: []byte("node of " + sid)}
	}
}

// open opens a session with the smallest TTL, 2 s, and closes it with t.
func open(t *testing.T, client *clientv3.Client) *Session {
	t.Helper()
	return openFor(t, client, 2*time.Second)
}

func openFor(t *testing.T, client *clientv3.Client, ttl time.Duration) *Session {
	t.Helper()
	s, err := Open(t.Context(), client, Options{TTL: ttl, Records: records(etcdtest.Namespace(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abandon)
	return s
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// read returns the key as etcd has it, nil if it has not.
func read(t *testing.T, client *clientv3.Client, key string) *struct {
	Value string
	Lease clientv3.LeaseID
} {
	t.Helper()
	resp, err := client.Get(limited(t), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return &struct {
		Value string
		Lease clientv3.LeaseID
	}{string(resp.Kvs[0].Value), clientv3.LeaseID(resp.Kvs[0].Lease)}
}

func put(t *testing.T, client *clientv3.Client, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := client.Put(limited(t), key, value, opts...); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, client *clientv3.Client, key string) {
	t.Helper()
	if _, err := client.Delete(limited(t), key); err != nil {
		t.Fatal(err)
	}
}

func TestOpenPutsSessionOnItsLeaseAndNodeOnNone(t *testing.T) {
	client := etcdtest.Client(t)
	namespace := etcdtest.Namespace(t)
	s, err := Open(t.Context(), client, Options{TTL: 2*time.Second + time.Nanosecond, Records: records(namespace)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abandon)

	if len(s.ID()) != 16 || s.ID() != fmt.Sprintf("%016x", int64(s.Lease())) {
		t.Errorf("id %q of lease %x, want it in 16 digits", s.ID(), int64(s.Lease()))
	}
	if s.TTL() != 3*time.Second {
		t.Errorf("TTL %v, want 3s: rounded up", s.TTL())
	}
	if want := namespace + "/session/" + s.ID(); s.Key() != want {
		t.Errorf("key %q, want %q", s.Key(), want)
	}
	resp, err := client.Get(limited(t), s.Key())
	if err != nil {
		t.Fatal(err)
	}
	kv := resp.Kvs[0]
	if string(kv.Value) != "session of "+s.ID() || clientv3.LeaseID(kv.Lease) != s.Lease() || kv.CreateRevision != s.CreateRevision() {
		t.Errorf("etcd has %v, want the session's record on lease %d, made at %d", kv, s.Lease(), s.CreateRevision())
	}
	node := read(t, client, namespace+"/node/"+s.ID())
	if node == nil || node.Value != "node of "+s.ID() || node.Lease != clientv3.NoLease {
		t.Errorf("etcd has %v, want the node's record on no lease", node)
	}
	if !s.Alive() || s.Err() != nil {
		t.Errorf("alive %v, error %v", s.Alive(), s.Err())
	}
}

func TestOpenReportsAllFaultsOfItsOptions(t *testing.T) {
	_, err := Open(t.Context(), nil, Options{TTL: -1})
	if err == nil || !strings.Contains(err.Error(), "TTL") || !strings.Contains(err.Error(), "Records") {
		t.Errorf("got %v, want both TTL and Records in it", err)
	}
}

func TestOpenThatFailsRevokesItsLease(t *testing.T) {
	s := etcdtest.New(t) // of its own, as leases are counted
	client := s.Client(t)
	taken := func(string) (Record, Record) { return Record{Key: "taken"}, Record{Key: "node"} }
	put(t, client, "taken", "")
	if _, err := Open(t.Context(), client, Options{Records: taken}); err == nil {
		t.Fatal("opened over a key that exists")
	}
	if got := read(t, client, "node"); got != nil {
		t.Errorf("the node's record was put: %v", got)
	}
	leases, err := client.Leases(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(leases.Leases) != 0 {
		t.Errorf("%d leases are left", len(leases.Leases))
	}
}

func TestRenewalsOutliveTheTTL(t *testing.T) {
	t.Parallel()
	client := etcdtest.Client(t)
	s := open(t, client)
	opened := time.Now()
	for time.Since(opened) < 2*s.TTL() {
		last := s.Deadline()
		await(t, "a renewal", s.Renewed())
		if !s.Deadline().After(last) {
			t.Fatalf("renewed, but the deadline is %v after %v", s.Deadline(), last)
		}
	}
	if !s.Alive() {
		t.Errorf("after twice its TTL: %v", s.Err())
	}
	if got := read(t, client, s.Key()); got == nil || got.Lease != s.Lease() {
		t.Errorf("etcd has %v, want the key on its lease", got)
	}
}

func TestDoneClosesWhenEtcdSaysTheSessionIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		strike func(*testing.T, *clientv3.Client, *Session)
		want   error
	}{
		"lease revoked": {func(t *testing.T, client *clientv3.Client, s *Session) {
			if _, err := client.Revoke(limited(t), s.Lease()); err != nil {
				t.Fatal(err)
			}
		}, errExpired},
		"key deleted": {func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
		}, errDeleted},
		"key detached by a plain put": {func(t *testing.T, client *clientv3.Client, s *Session) {
			put(t, client, s.Key(), "mine now")
		}, errDetached},
		"key deleted and put again": {func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
			put(t, client, s.Key(), "again", clientv3.WithLease(s.Lease()))
		}, errReplaced},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := etcdtest.Client(t)
			s := open(t, client)
			c.strike(t, client, s)
			await(t, "Done", s.Done())
			if !errors.Is(s.Err(), ErrLost) || !errors.Is(s.Err(), c.want) {
				t.Errorf("got %v, want %v", s.Err(), c.want)
			}
			if s.Alive() {
				t.Error("it is alive")
			}
		})
	}
}

func TestCloseRevokesOnceAndForAll(t *testing.T) {
	client := etcdtest.Client(t)
	s := open(t, client)
	errs := make(chan error)
	for range 3 {
		go func() { errs <- s.Close(limited(t)) }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := s.Close(limited(t)); err != nil {
		t.Error(err)
	}
	if got := read(t, client, s.Key()); got != nil {
		t.Errorf("etcd still has %v", got)
	}
	await(t, "Done", s.Done())
	if !errors.Is(s.Err(), ErrClosed) || errors.Is(s.Err(), ErrLost) {
		t.Errorf("got %v, want ErrClosed", s.Err())
	}
	if s.Alive() {
		t.Error("it is alive")
	}
	s.Abandon()
}

func TestCloseOfWhatIsGoneSucceedsAndKeepsTheCause(t *testing.T) {
	client := etcdtest.Client(t)
	s := open(t, client)
	if _, err := client.Revoke(limited(t), s.Lease()); err != nil {
		t.Fatal(err)
	}
	await(t, "Done", s.Done())
	if err := s.Close(limited(t)); err != nil {
		t.Error(err)
	}
	if !errors.Is(s.Err(), ErrLost) {
		t.Errorf("got %v, want that it was lost", s.Err())
	}
}

func TestCloseThatCannotRevokeSaysSoAndMayBeRepeated(t *testing.T) {
	client := etcdtest.Client(t)
	s := openFor(t, client, time.Minute)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that its context was cancelled", err)
	}
	if s.Alive() {
		t.Error("it is alive")
	}
	if got := read(t, client, s.Key()); got == nil {
		t.Fatal("it was revoked")
	}
	if err := s.Close(limited(t)); err != nil {
		t.Error(err)
	}
	if got := read(t, client, s.Key()); got != nil {
		t.Errorf("etcd still has %v", got)
	}
}

func TestAbandonLeavesTheSessionToItsTTL(t *testing.T) {
	t.Parallel()
	client := etcdtest.Client(t)
	s := open(t, client)
	s.Abandon()
	if !errors.Is(s.Err(), ErrClosed) {
		t.Errorf("got %v, want ErrClosed", s.Err())
	}
	if got := read(t, client, s.Key()); got == nil {
		t.Error("etcd has no key any more")
	}
	gone := client.Watch(limited(t), s.Key(), clientv3.WithRev(s.CreateRevision()+1))
	if resp, ok := <-gone; !ok || len(resp.Events) != 1 || resp.Events[0].Type != clientv3.EventTypeDelete {
		t.Errorf("got %v, want the key to expire", resp)
	}
}

func TestSessionOutlivesTheContextOfOpen(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Open(ctx, etcdtest.Client(t), Options{TTL: 2 * time.Second, Records: records(etcdtest.Namespace(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abandon)
	cancel()
	await(t, "a renewal", s.Renewed())
}

func TestOpenFailsInTimeWhenItsContextEnds(t *testing.T) {
	server := etcdtest.New(t)
	client := server.Client(t)
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, client, Options{Records: records("x")})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a deadline exceeded", err)
	}
}

// The promise to the world outside etcd: work is told to stop before it can be
// taken over.
func TestDeadlinePassesBeforeEtcdExpiresTheSession(t *testing.T) {
	t.Parallel()
	server := etcdtest.New(t)
	observer := server.Client(t)
	proxy := newProxy(t, server.Endpoint())
	s := openFor(t, proxy.client(t), 4*time.Second)
	await(t, "a renewal", s.Renewed())
	proxy.cut()
	await(t, "Done", s.Done())
	if got := read(t, observer, s.Key()); got == nil {
		t.Error("etcd had expired the session before it was over here")
	}
	if !errors.Is(s.Err(), errDeadline) {
		t.Errorf("got %v, want the deadline", s.Err())
	}
	if time.Now().Before(s.Deadline()) {
		t.Errorf("it ended %v before its deadline", time.Until(s.Deadline()))
	}
	for watch := observer.Watch(limited(t), s.Key(), clientv3.WithRev(s.CreateRevision()+1)); ; {
		resp, ok := <-watch
		if !ok {
			t.Fatal("etcd did not expire the session")
		}
		if len(resp.Events) > 0 && resp.Events[0].Type == clientv3.EventTypeDelete {
			break
		}
	}
}

func TestSessionOutlivesARestartOfEtcd(t *testing.T) {
	t.Parallel()
	server := etcdtest.New(t)
	s := openFor(t, server.Client(t), 6*time.Second)
	server.Restart()
	last := s.Deadline()
	for !s.Deadline().After(last) {
		await(t, "a renewal", s.Renewed())
	}
	if !s.Alive() {
		t.Error(s.Err())
	}
}

// A backup that was restored without --bump-revision shows older revisions
// than were seen.
func TestHistoryThatWentBackEndsTheSession(t *testing.T) {
	t.Parallel()
	client := etcdtest.Client(t)
	s := open(t, client)
	s.saw(1 << 40)
	await(t, "Done", s.Done())
	if !errors.Is(s.Err(), errHistory) {
		t.Errorf("got %v, want a history that went back", s.Err())
	}
}

func TestAnotherClusterEndsTheSession(t *testing.T) {
	client := etcdtest.Client(t)
	s := openFor(t, client, time.Minute) // no renewal is due while the test pretends
	s.cluster++
	if err := s.Put(limited(t), []byte("x")); !errors.Is(err, errCluster) {
		t.Errorf("got %v, want another cluster", err)
	}
	if !errors.Is(s.Err(), ErrLost) {
		t.Errorf("got %v, want it lost", s.Err())
	}
}
