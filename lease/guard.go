package lease

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// holding is what a session has in etcd: a lease and a key on it.
type holding struct {
	client  *clientv3.Client
	lease   clientv3.LeaseID
	key     string
	created int64  // the key's CreateRevision
	cluster uint64 // the id of the cluster that it was put in

	revision atomic.Int64 // the newest that a linearizable answer has shown
}

// guard is written here only: what protects a claim is what the session
// checks itself by.
//
// Every transaction of a node has it. clientv3.Compare would make a copy by
// reflection, so the two are filled in here.
func (h *holding) guard() []clientv3.Cmp {
	created, lease := clientv3.CreateRevision(h.key), clientv3.LeaseValue(h.key)
	c, l := created.GetCompare(), lease.GetCompare()
	c.Result, c.TargetUnion = pb.Compare_EQUAL, &pb.Compare_CreateRevision{CreateRevision: h.created}
	l.Result, l.TargetUnion = pb.Compare_EQUAL, &pb.Compare_Lease{Lease: int64(h.lease)}
	return []clientv3.Cmp{created, lease}
}

func (h *holding) renew(ctx context.Context) (time.Duration, error) {
	// Not with WithRequireLeader: a member without a leader then refuses at
	// once, and KeepAliveOnce asks it again without a pause. As it is, the
	// member waits for its leader.
	resp, err := h.client.KeepAliveOnce(ctx, h.lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, lost(errExpired)
	case err != nil:
		return 0, fmt.Errorf("renew: %w", err)
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

func (h *holding) check(ctx context.Context) error {
	return h.txn(ctx)
}

// put rewrites the key's value. A plain put would detach the key from its
// lease, and the session would never expire.
func (h *holding) put(ctx context.Context, value []byte) error {
	return h.txn(ctx, clientv3.OpPut(h.key, string(value), clientv3.WithIgnoreLease()))
}

// txn commits ops under the guard. If etcd refuses, the error says what became
// of the key, and wraps ErrLost.
func (h *holding) txn(ctx context.Context, ops ...clientv3.Op) error {
	// The newest revision that was known before the request was sent: answers
	// to concurrent requests may overtake each other.
	seen := h.revision.Load()
	resp, err := h.client.Txn(ctx).
		If(h.guard()...).
		Then(ops...).
		Else(clientv3.OpGet(h.key, clientv3.WithKeysOnly())).
		Commit()
	if err != nil {
		return err
	}
	if resp.Header.GetClusterId() != h.cluster {
		return lost(errCluster)
	}
	if resp.Header.GetRevision() < seen {
		return lost(errHistory)
	}
	h.saw(resp.Header.GetRevision())
	if !resp.Succeeded {
		return lost(h.whatBecame(resp.Responses[0].GetResponseRange()))
	}
	return nil
}

func (h *holding) saw(revision int64) {
	for {
		seen := h.revision.Load()
		if revision <= seen || h.revision.CompareAndSwap(seen, revision) {
			return
		}
	}
}

func (h *holding) whatBecame(found *pb.RangeResponse) error {
	switch kvs := found.GetKvs(); {
	case len(kvs) == 0:
		return errDeleted
	case kvs[0].CreateRevision != h.created:
		return errReplaced
	default:
		return errDetached
	}
}
