package registry

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

// registryOn opens a registry with a namespace of its own.
func registryOn(t *testing.T, client *clientv3.Client, o Options) *Registry {
	t.Helper()
	if o.Namespace == "" {
		o.Namespace = etcdtest.Namespace(t)
	}
	r, err := Open(t.Context(), client, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func newRegistry(t *testing.T) *Registry {
	t.Helper()
	return registryOn(t, etcdtest.Client(t), Options{})
}

// join opens a session that lasts as long as the test, unless it is ended.
func join(t *testing.T, r *Registry, node string) *Session {
	t.Helper()
	s, err := r.OpenSession(t.Context(), NodeInfo{Name: node, Queues: []string{"default"}, Max: 8}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { leave(t, s) })
	return s
}

// leave ends a session as etcd would end one that was not renewed.
func leave(t *testing.T, s *Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

func start(t *testing.T, r *Registry, id string, opts ...StartOption) {
	t.Helper()
	s := Spec{ID: id, Kind: "k", Disposition: Rerunnable}
	if _, err := r.Start(t.Context(), s.With(opts...)); err != nil {
		t.Fatal(err)
	}
}

// pending lists everything that may be claimed.
func pending(t *testing.T, r *Registry) []Entry {
	t.Helper()
	entries, _, err := r.Window([]string{"default"}, []string{"k"}).List(t.Context(), 1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func entryOf(t *testing.T, r *Registry, id string) Entry {
	t.Helper()
	for _, e := range pending(t, r) {
		if e.ID == id {
			return e
		}
	}
	t.Fatalf("%s is not pending", id)
	return Entry{}
}

// claim takes the process and enters it.
func claim(t *testing.T, r *Registry, s *Session, id string) *Claim {
	t.Helper()
	c, err := r.Claim(t.Context(), s, entryOf(t, r, id))
	if err != nil {
		t.Fatal(err)
	}
	c.Enter()
	return c
}

// orphanOf lists the orphan with this id.
func orphanOf(t *testing.T, r *Registry, id string) Orphan {
	t.Helper()
	orphans, err := r.Orphans(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range orphans {
		if o.ID == id {
			return o
		}
	}
	t.Fatalf("%s is not an orphan", id)
	return Orphan{}
}

func lookAt(t *testing.T, r *Registry, id string) Process {
	t.Helper()
	p, err := r.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wants fails unless the process has this status and these counters.
func wants(t *testing.T, r *Registry, id string, status Status, attempt, errs, adoptions, snoozes int) Process {
	t.Helper()
	p := lookAt(t, r, id)
	if p.Status != status || p.Attempt != attempt || p.Errors != errs || p.Adoptions != adoptions || p.Snoozes != snoozes {
		t.Fatalf("%s is %s, attempt %d, %d errors, %d adoptions, %d snoozes; want %s, %d, %d, %d, %d", id,
			p.Status, p.Attempt, p.Errors, p.Adoptions, p.Snoozes, status, attempt, errs, adoptions, snoozes)
	}
	return p
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("the error is %v, want %v", err, want)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keysUnder lists every key of the registry under one prefix.
func keysUnder(t *testing.T, r *Registry, prefix string) []string {
	t.Helper()
	resp, err := r.client.Get(t.Context(), r.keys.root+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, len(resp.Kvs))
	for i, kv := range resp.Kvs {
		keys[i] = string(kv.Key[len(r.keys.root):])
	}
	return keys
}

// write puts what drover did not.
func write(t *testing.T, r *Registry, key, value string) {
	t.Helper()
	if _, err := r.client.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func input(raw string) StartOption {
	return func(s *Spec) { s.Input = json.RawMessage(raw) }
}

// givenUp makes a call whose request is held back, and whose caller gives it
// up. What it returns lets the request land.
func givenUp(t *testing.T, wire *wire, call func(context.Context) error) (land func() error) {
	t.Helper()
	ctx, giveUp := context.WithCancel(t.Context())
	wire.nextWrites(func(send func() error) error {
		land = send
		giveUp()
		return errCut
	})
	wantErr(t, call(ctx), ErrUnresolved)
	return land
}
