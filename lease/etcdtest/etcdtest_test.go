package etcdtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

func TestSharedServerAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	key := etcdtest.Namespace(t) + "/k"
	if _, err := etcdtest.Client(t).Put(ctx, key, "v"); err != nil {
		t.Fatal(err)
	}
	got, err := etcdtest.Client(t).Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("got %v, want the value v", got.Kvs)
	}
}

func TestNamespaceIsLegalAndUnique(t *testing.T) {
	t.Run("50 % of / a name that is a good deal longer than 64 bytes, with ümlauts", func(t *testing.T) {
		a, b := etcdtest.Namespace(t), etcdtest.Namespace(t)
		if a == b {
			t.Fatalf("the same namespace twice: %q", a)
		}
		if len(a) < 1 || len(a) > 64 {
			t.Fatalf("namespace %q has %d bytes, want 1 to 64", a, len(a))
		}
		for _, r := range a {
			if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
				t.Fatalf("namespace %q contains %q", a, r)
			}
		}
	})
}

func TestRestartKeepsDataAndAddress(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := etcdtest.New(t)
	c := s.Client(t)
	endpoint := s.Endpoint()
	if _, err := c.Put(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	watch := c.Watch(ctx, "k") // an open stream must not slow the stop down
	begin := time.Now()
	s.Stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Stop took %v: it waited for a client's stream", took)
	}
	s.Stop()
	s.Restart()
	if s.Endpoint() != endpoint {
		t.Errorf("endpoint %q, was %q", s.Endpoint(), endpoint)
	}
	got, err := c.Get(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("got %v after the restart, want the value v", got.Kvs)
	}
	cancel()
	for range watch {
	}
}
