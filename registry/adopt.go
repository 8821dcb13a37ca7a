package registry

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Adopt takes over an orphan. If run is false, or its queue is paused, it is
// put back into the queue for others. If a request to end it stands, or its
// deadline has passed, or too many nodes died under it, it is ended instead.
// In all these cases the claim is nil.
//
// It counts as the death of a node, but not if its session was lost in an
// outage: without proof of death, and if the very same node holds another one
// by now (see [NodeInfo].Replaces), or if s replaces one that was lost too,
// with nobody left who kept his all the while.
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
	ad, err := r.planAdoption(s, s.holder(), o, run)
	if err != nil {
		return nil, err
	}
	a, err := r.commit(ctx, ad.tr)
	return r.concludeAdoption(ad, a, err)
}

// AdoptAll is Adopt of many that were read by [Registry.ReadOrphans]; run says
// of each whether it is to be run. It tells of the i-th by done, which is called
// once for each, and by several goroutines, and returns when all are done.
func (r *Registry) AdoptAll(ctx context.Context, s *Session, orphans []Orphan, run []bool, done func(i int, c *Claim, err error)) {
	h, adoptions := s.holder(), make([]*adoption, len(orphans))
	all := make([]*transition, len(orphans))
	for i, o := range orphans {
		ad, err := r.planAdoption(s, h, o, run[i])
		if err != nil {
			done(i, nil, err)
			continue
		}
		adoptions[i], all[i] = ad, &ad.tr
	}
	r.commitAll(ctx, all, func(i int, a answer, err error) {
		c, err := r.concludeAdoption(adoptions[i], a, err)
		done(i, c, err)
	})
}

// adoption is what is to become of an orphan, and the transition to it.
type adoption struct {
	id string
	tr transition

	// Of one that is to be run; else session is nil.
	session *Session
	next    row
	value   claimValue
}

// planAdoption decides on what was read.
func (r *Registry) planAdoption(s *Session, h holder, o Orphan, run bool) (*adoption, error) {
	if o.basis.err != nil {
		return nil, fmt.Errorf("adopt %s: %w", o.ID, o.basis.err)
	}
	request, g := o.basis.request, o.basis.gate
	o.outage = o.outage || s.unseen[o.sid]
	next, e, fate := r.table.takeOver(o, o.basis.row, request, r.now())
	nonce, err := newNonce()
	if err != nil {
		return nil, err
	}
	ad := &adoption{id: o.ID}
	switch {
	case fate == fateStay:
		return nil, fmt.Errorf("adopt %s: %w", o.ID, ErrOrphaned)
	case fate == fateEnd:
		ad.tr, err = r.table.endOrphan(o, next, request, e, nonce)
		return ad, err
	case !run || g.paused:
		ad.tr, err = r.table.requeueOrphan(h, o, next, nonce)
		return ad, err
	}
	ad.next, ad.value = next, claimValue{Queue: o.Queue, Kind: o.Kind, ClaimedAt: r.now(), Nonce: nonce}
	if ad.tr, err = r.table.adopt(h, o, next, ad.value, g); err != nil {
		return nil, err
	}
	ad.session = s
	s.expect(nonce)
	return ad, nil
}

// concludeAdoption makes the claim of what was answered.
func (r *Registry) concludeAdoption(ad *adoption, a answer, err error) (c *Claim, _ error) {
	if err == nil && !a.applied {
		err = ErrNotClaimable
	}
	s := ad.session
	if err == nil && s != nil {
		c, err = r.table.holding(s, ad.next, ad.value, a.view, a.written(r.keys.claim(s.ID(), ad.id)))
	}
	if err != nil {
		if s != nil {
			s.forget(ad.value.Nonce)
		}
		return nil, fmt.Errorf("%s: %w", ad.tr.name, err)
	}
	return c, nil
}

// orphaned holds while the claim is as listed and its session gone.
func (t table) orphaned(o Orphan) []clientv3.Cmp {
	return []clientv3.Cmp{asRead(t.k.claim(o.sid, o.ID), o.revision), absent(t.k.session(o.sid))}
}

// adopt exchanges their claim for mine; next says that their attempt is lost. A
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
	var reads []clientv3.Op // the row is known: it is as written here
	if next.spec.InputBytes > 0 {
		reads = append(reads, get(t.k.input(o.ID)))
	}
	when := slices.Concat(t.orphaned(o), []clientv3.Cmp{absent(t.k.request(o.ID)), asRead(t.k.queue(o.Queue), g.revision)}, h.alive)
	then := []clientv3.Op{remove(t.k.claim(o.sid, o.ID)), put(process, body), put(mine, string(content))}
	return transition{
		name: "adopt " + o.ID, id: o.ID, idle: true, when: when, then: append(then, reads...),
		otherwise: append(reads, get(mine)),
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
