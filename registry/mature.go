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

// defaultHorizon is how far ahead of now Mature looks for the next due time.
// A horizon bounds what etcd counts, however many processes wait for later.
const defaultHorizon = 2 * time.Second

// maturing is how many timers are matured at a time.
const maturing = 64

// Mature makes claimable what this node's clock calls due, at most limit of
// it, and sees to deadlines that have passed. It says how many it was. next is
// the earliest due time that it saw beyond, within 2 s; zero if there is none.
// A timer that drover did not write, or whose row can't be read, is passed
// over: errors of that kind are a [*CorruptError] each, joined, and the others
// are matured all the same.
func (r *Registry) Mature(ctx context.Context, limit int) (matured int, next time.Time, err error) {
	return r.MatureWithin(ctx, limit, defaultHorizon, func(string) time.Duration { return 0 })
}

// MatureWithin is Mature for one of several who do it, and come back later than
// in 2 s. left says for how long after its time the timer of a process is left
// to another; next is the earliest due time, within the horizon, of those that
// are left to nobody.
func (r *Registry) MatureWithin(
	ctx context.Context, limit int, horizon time.Duration, left func(id string) time.Duration,
) (matured int, next time.Time, err error) {
	now := r.options.Now()
	from, end := r.keys.timers(), r.keys.timers()+ordinal(now.Add(horizon).UnixNano())
	var failed []error
	for {
		resp, err := r.read(ctx, clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(int64(limit))))
		if err != nil {
			return matured, next, errors.Join(append(failed, fmt.Errorf("list timers: %w", err))...)
		}
		found := resp.Responses[0].GetResponseRange()
		n, ahead, errs := r.matureAll(ctx, found.Kvs, now, left)
		if found.More && n > 0 && ahead.IsZero() {
			ahead = now // there is more, with some of others' in between
		}
		matured, next, failed = matured+n, ahead, append(failed, errs...)
		// Timers that can't be read stay where they are, at the front. Others
		// must not wait behind them.
		if n > 0 || !ahead.IsZero() || !found.More || ctx.Err() != nil {
			return matured, next, errors.Join(failed...)
		}
		from = string(found.Kvs[len(found.Kvs)-1].Key) + "\x00"
	}
}

// matureAll matures those of the timers that are due and left to nobody. next
// is the first one that is not due.
func (r *Registry) matureAll(
	ctx context.Context, timers []*mvccpb.KeyValue, now time.Time, left func(id string) time.Duration,
) (matured int, next time.Time, failed []error) {
	done, errs := make([]bool, len(timers)), make([]error, len(timers))
	var sending errgroup.Group
	sending.SetLimit(maturing)
	for i, kv := range timers {
		due, id, _, ok := r.keys.parseTimer(string(kv.Key))
		if !ok {
			errs[i] = &CorruptError{Key: string(kv.Key), Why: errForeign}
			continue
		}
		wait := left(id)
		if due.After(now) && wait == 0 {
			next = due
			break
		}
		if due.Add(wait).After(now) {
			continue
		}
		sending.Go(func() error {
			done[i], errs[i] = r.matureOne(ctx, kv)
			return nil
		})
	}
	_ = sending.Wait() // matureOne's errors are kept by timer
	for i := range timers {
		if done[i] {
			matured++
		}
		if errs[i] != nil {
			failed = append(failed, errs[i])
		}
	}
	return matured, next, failed
}

func (r *Registry) matureOne(ctx context.Context, timer *mvccpb.KeyValue) (bool, error) {
	due, id, what, _ := r.keys.parseTimer(string(timer.Key))
	if what == dueDeadline {
		return r.expire(ctx, timer, id, due)
	}
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
	e.matured = true
	key, pending := string(timer.Key), t.k.pending(e)
	return transition{
		name:      "mature " + e.ID,
		id:        e.ID,
		idle:      true,
		when:      []clientv3.Cmp{asRead(key, timer.ModRevision)},
		then:      []clientv3.Op{remove(key), put(pending, e.value())},
		otherwise: nil,
		// That the timer is gone is all that anybody wanted, whoever did it.
		applied: func(view) bool { return false },
	}
}
