package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
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
	outage   bool     // that its session ended does not speak for its holder's death
	basis    *basis   // nil unless it was read
}

// basis is what the takeover of an orphan is decided on. It may be old: each
// way to go on is conditioned on it. The row can't change while the claim
// stands as listed, for only a claim's holder writes it.
type basis struct {
	row     row
	request *mvccpb.KeyValue
	gate    gate
	err     error // why it can't be taken over
}

// Mark tells this orphan from every other, also from a later one of the same
// process. The revision alone does not: claims that travelled in one request
// share it.
func (o Orphan) Mark() string { return o.sid + "/" + strconv.FormatInt(o.revision, 10) + "/" + o.ID }

// Holder is the name of the node that held it.
func (o Orphan) Holder() string { return o.node }

// Proved says whether it is known that its holder is dead.
func (o Orphan) Proved() bool { return o.proof.Proof != "" }

// Orphans lists claims of sessions that ended, at most limit. A claim that
// can't be read is passed over and reported in err, with the others returned.
//
// The list is exact, also after a missed event: an orphan is a claim of a
// node/<sid> that has no session/<sid>. Nodes that left none are forgotten.
func (r *Registry) Orphans(ctx context.Context, limit int) ([]Orphan, error) {
	s, err := r.lookAtRoster(ctx)
	if err != nil {
		return nil, err
	}
	return r.OrphansBut(ctx, s, limit, func(Orphan) bool { return false })
}

// OrphansBut is Orphans, by a survey that was made, without those that pass
// says are to be passed over.
func (r *Registry) OrphansBut(ctx context.Context, s Survey, limit int, pass func(Orphan) bool) ([]Orphan, error) {
	var orphans []Orphan
	var failed []error
	for _, n := range s.nodes {
		if n.Alive || len(orphans) >= limit {
			continue
		}
		found, err := r.orphansOf(ctx, n, limit-len(orphans), pass)
		orphans, failed = append(orphans, found...), append(failed, err)
	}
	return orphans, errors.Join(failed...)
}

const (
	// orphanPage is how many claims are read in one request.
	orphanPage = 1000
	// orphanPages bounds how far a look goes past those that are to be passed
	// over.
	orphanPages = 100
)

func (r *Registry) orphansOf(ctx context.Context, n Node, limit int, pass func(Orphan) bool) ([]Orphan, error) {
	var orphans []Orphan
	var failed []error
	from, end := r.keys.claims(n.Session), upTo(r.keys.claims(n.Session))
	for page := range orphanPages {
		resp, err := r.read(ctx, clientv3.OpGet(from, clientv3.WithRange(end), clientv3.WithLimit(orphanPage)))
		if err != nil {
			return nil, fmt.Errorf("list the claims of session %s: %w", n.Session, err)
		}
		found := resp.Responses[0].GetResponseRange()
		if page == 0 && len(found.Kvs) == 0 {
			if n.corrupt != nil {
				return nil, n.corrupt // left as it is
			}
			_, err := r.commit(ctx, r.table.forgetNode(n.Session))
			return nil, err
		}
		orphans = slices.Grow(orphans, min(len(found.Kvs), limit-len(orphans)))
		for _, kv := range found.Kvs {
			switch o, err := orphan(n, kv); {
			case err != nil:
				failed = append(failed, err)
			case !pass(o):
				orphans = append(orphans, o)
			}
			if len(orphans) == limit {
				return orphans, errors.Join(failed...)
			}
		}
		if !found.More {
			break
		}
		from = string(found.Kvs[len(found.Kvs)-1].Key) + "\x00"
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
		sid: n.Session, node: n.Name, revision: kv.ModRevision, value: value, proof: n.proof(), outage: n.survived,
	}, nil
}

const (
	// readTogether is how many orphans are read in one request, with their
	// queues and what requests there are to end processes.
	readTogether = maxOps - maxOps/8 - 1
	// exactTogether is that when three keys are read of each.
	exactTogether = (maxOps - maxOps/8) / 3
	// fewRequests is up to how many of those are read, whoever they concern,
	// instead of asking for each orphan whether there is one.
	fewRequests = 100
	// reads is how many reads are made at a time.
	reads = 4
)

// ReadOrphans reads what [Registry.Adopt] needs to know of each, many in a
// request, and keeps it with them. Adopt reads it by itself for those that were
// not read.
func (r *Registry) ReadOrphans(ctx context.Context, orphans []Orphan) error {
	all := make([]*Orphan, len(orphans))
	for i := range orphans {
		all[i] = &orphans[i]
	}
	var g errgroup.Group
	g.SetLimit(reads)
	for _, together := range inFewQueues(all, readTogether) {
		g.Go(func() error {
			doubtful, err := r.readQuickly(ctx, together)
			for _, few := range inFewQueues(doubtful, exactTogether) {
				err = errors.Join(err, r.readExactly(ctx, few))
			}
			return err
		})
	}
	return g.Wait()
}

// inFewQueues cuts orphans into parts of at most so many that fit into one
// request with the states of their queues.
func inFewQueues(orphans []*Orphan, most int) (parts [][]*Orphan) {
	for part := range slices.Chunk(orphans, most) {
		begin, queues := 0, map[string]bool{}
		for i, o := range part {
			if queues[o.Queue] = true; len(queues) > maxOps/8 {
				parts, begin, queues = append(parts, part[begin:i]), i, map[string]bool{o.Queue: true}
			}
		}
		parts = append(parts, part[begin:])
	}
	return parts
}

// readQuickly reads the rows alone. That a row is the one which the claim was made
// for needs no look at the claim: who writes it takes the claim away, and a
// takeover is conditioned on that. But of a row that can't be taken over it is
// not known whether it is corrupt or was taken over meanwhile: it is doubtful.
func (r *Registry) readQuickly(ctx context.Context, orphans []*Orphan) (doubtful []*Orphan, err error) {
	requests := r.keys.request("")
	ops := []clientv3.Op{clientv3.OpGet(requests, clientv3.WithPrefix(), clientv3.WithLimit(fewRequests))}
	v, resp, err := r.readEach(ctx, ops, orphans, func(ops []clientv3.Op, o *Orphan) []clientv3.Op {
		return append(ops, get(r.keys.process(o.ID)))
	})
	switch {
	case err != nil:
		return nil, err
	case resp.Responses[0].GetResponseRange().More:
		return orphans, nil
	}
	for _, o := range orphans {
		if o.basis.row, o.basis.err = r.rowOfOrphan(o, v); o.basis.err != nil {
			doubtful = append(doubtful, o)
		}
	}
	return doubtful, nil
}

// readExactly reads each with its claim and the request that concerns it.
func (r *Registry) readExactly(ctx context.Context, orphans []*Orphan) error {
	v, _, err := r.readEach(ctx, nil, orphans, func(ops []clientv3.Op, o *Orphan) []clientv3.Op {
		return append(ops,
			clientv3.OpGet(r.keys.claim(o.sid, o.ID), clientv3.WithKeysOnly()), get(r.keys.process(o.ID)), get(r.keys.request(o.ID)))
	})
	if err != nil {
		return err
	}
	for _, o := range orphans {
		if v.modRevision(r.keys.claim(o.sid, o.ID)) != o.revision {
			o.basis.err = ErrNotClaimable
		} else {
			o.basis.row, o.basis.err = r.rowOfOrphan(o, v)
		}
	}
	return nil
}

// readEach reads ops, what ask adds for each, and the states of their queues, at
// one revision.
func (r *Registry) readEach(
	ctx context.Context, ops []clientv3.Op, orphans []*Orphan, ask func([]clientv3.Op, *Orphan) []clientv3.Op,
) (view, *clientv3.TxnResponse, error) {
	ops = slices.Grow(ops, maxOps) // they are large, and copied when it grows
	queues := map[string]bool{}
	for _, o := range orphans {
		ops = ask(ops, o)
		if !queues[o.Queue] {
			queues[o.Queue] = true
			ops = append(ops, get(r.keys.queue(o.Queue)))
		}
	}
	resp, err := r.read(ctx, ops...)
	if err != nil {
		return nil, nil, err
	}
	v := newView(resp.Responses)
	for _, o := range orphans {
		o.basis = &basis{request: v[r.keys.request(o.ID)], gate: readGate(v[r.keys.queue(o.Queue)])}
	}
	return v, resp, nil
}

func (r *Registry) rowOfOrphan(o *Orphan, v view) (row, error) {
	key, claim := r.keys.process(o.ID), r.keys.claim(o.sid, o.ID)
	if v[key] == nil {
		return row{}, &CorruptError{Key: claim, Why: errors.New("there is no row for it")}
	}
	there, err := decodeRow(key, o.ID, v[key].Value)
	if err == nil && there.ended() {
		err = &CorruptError{Key: claim, Why: errors.New("the process has ended")}
	}
	return there, err
}
