package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Cancel ends a process that does not run at once, and asks the holder of a
// running one to end it. It returns when that is recorded: ended says whether
// the process has its outcome already. A request is never forgotten; the
// handler may complete in spite of it.
//
// [ErrNotFound] and [ErrEnded] are wrapped when there is nothing to cancel. A
// second request on a running process changes nothing. At is set here; By and
// Reason are cut at 2 KiB.
func (r *Registry) Cancel(ctx context.Context, id string, q Request) (ended bool, err error) {
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
		done, ended, err := r.tryCancel(ctx, id, q, nonce)
		if done || err != nil {
			return ended, err
		}
		// It moved between the read and the write. Each turn needs another
		// transition of this id to win, so this ends.
	}
}

func (r *Registry) tryCancel(ctx context.Context, id string, q Request, nonce string) (done, ended bool, err error) {
	v, there, err := r.readPlace(ctx, id)
	if err != nil {
		return false, false, fmt.Errorf("cancel %s: %w", id, err)
	}
	if there.ended() {
		return false, false, fmt.Errorf("cancel %s: %w: %s", id, ErrEnded, there.Outcome)
	}
	if v[r.keys.request(id)] != nil {
		return true, false, nil
	}
	tr, ends, err := r.table.cancel(v, there, q, nonce)
	if err != nil {
		return false, false, err
	}
	a, err := r.commit(ctx, tr)
	if err != nil {
		return false, false, fmt.Errorf("cancel %s: %w", id, err)
	}
	return a.applied, ends && a.applied, nil
}

// cancel ends what waits, else it leaves a request. v holds the row's key and
// the keys of the places that the row speaks of.
func (t table) cancel(v view, there row, q Request, nonce string) (tr transition, ends bool, err error) {
	for _, place := range t.waitingPlaces(there) {
		if v[place] != nil {
			tr, err = t.cancelWaiting(v[place], there, q, nonce)
			return tr, true, err
		}
	}
	tr, err = t.request(v, there, q)
	return tr, false, err
}

// waitingPlaces are the keys where a process waits if nobody holds it.
func (t table) waitingPlaces(there row) []string {
	places := []string{t.k.pending(there.entry())}
	if there.What != "" {
		places = append(places, t.k.timer(there.Due, there.ID, there.What))
	}
	return places
}

// cancelWaiting needs no condition on the row: nothing writes it without
// moving its place.
func (t table) cancelWaiting(place *mvccpb.KeyValue, next row, q Request, nonce string) (transition, error) {
	then, written, err := t.asEnd(next, ending{outcome: Cancelled, reason: q.text(), at: q.At}, nonce)
	if err != nil {
		return transition{}, err
	}
	return transition{
		name:      "cancel " + next.ID,
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
	when := []clientv3.Cmp{asRead(process, v.modRevision(process)), absent(key)}
	for _, place := range t.waitingPlaces(there) {
		when = append(when, absent(place))
	}
	return transition{
		name: "request to cancel " + there.ID, when: when,
		then:      []clientv3.Op{put(key, string(value))},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v[key] != nil && string(v[key].Value) == string(value) },
	}, nil
}

func (q Request) text() string {
	if q.Reason != "" {
		return q.Reason
	}
	return "cancel requested"
}

func decodeRequest(kv *mvccpb.KeyValue) (*Request, error) {
	var q Request
	if err := json.Unmarshal(kv.Value, &q); err != nil {
		return nil, &CorruptError{Key: string(kv.Key), Why: err}
	}
	return &q, nil
}
