package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// expire makes a deadline's timer come true: a process that waits is failed,
// one that somebody holds is asked to be. It says whether it did something.
func (r *Registry) expire(ctx context.Context, timer *mvccpb.KeyValue, id string, due time.Time) (bool, error) {
	v, there, err := r.readPlace(ctx, id)
	if errors.Is(err, ErrNotFound) {
		err = &CorruptError{Key: string(timer.Key), Why: errors.New("there is no row for it")}
	}
	if err != nil {
		return false, fmt.Errorf("deadline of %s: %w", id, err)
	}
	nonce, err := newNonce()
	if err != nil {
		return false, err
	}
	tr, err := r.table.expire(timer, v, there, due, r.now(), nonce)
	if err != nil {
		return false, err
	}
	a, err := r.commit(ctx, tr)
	if err != nil {
		return false, fmt.Errorf("deadline of %s: %w", id, err)
	}
	return a.applied, nil // refused: it moved, and the timer is looked at again
}

// expire compares the timer in any case, so a deadline that the next series
// moved, or somebody else saw to, does nothing. v holds the row's key, the
// request and the places that the row speaks of.
func (t table) expire(timer *mvccpb.KeyValue, v view, there row, due, now time.Time, nonce string) (transition, error) {
	mine := asRead(string(timer.Key), timer.ModRevision)
	q := Request{What: RequestDeadline, At: now}
	if there.ended() || !there.DeadlineAt.Equal(due) {
		return t.expired(timer, there), nil
	}
	for _, place := range t.places(there) {
		if kv := v[place]; kv != nil {
			tr, err := t.endWaiting(kv, there, q.ending("", now), nonce)
			tr.name, tr.when = "deadline of "+there.ID, append(tr.when, mine)
			return tr, err
		}
	}
	if v[t.k.request(there.ID)] != nil {
		return t.expired(timer, there), nil // it is asked to end already
	}
	tr, err := t.request(v, there, q)
	tr.name = "deadline of " + there.ID
	tr.when, tr.then = append(tr.when, mine), append(tr.then, remove(string(timer.Key)))
	return tr, err
}

// expired drops a timer that has nothing to say any more.
func (t table) expired(timer *mvccpb.KeyValue, there row) transition {
	key := string(timer.Key)
	return transition{
		name: "drop the deadline of " + there.ID, id: there.ID,
		when:    []clientv3.Cmp{asRead(key, timer.ModRevision)},
		then:    []clientv3.Op{remove(key)},
		applied: func(view) bool { return false },
	}
}
