package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Orphan is a claim whose session ended.
type Orphan struct {
	ID    string
	Queue string
	Kind  string

	sid      string
	node     string // the name of the node that held it
	revision int64  // of the claim, which is its fence
	value    claimValue
}

// Orphans lists claims of sessions that ended, at most limit. A claim that
// can't be read is passed over and reported in err, with the others returned.
//
// The list is exact, also after a missed event: an orphan is a claim of a
// node/<sid> that has no session/<sid>. Nodes that left none are forgotten.
func (r *Registry) Orphans(ctx context.Context, limit int) ([]Orphan, error) {
	nodes, err := r.roster(ctx)
	if err != nil {
		return nil, err
	}
	var orphans []Orphan
	var failed []error
	for _, n := range nodes {
		if n.Alive || len(orphans) >= limit {
			continue
		}
		found, err := r.orphansOf(ctx, n, limit-len(orphans))
		orphans, failed = append(orphans, found...), append(failed, err)
	}
	return orphans, errors.Join(failed...)
}

func (r *Registry) orphansOf(ctx context.Context, n Node, limit int) ([]Orphan, error) {
	prefix := r.keys.claims(n.Session)
	resp, err := r.read(ctx, clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithLimit(int64(limit))))
	if err != nil {
		return nil, fmt.Errorf("list the claims of session %s: %w", n.Session, err)
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		_, err := r.commit(ctx, r.table.forgetNode(n.Session))
		return nil, err
	}
	var orphans []Orphan
	var failed []error
	for _, kv := range kvs {
		o, err := orphan(n, kv)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		orphans = append(orphans, o)
	}
	return orphans, errors.Join(failed...)
}

func orphan(n Node, kv *mvccpb.KeyValue) (Orphan, error) {
	value, err := decodeClaim(kv)
	if err != nil {
		return Orphan{}, err
	}
	return Orphan{
		ID: last(string(kv.Key)), Queue: value.Queue, Kind: value.Kind,
		sid: n.Session, node: n.Name, revision: kv.ModRevision, value: value,
	}, nil
}

// Adopt takes over an orphan. If a request to end it stands, it is ended
// instead; if run is false, or the process can't be run here, it is put back
// into the queue for others. In both cases the claim is nil.
// [ErrNotClaimable] means that somebody else was first.
func (r *Registry) Adopt(ctx context.Context, s *Session, o Orphan, run bool) (*Claim, error) {
	there, v, err := r.readOrphan(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", o.ID, err)
	}
	nonce, err := newNonce()
	if err != nil {
		return nil, err
	}
	now := r.now()
	next := there
	next.endAttempt(o.node, o.revision, o.value.ClaimedAt, now, SessionLost)
	if kv := v[r.keys.request(o.ID)]; kv != nil {
		return nil, r.endOrphan(ctx, o, next, kv, nonce)
	}
	next.Adoptions++
	next.Due, next.What = time.Time{}, "" // it waits for no time
	if !run {
		return nil, r.requeueOrphan(ctx, s, o, next, nonce)
	}
	value := claimValue{Queue: o.Queue, Kind: o.Kind, ClaimedAt: now, Nonce: nonce}
	tr, err := r.table.adopt(s.holder(), o, next, value)
	if err != nil {
		return nil, err
	}
	s.expect(nonce)
	a, err := r.commit(ctx, tr)
	if err != nil || !a.applied {
		s.forget(nonce)
		return nil, fmt.Errorf("adopt %s: %w", o.ID, orNotClaimable(err))
	}
	c, err := r.table.claimed(s, next.entry(), value, a.view)
	if err != nil {
		s.forget(nonce)
		return nil, fmt.Errorf("adopt %s: %w", o.ID, err)
	}
	return c, nil
}

// readOrphan reads what the takeover is decided on. The row can't change
// while the claim stands as listed, for only a claim's holder writes it.
func (r *Registry) readOrphan(ctx context.Context, o Orphan) (row, view, error) {
	key := r.keys.process(o.ID)
	resp, err := r.read(ctx, get(r.keys.claim(o.sid, o.ID)), get(key), get(r.keys.request(o.ID)))
	if err != nil {
		return row{}, nil, err
	}
	v := newView(resp.Responses)
	if v.modRevision(r.keys.claim(o.sid, o.ID)) != o.revision {
		return row{}, nil, ErrNotClaimable
	}
	if v[key] == nil {
		return row{}, nil, &CorruptError{Key: r.keys.claim(o.sid, o.ID), Why: errors.New("there is no row for it")}
	}
	there, err := decodeRow(key, o.ID, v[key].Value)
	if err == nil && there.ended() {
		err = &CorruptError{Key: r.keys.claim(o.sid, o.ID), Why: errors.New("the process has ended")}
	}
	return there, v, err
}

// orphaned holds while the claim is as listed and its session gone.
func (t table) orphaned(o Orphan) []clientv3.Cmp {
	return []clientv3.Cmp{asRead(t.k.claim(o.sid, o.ID), o.revision), absent(t.k.session(o.sid))}
}

// adopt exchanges their claim for mine and counts their attempt as lost. A
// request must not stand: it was theirs to answer, and is the adopter's now.
func (t table) adopt(h holder, o Orphan, next row, value claimValue) (transition, error) {
	content, err := encode(value)
	if err != nil {
		return transition{}, fmt.Errorf("encode the claim of %s: %w", o.ID, err)
	}
	body, err := next.sealed(value.Nonce)
	if err != nil {
		return transition{}, err
	}
	mine, process := t.k.claim(h.sid, o.ID), t.k.process(o.ID)
	reads := []clientv3.Op{get(mine), get(process), get(t.k.input(o.ID))}
	when := append(t.orphaned(o), absent(t.k.request(o.ID)))
	return transition{
		name: "adopt " + o.ID, when: append(when, h.alive...),
		then: append([]clientv3.Op{
			remove(t.k.claim(o.sid, o.ID)), put(process, body), put(mine, string(content)),
		}, reads...),
		otherwise: reads,
		applied:   func(v view) bool { return hasNonce(v[mine], value.Nonce) },
	}, nil
}

func (r *Registry) requeueOrphan(ctx context.Context, s *Session, o Orphan, next row, nonce string) error {
	tr, err := r.table.requeueOrphan(s.holder(), o, next, nonce)
	if err != nil {
		return err
	}
	return r.commitOrphan(ctx, tr)
}

// requeueOrphan is an adoption by nobody: the process waits for a node that
// can run it.
func (t table) requeueOrphan(h holder, o Orphan, next row, nonce string) (transition, error) {
	body, err := next.sealed(nonce)
	if err != nil {
		return transition{}, err
	}
	when := append(t.orphaned(o), absent(t.k.request(o.ID)))
	return transition{
		name: "requeue orphan " + o.ID, when: append(when, h.alive...),
		then:      []clientv3.Op{remove(t.k.claim(o.sid, o.ID)), put(t.k.process(o.ID), body), t.wait(next)},
		otherwise: []clientv3.Op{get(t.k.process(o.ID))},
		applied:   t.wroteAttempt(next),
	}, nil
}

func (r *Registry) endOrphan(ctx context.Context, o Orphan, next row, request *mvccpb.KeyValue, nonce string) error {
	q, err := decodeRequest(request)
	if err != nil {
		q = &Request{} // that somebody asked is all that matters
	}
	e := ending{outcome: Cancelled, reason: q.text(), err: SessionLost, at: r.now()}
	tr, err := r.table.endOrphan(o, next, request, e, nonce)
	if err != nil {
		return err
	}
	return r.commitOrphan(ctx, tr)
}

// endOrphan answers a request that its holder did not live to answer. It
// needs no session: anybody may say what was asked for.
func (t table) endOrphan(o Orphan, next row, request *mvccpb.KeyValue, e ending, nonce string) (transition, error) {
	then, written, err := t.asEnd(next, e, nonce)
	if err != nil {
		return transition{}, err
	}
	return transition{
		name:      "end orphan " + o.ID,
		when:      append(t.orphaned(o), asRead(string(request.Key), request.ModRevision)),
		then:      append(then, remove(t.k.claim(o.sid, o.ID))),
		otherwise: []clientv3.Op{get(t.k.process(o.ID))},
		applied:   t.wroteAttempt(written),
	}, nil
}

func (r *Registry) commitOrphan(ctx context.Context, tr transition) error {
	a, err := r.commit(ctx, tr)
	if err != nil || !a.applied {
		return fmt.Errorf("%s: %w", tr.name, orNotClaimable(err))
	}
	return nil
}

func orNotClaimable(err error) error {
	if err != nil {
		return err
	}
	return ErrNotClaimable
}
