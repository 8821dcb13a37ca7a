package registry

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Writable asks etcd whether it takes writes. Nothing is written. The error is
// [ErrNoSpace], [ErrDenied] or [ErrUnavailable].
func (r *Registry) Writable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	// etcd refuses a transaction for what it could write, also when its
	// condition does not hold. This one never does.
	key := r.keys.root + "writable"
	_, err := r.client.Txn(ctx).If(clientv3.Compare(clientv3.Version(key), "<", 0)).Then(put(key, "never")).Commit()
	r.batches.note(err)
	if err != nil {
		return fmt.Errorf("see whether etcd takes writes: %w", explain(err))
	}
	return nil
}

// Unanswered is why etcd did not take the latest request to write, of this
// Registry: [ErrNoSpace] or [ErrUnavailable]. It is nil if it did, or refused
// what was asked for what it was. It sends nothing.
func (r *Registry) Unanswered() error {
	if err := r.batches.failing.Load(); err != nil {
		return explain(*err)
	}
	return nil
}
