package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cancel ends a process that waits to be claimed at once, and asks whoever
// runs it otherwise to end it. It returns when that is recorded: ended says
// whether the process has its outcome already. A request is never forgotten;
// the handler may complete in spite of it. The holder of an owner-bound
// process that is orphaned can't answer it any more: see [Registry.Abandon].
//
// [ErrNotFound] and [ErrEnded] are wrapped when there is nothing to cancel. A
// second request on a running process changes nothing. At is set here; By and
// Reason are cut at 2 KiB.
func (r *Registry) Cancel(ctx context.Context, id string, q Request) (ended bool, err error) {
	q.What = ""
	return r.ask(ctx, "cancel", id, q)
}

// Abandon gives up a process of which nobody can say how far it came: an
// orphan, or one that is parked, at once; of one that a living node runs the
// handler is asked to end, and it is abandoned when that did not complete it.
// Who asks, when and why stands on the row as evidence. It replaces a request
// to cancel.
//
// [ErrNotFound] and [ErrEnded] are as for [Registry.Cancel]. A process that
// waits to be claimed is [ErrState]: cancel it.
func (r *Registry) Abandon(ctx context.Context, id string, q Request) (ended bool, err error) {
	q.What = RequestAbandon
	return r.ask(ctx, "abandon", id, q)
}

func (r *Registry) ask(ctx context.Context, what, id string, q Request) (ended bool, err error) {
	if err := CheckID(id); err != nil {
		return false, err
	}
	// They end up in the row, which must stay small enough to be written: an
	// end that etcd refuses would leave the process claimed.
	q.By, q.Reason = cut(q.By), cut(q.Reason)
	q.At = r.now()
	nonce, err := newNonce()
	if err != nil {
		return false, err
	}
	for {
		done, ended, err := r.tryAsk(ctx, id, q, nonce)
		if err != nil {
			return ended, fmt.Errorf("%s %s: %w", what, id, err)
		}
		if done {
			return ended, nil
		}
		// It moved between the read and the write. Each turn needs another
		// transition of this id to win, so this ends.
	}
}

func (r *Registry) tryAsk(ctx context.Context, id string, q Request, nonce string) (done, ended bool, err error) {
	v, there, err := r.readPlace(ctx, id)
	if err != nil {
		return false, false, err
	}
	if there.ended() {
		return false, false, fmt.Errorf("%w: %s", ErrEnded, there.Outcome)
	}
	if q.What == RequestAbandon {
		orphan, found, err := r.orphanWith(ctx, id)
		if err != nil {
			return false, false, err
		}
		if found {
			return r.abandonOrphan(ctx, orphan, q, nonce)
		}
	}
	tr, ends, err := r.table.ask(v, there, q, nonce)
	if err != nil || tr.name == "" {
		return true, false, err
	}
	a, err := r.commit(ctx, tr)
	if err != nil {
		return false, false, err
	}
	return a.applied, ends && a.applied, nil
}

// orphanWith finds the claim of a session that ended, if one holds id. What a
// session holds whose key stands, on no lease, can't be taken from it yet: its
// holder is asked.
func (r *Registry) orphanWith(ctx context.Context, id string) (o Orphan, found bool, err error) {
	nodes, err := r.roster(ctx)
	if err != nil {
		return Orphan{}, false, err
	}
	dead := slices.DeleteFunc(nodes, func(n Node) bool { return n.created != 0 })
	for batch := range slices.Chunk(dead, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, n := range batch {
			ops[i] = get(r.keys.claim(n.Session, id))
		}
		resp, err := r.read(ctx, ops...)
		if err != nil {
			return Orphan{}, false, err
		}
		for i, n := range batch {
			for _, kv := range resp.Responses[i].GetResponseRange().Kvs {
				o, err := orphan(n, kv)
				return o, err == nil, err
			}
		}
	}
	return Orphan{}, false, nil
}

// abandonOrphan reads the row again, now that it is known whose claim it is: the
// one that was read before may be of an earlier attempt.
func (r *Registry) abandonOrphan(ctx context.Context, o Orphan, q Request, nonce string) (done, ended bool, err error) {
	one := []Orphan{o}
	if err := r.ReadOrphans(ctx, one); err != nil {
		return false, false, err
	}
	switch is := one[0].basis; {
	case errors.Is(is.err, ErrNotClaimable):
		return false, false, nil // it moved
	case is.err != nil:
		return false, false, is.err
	}
	tr, err := r.table.abandonOrphan(o, one[0].basis.row, one[0].basis.request, q, nonce)
	if err != nil {
		return false, false, err
	}
	a, err := r.commit(ctx, tr)
	return a.applied, a.applied, err
}

func (t table) abandonOrphan(o Orphan, there row, request *mvccpb.KeyValue, q Request, nonce string) (transition, error) {
	next := there
	next.endAttempt(o.node, o.revision, o.value.ClaimedAt, q.At, o.loss())
	return t.endOrphan(o, next, request, q.ending(o.loss(), q.At), nonce)
}

// ask ends what waits, else it leaves a request. v holds the row's key, the
// request and the places that the row speaks of. A transition without a name
// is nothing to do: a request stands already.
func (t table) ask(v view, there row, q Request, nonce string) (tr transition, ends bool, err error) {
	abandons := q.What == RequestAbandon
	for _, place := range t.places(there) {
		kv := v[place]
		switch isParked := place == t.k.parked(there.ID); {
		case kv == nil:
			continue
		case abandons && !isParked:
			return transition{}, false, fmt.Errorf("%w: it waits to be claimed, so it can be cancelled", ErrState)
		case abandons == isParked:
			tr, err = t.endWaiting(kv, there, q.ending("", q.At), nonce)
			return tr, true, err
		}
	}
	request := v[t.k.request(there.ID)]
	if request != nil {
		standing, _ := decodeRequest(request)
		if !abandons || standing.What == RequestAbandon {
			return transition{}, false, nil
		}
	}
	tr, err = t.request(v, there, q)
	return tr, false, err
}

// waitingPlaces are the keys where a process waits to be claimed if nobody
// holds it.
func (t table) waitingPlaces(there row) []string {
	if there.What == whereParked {
		return nil
	}
	places := []string{t.k.pending(there.entry())}
	if there.What != "" {
		places = append(places, t.k.timer(there.Due, there.ID, there.What))
	}
	return places
}

// endWaiting needs no condition on the row: nothing writes it without moving
// its place.
func (t table) endWaiting(place *mvccpb.KeyValue, next row, e ending, nonce string) (transition, error) {
	e.traces = next.Attempt > 0
	then, written, err := t.asEnd(next, e, nonce)
	if err != nil {
		return transition{}, err
	}
	return transition{
		name:      "end " + next.ID + " where it waits",
		id:        next.ID,
		when:      []clientv3.Cmp{asRead(string(place.Key), place.ModRevision)},
		then:      append(then, remove(string(place.Key))),
		otherwise: []clientv3.Op{get(t.k.process(next.ID))},
		applied:   t.wrote(written),
	}, nil
}

// request leaves word for the holder. The places are compared as absent, for
// a process that waits there would be claimed by somebody who does not ask.
func (t table) request(v view, there row, q Request) (transition, error) {
	value, err := encode(q)
	if err != nil {
		return transition{}, fmt.Errorf("encode the request for %s: %w", there.ID, err)
	}
	process, key := t.k.process(there.ID), t.k.request(there.ID)
	when := []clientv3.Cmp{asRead(process, v.modRevision(process)), asRead(key, v.modRevision(key))}
	for _, place := range t.waitingPlaces(there) {
		when = append(when, absent(place))
	}
	return transition{
		name: "ask to end " + there.ID, id: there.ID, when: when,
		then:      []clientv3.Op{put(key, string(value))},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v[key] != nil && string(v[key].Value) == string(value) },
	}, nil
}
