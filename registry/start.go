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
//
// While etcd is nearly full, Start waits for room; when ctx ends first the
// error wraps [ErrFull], and nothing was started unless it wraps
// [ErrUnresolved] too.
func (r *Registry) Start(ctx context.Context, s Spec) (Started, error) {
	return r.StartIf(ctx, s, nil)
}

// StartIf starts a process together with the caller's own conditions and
// writes, in one transaction: all of it happens, or nothing. If the process is
// there already, with an equal spec, nothing is written, as it was when the
// process was started. A condition that does not hold is [ErrCondition];
// other errors are those of [Registry.Start], and [ErrInvalid] for operations
// on keys of drover's own.
func (r *Registry) StartIf(ctx context.Context, s Spec, conditions []clientv3.Cmp, ops ...clientv3.Op) (Started, error) {
	e, err := encodeSpec(s, r.options.MaxInput)
	if err != nil {
		return Started{}, err
	}
	if err := r.keys.foreignTo(conditions, ops); err != nil {
		return Started{}, fmt.Errorf("start %s: %w", e.id, err)
	}
	now := r.options.Now()
	tr, err := r.table.start(e, r.seq.next(now), now)
	if err != nil {
		return Started{}, err
	}
	tr.when, tr.then = append(tr.when, conditions...), append(tr.then, ops...)
	tr.alone = len(conditions) > 0 || len(ops) > 0
	a, err := r.commitRoomy(ctx, tr, func(v view) bool { return v[r.keys.process(e.id)] != nil })
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
		return Started{}, fmt.Errorf("start %s: %w", e.id, ErrCondition) // no row is in its way
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
	first.setDeadline(now)
	switch due := e.dueAt(now); {
	case e.spec.Disposition == External:
		first.What = whereParked
	case due.After(now):
		first.Due, first.What = due.UTC().Round(0), dueStart
	}
	value, err := first.encode()
	if err != nil {
		return transition{}, fmt.Errorf("encode the row of %s: %w", e.id, err)
	}
	key := t.k.process(e.id)
	then := append([]clientv3.Op{put(key, value)}, t.begin(first)...)
	if e.input != nil {
		then = append(then, put(t.k.input(e.id), string(e.input)))
	}
	return transition{
		name: "start " + e.id, id: e.id, when: []clientv3.Cmp{absent(key), t.room()}, then: then,
		otherwise: []clientv3.Op{get(key), get(t.k.full())},
		// seq is this starter's clock and unique within it; two starters
		// that share id, spec, nanosecond and clock reading mean the same.
		applied: func(v view) bool {
			there, ok := v.row(t.k, e.id)
			return ok && there.Seq == seq && there.CreatedAt.Equal(first.CreatedAt) && there.spec.Hash == e.spec.Hash
		},
	}, nil
}

// begin puts what stands beside the row of a new series: its place, and the
// timer of its deadline.
func (t table) begin(r row) []clientv3.Op {
	ops := []clientv3.Op{t.wait(r)}
	if !r.DeadlineAt.IsZero() {
		ops = append(ops, put(t.k.deadline(r), t.k.pending(r.entry())))
	}
	return ops
}

// These stand in pending keys that were put without their row: when the time
// had come for which the process waited, and by a node that could not read the
// row. So who claims it can tell the key from one that somebody put by hand.
const (
	maturedValue  = `{"matured":true}`
	returnedValue = `{"returned":true}`
	// commonValue is a hint and no more: a node put it there that had no room
	// for it, so that others need not leave it to that one first.
	commonValue = `{"common":true}`
)

// value is what stands in the pending key.
func (e Entry) value() string {
	switch {
	case e.matured:
		return maturedValue
	case e.returned:
		return returnedValue
	case e.common:
		return commonValue
	default:
		return "{}"
	}
}

// read takes what stands in the pending key.
func (e *Entry) read(value []byte) {
	e.matured, e.returned, e.common = string(value) == maturedValue, string(value) == returnedValue, string(value) == commonValue
}

// Common says whether it was put back by a node that can't run it, or had no
// room for it: it need not be left to the one that would be the first to take
// it.
func (e Entry) Common() bool { return e.returned || e.common }

// wait puts the place that the row says: parked, a timer if it is due for
// something, else pending. Whoever calls it requires that no request stands.
func (t table) wait(r row) clientv3.Op {
	pending := t.k.pending(r.entry())
	switch r.What {
	case "":
		return put(pending, r.entry().value())
	case whereParked:
		return put(t.k.parked(r.ID), "{}")
	default:
		return put(t.k.timer(r.Due, r.ID, r.What), pending)
	}
}
