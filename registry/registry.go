package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Registry is the rows in etcd and their legal transitions. It is made by
// [Open] and safe for use by any number of goroutines.
type Registry struct {
	client  *clientv3.Client
	options Options
	log     *zap.Logger
	keys    keys
	table   table
	seq     sequence
	waiting *waitingRoom
	batches *batching
	room    room
	spared  spared

	closed chan struct{}
	close  sync.Once
}

// Open makes a Registry on a client, which stays the caller's to close, after
// the Registry. It asks etcd for one key, so that an endpoint that does not
// answer is an error here and not at the first start.
//
// How soon etcd is used again after it was away is the client's affair, and no
// setting of drover's changes it: by itself a client waits for longer and longer
// between two tries to connect, up to two minutes, so that a node may be without
// etcd for as long as etcd was away once more. Give it other measures, in its
// clientv3.Config:
//
//	DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
//	DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
//		Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
//		MinConnectTimeout: 5 * time.Second,
//	})},
//
// The former has it notice a connection that is half-open. The command drover
// does the same.
func Open(ctx context.Context, client *clientv3.Client, o Options) (*Registry, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("open a registry: %w", err)
	}
	k := newKeys(o.Namespace)
	r := &Registry{
		client: client, options: o, log: o.Logger.Named("registry"),
		keys: k, table: table{k}, closed: make(chan struct{}),
	}
	r.waiting = newWaitingRoom(r)
	r.batches = newBatching(client, o.RequestTimeout)
	if _, err := r.read(ctx, get(k.root)); err != nil {
		return nil, fmt.Errorf("open a registry: %w", err)
	}
	return r, nil
}

// Client is the one that the Registry was opened on.
func (r *Registry) Client() *clientv3.Client { return r.client }

// Close ends what waits: Wait, and transitions that are sent again as etcd has
// not answered, with [ErrClosed]. It returns when the Registry's goroutines
// have ended. It closes neither the client nor a node that uses the Registry:
// stop that first. It may be called more than once, and never fails.
func (r *Registry) Close() error {
	r.close.Do(func() {
		close(r.closed)
		r.waiting.stop()
		r.batches.stop()
	})
	return nil
}

// Now is the wall clock by which due times are judged, [Options].Now.
func (r *Registry) Now() time.Time { return r.options.Now() }

// now is the wall clock as it is written: UTC, and without Go's monotonic
// reading, which would not survive being written and read back.
func (r *Registry) now() time.Time { return r.options.Now().UTC().Round(0) }

// read asks for several things at one revision, linearizably.
func (r *Registry) read(ctx context.Context, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	resp, err := r.client.Txn(ctx).Then(ops...).Commit()
	if err != nil {
		return nil, explain(err)
	}
	return resp, nil
}
