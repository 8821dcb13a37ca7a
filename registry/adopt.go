package registry

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Adopt takes over an orphan. If run is false, or its queue is paused, it is
// put back into the queue for others. If a request to end it stands, or its
// deadline has passed, or too many nodes died under it, it is ended instead.
// In all these cases the claim is nil.
//
// An owner-bound orphan is never run again: it is ended as abandoned on proof
// of its holder's death or on a request to abandon it; until then the error
// is [ErrOrphaned]. [ErrNotClaimable] means that somebody else was first, or
// that something changed since the orphan was read.
func (r *Registry) Adopt(ctx context.Context, s *Session, o Orphan, run bool) (*Claim, error) {
	if o.basis == nil {
		one := []Orphan{o}
		if err := r.ReadOrphans(ctx, one); err != nil {
			return nil, fmt.Errorf("adopt %s: %w", o.ID, err)
		}
		o = one[0]
	}
	if o.basis.err != nil {
		return nil, fmt.Errorf("adopt %s: %w", o.ID, o.basis.err)
	}
	request, g := o.basis.request, o.basis.gate
	next, e, fate := r.table.takeOver(o, o.basis.row, request, r.now())
	nonce, err := newNonce()
	if err != nil {
		return nil, err
	}
	switch fate {
	case fateEnd:
		tr, err := r.table.endOrphan(o, next, request, e, nonce)
		if err != nil {
			return nil, err
		}
		return nil, r.commitOrphan(ctx, tr)
	case fateStay:
		return nil, fmt.Errorf("adopt %s: %w", o.ID, ErrOrphaned)
	default:
	}
	if !run || g.paused {
		tr, err := r.table.requeueOrphan(s.holder(), o, next, nonce)
		if err != nil {
			return nil, err
		}
		return nil, r.commitOrphan(ctx, tr)
	}
	return r.takeOrphan(ctx, s, o, next, g, nonce)
}

func (r *Registry) takeOrphan(ctx context.Context, s *Session, o Orphan, next row, g gate, nonce string) (*Claim, error) {
	value := claimValue{Queue: o.Queue, Kind: o.Kind, ClaimedAt: r.now(), Nonce: nonce}
	tr, err := r.table.adopt(s.holder(), o, next, value, g)
	if err != nil {
		return nil, err
	}
	s.expect(nonce)
	a, err := r.commit(ctx, tr)
	if err != nil || !a.applied {
		s.forget(nonce)
		return nil, fmt.Errorf("adopt %s: %w", o.ID, orNotClaimable(err))
	}
	c, err := r.table.holding(s, next, value, a.view)
	if err != nil {
		s.forget(nonce)
		return nil, fmt.Errorf("adopt %s: %w", o.ID, err)
	}
	return c, nil
}

// orphaned holds while the claim is as listed and its session gone.
func (t table) orphaned(o Orphan) []clientv3.Cmp {
	return []clientv3.Cmp{asRead(t.k.claim(o.sid, o.ID), o.revision), absent(t.k.session(o.sid))}
}

// adopt exchanges their claim for mine and counts their attempt as lost. A
// request must not stand: it was theirs to answer, and is the adopter's now.
//
// The queue must be as it was read: an adoption is a claim.
func (t table) adopt(h holder, o Orphan, next row, value claimValue, g gate) (transition, error) {
	content, err := encode(value)
	if err != nil {
		return transition{}, fmt.Errorf("encode the claim of %s: %w", o.ID, err)
	}
	body, err := next.sealed(value.Nonce)
	if err != nil {
		return transition{}, err
	}
	mine, process := t.k.claim(h.sid, o.ID), t.k.process(o.ID)
	reads := []clientv3.Op{get(mine)} // the row is known: it is as written here
	if next.spec.InputBytes > 0 {
		reads = append(reads, get(t.k.input(o.ID)))
	}
	when := append(t.orphaned(o), absent(t.k.request(o.ID)), asRead(t.k.queue(o.Queue), g.revision))
	return transition{
		name: "adopt " + o.ID, id: o.ID, idle: true, when: append(when, h.alive...),
		then: append([]clientv3.Op{
			remove(t.k.claim(o.sid, o.ID)), put(process, body), put(mine, string(content)),
		}, reads...),
		otherwise: reads,
		applied:   func(v view) bool { return hasNonce(v[mine], value.Nonce) },
	}, nil
}

// requeueOrphan is an adoption by nobody: the process waits for a node that
// can run it.
func (t table) requeueOrphan(h holder, o Orphan, next row, nonce string) (transition, error) {
	body, err := next.sealed(nonce)
	if err != nil {
		return transition{}, err
	}
	e := next.entry()
	e.common = true // whoever puts it back has no room for it
	when := append(t.orphaned(o), absent(t.k.request(o.ID)))
	return transition{
		name: "requeue orphan " + o.ID, id: o.ID, idle: true, when: append(when, h.alive...),
		then:      []clientv3.Op{remove(t.k.claim(o.sid, o.ID)), put(t.k.process(o.ID), body), put(t.k.pending(e), e.value())},
		otherwise: []clientv3.Op{get(t.k.process(o.ID))},
		applied:   t.wroteAttempt(next),
	}, nil
}

// endOrphan ends what nobody goes on with. It needs no session: anybody may
// say what follows from what stands there. A request must be as it was read,
// or absent as it was, for it may change what follows.
func (t table) endOrphan(o Orphan, next row, request *mvccpb.KeyValue, e ending, nonce string) (transition, error) {
	e.traces = true // what the attempt wrote is not known
	then, written, err := t.asEnd(next, e, nonce)
	if err != nil {
		return transition{}, err
	}
	var revision int64
	if request != nil {
		revision = request.ModRevision
	}
	return transition{
		name:      "end orphan " + o.ID,
		id:        o.ID,
		when:      append(t.orphaned(o), asRead(t.k.request(o.ID), revision)),
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
