package registry

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Reopen begins a new series of a process that has ended: it may be claimed
// again at once, with its attempts numbered on, its history kept, and all
// other counters at zero. A deadline counts anew. [ErrNotFound] and
// [ErrNotEnded] are wrapped when there is nothing to open again. While etcd is
// nearly full it waits, as [Registry.Start] does.
func (r *Registry) Reopen(ctx context.Context, id string) (Started, error) {
	if err := CheckID(id); err != nil {
		return Started{}, err
	}
	nonce, err := newNonce()
	if err != nil {
		return Started{}, err
	}
	for {
		started, done, err := r.tryReopen(ctx, id, nonce)
		if err != nil {
			return Started{}, fmt.Errorf("open %s again: %w", id, err)
		}
		if done {
			return started, nil
		}
	}
}

func (r *Registry) tryReopen(ctx context.Context, id, nonce string) (s Started, done bool, err error) {
	key := r.keys.process(id)
	resp, err := r.read(ctx, get(key))
	if err != nil {
		return Started{}, false, err
	}
	kv := newView(resp.Responses)[key]
	if kv == nil {
		return Started{}, false, ErrNotFound
	}
	there, err := decodeRow(key, id, kv.Value)
	if err != nil {
		return Started{}, false, err
	}
	if !there.ended() {
		return Started{}, false, ErrNotEnded
	}
	now := r.options.Now()
	tr, next, err := r.table.reopen(kv, there, r.seq.next(now), now, nonce)
	if err != nil {
		return Started{}, false, err
	}
	a, err := r.commitRoomy(ctx, tr, func(v view) bool { return v.modRevision(key) != kv.ModRevision })
	return Started{ID: id, Series: next.Series}, a.applied, err
}

// reopen also removes whatever the last series left behind.
func (t table) reopen(process *mvccpb.KeyValue, there row, seq int64, now time.Time, nonce string) (transition, row, error) {
	next := row{
		Schema: schema, ID: there.ID, Series: there.Series + 1, Attempt: there.Attempt, CreatedAt: there.CreatedAt,
		Seq: seq, StartedAt: there.StartedAt, Fence: there.Fence, EndMark: there.Mark, Opened: nonce,
		History: there.History, Spec: there.Spec, spec: there.spec,
	}
	if next.spec.Disposition == External {
		next.What = whereParked
	}
	next.setDeadline(now)
	value, err := next.sealed(nonce)
	if err != nil {
		return transition{}, row{}, err
	}
	then := append([]clientv3.Op{put(string(process.Key), value)}, t.begin(next)...)
	then = append(then, remove(t.k.request(next.ID)), remove(t.k.output(next.ID)))
	return transition{
		name: "open " + next.ID + " again", id: next.ID,
		when:      []clientv3.Cmp{asRead(string(process.Key), process.ModRevision), t.room()},
		then:      append(then, t.leftovers(next)...),
		otherwise: []clientv3.Op{get(string(process.Key)), get(t.k.full())},
		// Whatever was written since, the series tells who opened it.
		applied: func(v view) bool {
			there, ok := v.row(t.k, next.ID)
			return ok && there.Opened == nonce
		},
	}, next, nil
}
