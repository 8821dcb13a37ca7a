package registry

import (
	"context"
	"errors"
	"fmt"
	"strconv"

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
	proof    Evidence // of its holder's death; without Proof if there is none
}

// Mark tells this orphan from every other, also from a later one of the same
// process. The revision alone does not: claims that travelled in one request
// share it.
func (o Orphan) Mark() string { return o.sid + "/" + strconv.FormatInt(o.revision, 10) + "/" + o.ID }

// Proved says whether it is known that its holder is dead.
func (o Orphan) Proved() bool { return o.proof.Proof != "" }

// Orphans lists claims of sessions that ended, at most limit. A claim that
// can't be read is passed over and reported in err, with the others returned.
//
// The list is exact, also after a missed event: an orphan is a claim of a
// node/<sid> that has no session/<sid>. Nodes that left none are forgotten.
func (r *Registry) Orphans(ctx context.Context, limit int) ([]Orphan, error) {
	return r.OrphansBut(ctx, limit, func(Orphan) bool { return false })
}

// OrphansBut is Orphans without those that pass says are to be passed over.
func (r *Registry) OrphansBut(ctx context.Context, limit int, pass func(Orphan) bool) ([]Orphan, error) {
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
		found, err := r.orphansOf(ctx, n, limit-len(orphans), pass)
		orphans, failed = append(orphans, found...), append(failed, err)
	}
	return orphans, errors.Join(failed...)
}

// orphanPage is how many claims are read in one request.
const orphanPage = 1000

func (r *Registry) orphansOf(ctx context.Context, n Node, limit int, pass func(Orphan) bool) ([]Orphan, error) {
	var orphans []Orphan
	var failed []error
	from, end := r.keys.claims(n.Session), upTo(r.keys.claims(n.Session))
	for first := true; ; first = false {
		resp, err := r.read(ctx, clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(orphanPage)))
		if err != nil {
			return nil, fmt.Errorf("list the claims of session %s: %w", n.Session, err)
		}
		found := resp.Responses[0].GetResponseRange()
		if first && len(found.Kvs) == 0 {
			if n.corrupt != nil {
				return nil, n.corrupt // left as it is
			}
			_, err := r.commit(ctx, r.table.forgetNode(n.Session))
			return nil, err
		}
		for _, kv := range found.Kvs {
			switch o, err := orphan(n, kv); {
			case err != nil:
				failed = append(failed, err)
			case !pass(o):
				orphans = append(orphans, o)
			}
			from = string(kv.Key) + "\x00"
			if len(orphans) == limit {
				return orphans, errors.Join(failed...)
			}
		}
		if !found.More {
			return orphans, errors.Join(failed...)
		}
	}
}

func orphan(n Node, kv *mvccpb.KeyValue) (Orphan, error) {
	value, err := decodeClaim(kv)
	if err != nil {
		return Orphan{}, err
	}
	return Orphan{
		ID: last(string(kv.Key)), Queue: value.Queue, Kind: value.Kind,
		sid: n.Session, node: n.Name, revision: kv.ModRevision, value: value, proof: n.proof(),
	}, nil
}

// Adopt takes over an orphan. If run is false, or its queue is paused, it is
// put back into the queue for others. If a request to end it stands, or its
// deadline has passed, or too many nodes died under it, it is ended instead.
// In all these cases the claim is nil.
//
// An owner-bound orphan is never run again: it is ended as abandoned on proof
// of its holder's death or on a request to abandon it; until then the error
// is [ErrOrphaned]. [ErrNotClaimable] means that somebody else was first.
func (r *Registry) Adopt(ctx context.Context, s *Session, o Orphan, run bool) (*Claim, error) {
	there, v, err := r.readOrphan(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("adopt %s: %w", o.ID, err)
	}
	request := v[r.keys.request(o.ID)]
	next, e, fate := r.table.takeOver(o, there, request, r.now())
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
	g := readGate(v[r.keys.queue(o.Queue)])
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
	resp, err := r.read(ctx, get(r.keys.claim(o.sid, o.ID)), get(key), get(r.keys.request(o.ID)), get(r.keys.queue(o.Queue)))
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
	reads := []clientv3.Op{get(mine), get(process), get(t.k.input(o.ID))}
	when := append(t.orphaned(o), absent(t.k.request(o.ID)), asRead(t.k.queue(o.Queue), g.revision))
	return transition{
		name: "adopt " + o.ID, id: o.ID, when: append(when, h.alive...),
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
	when := append(t.orphaned(o), absent(t.k.request(o.ID)))
	return transition{
		name: "requeue orphan " + o.ID, id: o.ID, when: append(when, h.alive...),
		then:      []clientv3.Op{remove(t.k.claim(o.sid, o.ID)), put(t.k.process(o.ID), body), t.wait(next)},
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
