package lease

import (
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

func passes(t *testing.T, client *clientv3.Client, guard []clientv3.Cmp) bool {
	t.Helper()
	resp, err := client.Txn(limited(t)).If(guard...).Commit()
	if err != nil {
		t.Fatal(err)
	}
	return resp.Succeeded
}

func TestGuardPassesOnlyWhileTheKeyIsMine(t *testing.T) {
	for name, strike := range map[string]func(*testing.T, *clientv3.Client, *Session){
		"deleted": func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
		},
		"deleted and put again on the same lease": func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
			put(t, client, s.Key(), "again", clientv3.WithLease(s.Lease()))
		},
		"detached": func(t *testing.T, client *clientv3.Client, s *Session) {
			put(t, client, s.Key(), "plain")
		},
		"moved to another lease": func(t *testing.T, client *clientv3.Client, s *Session) {
			other, err := client.Grant(limited(t), 60)
			if err != nil {
				t.Fatal(err)
			}
			put(t, client, s.Key(), "theirs", clientv3.WithLease(other.ID))
		},
		"closed": func(t *testing.T, _ *clientv3.Client, s *Session) {
			if err := s.Close(limited(t)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := etcdtest.Client(t)
			s := openFor(t, client, time.Minute)
			if !passes(t, client, s.Guard()) {
				t.Fatal("refused while alive")
			}
			if err := s.Put(limited(t), []byte("rewritten")); err != nil {
				t.Fatal(err)
			}
			if !passes(t, client, s.Guard()) {
				t.Fatal("refused after the session's own put")
			}
			strike(t, client, s)
			if passes(t, client, s.Guard()) {
				t.Fatal("passes although the key is not the session's")
			}
		})
	}
}

func TestGuardIsTheCallersToAppendTo(t *testing.T) {
	client := etcdtest.Client(t)
	s := openFor(t, client, time.Minute)
	_ = append(s.Guard()[:0], clientv3.Compare(clientv3.Version(s.Key()), "=", 99))
	if !passes(t, client, s.Guard()) {
		t.Error("what a caller did to its slice has changed the guard")
	}
}

func TestPutKeepsTheLease(t *testing.T) {
	client := etcdtest.Client(t)
	s := openFor(t, client, time.Minute)
	if err := s.Put(limited(t), []byte("draining")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, client, s.Key()); got == nil || got.Value != "draining" || got.Lease != s.Lease() {
		t.Errorf("etcd has %v, want the new value on the old lease", got)
	}
	if !s.Alive() {
		t.Error(s.Err())
	}
}

func TestPutIsRefusedWhenTheKeyIsNotMine(t *testing.T) {
	for name, c := range map[string]struct {
		strike func(*testing.T, *clientv3.Client, *Session)
		value  string
		want   error
	}{
		"deleted": {func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
		}, "", errDeleted},
		"put again": {func(t *testing.T, client *clientv3.Client, s *Session) {
			remove(t, client, s.Key())
			put(t, client, s.Key(), "theirs")
		}, "theirs", errReplaced},
		"detached": {func(t *testing.T, client *clientv3.Client, s *Session) {
			put(t, client, s.Key(), "theirs")
		}, "theirs", errDetached},
	} {
		t.Run(name, func(t *testing.T) {
			client := etcdtest.Client(t)
			s := openFor(t, client, time.Minute)
			c.strike(t, client, s)
			err := s.Put(limited(t), []byte("mine"))
			if !errors.Is(err, ErrLost) || !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			await(t, "Done", s.Done())
			if got := read(t, client, s.Key()); (got == nil) != (c.value == "") || got != nil && got.Value != c.value {
				t.Errorf("etcd has %v, want %q", got, c.value)
			}
		})
	}
}

func TestPutAfterCloseSendsNothing(t *testing.T) {
	client := etcdtest.Client(t)
	s := openFor(t, client, time.Minute)
	s.Abandon() // the key is there, on its lease, and the guard would pass
	if err := s.Put(limited(t), []byte("late")); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if got := read(t, client, s.Key()); got == nil || got.Value != "session of "+s.ID() {
		t.Errorf("etcd has %v, want what Open put", got)
	}
}
