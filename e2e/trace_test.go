package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// trace reads every revision of a namespace, from outside: with a plain client of etcd, to whose members no fault keeps
// it from, and shows each to a verifier.
type trace struct {
	client *clientv3.Client
	stop   context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex // guards the rest
	verifier *verifier
	seen     int64 // revision
	err      error
}

// sentinel is a key outside of every namespace: once its put is seen, all before it was.
const sentinel = "e2e/now"

// follow begins with the next revision.
func follow(t *testing.T, client *clientv3.Client, namespace string) *trace {
	t.Helper()
	now, err := client.Get(t.Context(), sentinel)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	tr := &trace{client: client, stop: stop, ended: make(chan struct{}), verifier: newVerifier(namespace)}
	tr.seen = now.Header.Revision
	go func() {
		defer close(tr.ended)
		tr.read(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-tr.ended
	})
	return tr
}

// read goes on over the ends of watches: a member may die, or lose its leader.
func (tr *trace) read(ctx context.Context) {
	for ctx.Err() == nil {
		watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		// The whole keyspace: what is unheard of goes by quickly.
		for resp := range tr.client.Watch(watching, "\x00", clientv3.WithFromKey(), clientv3.WithRev(tr.next())) {
			if resp.CompactRevision != 0 {
				tr.fail(fmt.Errorf("revisions up to %d were compacted before they were read", resp.CompactRevision))
				cancel()
				return
			}
			if resp.Err() != nil {
				break
			}
			tr.take(resp.Events)
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // before the next watch
		}
	}
}

func (tr *trace) next() int64 {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.seen + 1
}

func (tr *trace) fail(err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.err = errors.Join(tr.err, err)
}

// take groups events by revision. etcd does not spread one over several answers.
func (tr *trace) take(events []*clientv3.Event) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for len(events) > 0 {
		revision, n := events[0].Kv.ModRevision, 0
		var changes []keyChange
		for ; n < len(events) && events[n].Kv.ModRevision == revision; n++ {
			kv := events[n].Kv
			changes = append(changes, keyChange{key: string(kv.Key), gone: events[n].Type == mvccpb.DELETE, value: kv.Value, lease: kv.Lease})
		}
		tr.verifier.apply(revision, changes)
		tr.seen, events = revision, events[n:]
	}
}

// upToDate waits until all that has happened was read.
func (tr *trace) upToDate(t *testing.T) {
	t.Helper()
	var put *clientv3.PutResponse
	eventually(t, "a put", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var err error
		put, err = tr.client.Put(ctx, sentinel, "")
		return err == nil
	})
	eventually(t, "the trace to be up to date", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return tr.seen >= put.Header.Revision || tr.err != nil
	})
}

// with lets f look at the verifier, which must not be kept.
func (tr *trace) with(f func(*verifier)) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	f(tr.verifier)
}
