package registry

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Started says which process a start stands for.
type Started struct {
	ID     string
	Series int
	// Existing is true if the process was there before: with the same spec,
	// running or ended. The start changed nothing then.
	Existing bool
}

// Start makes a process durable. When it returns without an error, the
// process is never lost while etcd keeps its history.
//
// A start with an id that is taken by a process with an equal spec is that
// process, also after it ended; taken by another spec it is an error that
// wraps [ErrConflict]. An impossible spec is an error that wraps [ErrInvalid]
// or is a [*TooLargeError], and nothing is sent. If ctx ends before etcd
// answered, the error wraps [ErrUnresolved]: start again with the same id to
// find out. Give the id yourself if you mean to do so.
func (r *Registry) Start(ctx context.Context, s Spec) (Started, error) {
	e, err := encodeSpec(s, r.options.MaxInput)
	if err != nil {
		return Started{}, err
	}
	now := r.options.Now()
	tr, err := r.table.start(e, r.seq.next(now), now)
	if err != nil {
		return Started{}, err
	}
	a, err := r.commit(ctx, tr)
	if err != nil {
		return Started{}, fmt.Errorf("start %s: %w", e.id, err)
	}
	if a.applied {
		return Started{ID: e.id, Series: 1}, nil
	}
	return r.existing(e, a.view)
}

// existing decides what an id that is taken stands for.
func (r *Registry) existing(e encodedSpec, v view) (Started, error) {
	kv := v[r.keys.process(e.id)]
	if kv == nil {
		return Started{}, fmt.Errorf("start %s: refused without a row in its way", e.id)
	}
	there, err := decodeRow(string(kv.Key), e.id, kv.Value)
	if err != nil {
		return Started{}, fmt.Errorf("start %s: %w", e.id, err)
	}
	if there.spec.Hash != e.spec.Hash {
		return Started{}, fmt.Errorf("start %s: %w (kind %s, queue %s)", e.id, ErrConflict, there.spec.Kind, there.spec.Queue)
	}
	return Started{ID: e.id, Series: there.Series, Existing: true}, nil
}

// start puts a row that was not there, and the place where it waits.
func (t table) start(e encodedSpec, seq int64, now time.Time) (transition, error) {
	first := row{
		Schema: schema, ID: e.id, Series: 1, CreatedAt: now.UTC().Round(0),
		Seq: seq, Spec: e.raw, spec: e.spec,
	}
	if e.due.After(now) {
		first.Due, first.What = e.due.UTC().Round(0), dueStart
	}
	value, err := first.encode()
	if err != nil {
		return transition{}, fmt.Errorf("encode the row of %s: %w", e.id, err)
	}
	key := t.k.process(e.id)
	then := []clientv3.Op{put(key, value), t.wait(first)}
	if e.input != nil {
		then = append(then, put(t.k.input(e.id), string(e.input)))
	}
	return transition{
		name: "start " + e.id, when: []clientv3.Cmp{absent(key)}, then: then,
		otherwise: []clientv3.Op{get(key)},
		// seq is this starter's clock and unique within it; two starters
		// that share id, spec, nanosecond and clock reading mean the same.
		applied: func(v view) bool {
			there, ok := v.row(t.k, e.id)
			return ok && there.Seq == seq && there.CreatedAt.Equal(first.CreatedAt) && there.spec.Hash == e.spec.Hash
		},
	}, nil
}

// wait puts the place that the row says: a timer if it is due for something,
// else pending. Whoever calls it requires that no request stands.
func (t table) wait(r row) clientv3.Op {
	pending := t.k.pending(r.entry())
	if r.What == "" {
		return put(pending, "{}")
	}
	return put(t.k.timer(r.Due, r.ID, r.What), pending)
}
