package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// horizon is how far ahead of now Mature looks for the next due time. It
// bounds what etcd counts, however many processes wait for later.
const horizon = 2 * time.Second

// maturing is how many timers are matured at a time.
const maturing = 16

// Mature makes claimable what this node's clock calls due, at most limit of
// it, and says how many it was. next is the earliest due time that it saw
// beyond, within 2 s; zero if there is none. A timer that drover did not write
// is passed over: errors of that kind are a [*CorruptError] each, joined, and
// the others are matured all the same.
func (r *Registry) Mature(ctx context.Context, limit int) (matured int, next time.Time, err error) {
	now := r.options.Now()
	resp, err := r.read(ctx, clientv3.OpGet(r.keys.timers(),
		clientv3.WithRange(r.keys.timers()+ordinal(now.Add(horizon).UnixNano())), clientv3.WithLimit(int64(limit))))
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("list timers: %w", err)
	}
	timers := resp.Responses[0].GetResponseRange().Kvs
	done, failed := make([]bool, len(timers)), make([]error, len(timers))
	var sending errgroup.Group
	sending.SetLimit(maturing)
	for i, kv := range timers {
		due, _, _, ok := r.keys.parseTimer(string(kv.Key))
		if !ok {
			failed[i] = &CorruptError{Key: string(kv.Key), Why: errForeign}
			continue
		}
		if due.After(now) {
			next = due
			break
		}
		sending.Go(func() error {
			done[i], failed[i] = r.matureOne(ctx, kv)
			return nil
		})
	}
	_ = sending.Wait() // matureOne's errors are kept by timer
	for _, ok := range done {
		if ok {
			matured++
		}
	}
	return matured, next, errors.Join(failed...)
}

func (r *Registry) matureOne(ctx context.Context, timer *mvccpb.KeyValue) (bool, error) {
	_, id, _, _ := r.keys.parseTimer(string(timer.Key))
	e, ok := r.keys.parsePending(string(timer.Value))
	if !ok || e.ID != id {
		return false, &CorruptError{Key: string(timer.Key), Why: errForeign}
	}
	a, err := r.commit(ctx, r.table.mature(timer, e))
	if err != nil {
		return false, fmt.Errorf("mature %s: %w", e.ID, err)
	}
	return a.applied, nil
}

// mature exchanges a timer for pending. That no request stands holds by the
// rule of whoever put the timer.
func (t table) mature(timer *mvccpb.KeyValue, e Entry) transition {
	key, pending := string(timer.Key), t.k.pending(e)
	return transition{
		name:      "mature " + e.ID,
		when:      []clientv3.Cmp{asRead(key, timer.ModRevision)},
		then:      []clientv3.Op{remove(key), put(pending, "{}")},
		otherwise: nil,
		// That the timer is gone is all that anybody wanted, whoever did it.
		applied: func(view) bool { return false },
	}
}
