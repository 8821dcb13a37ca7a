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
			break
		}
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
		sid: n.Session, node: n.Name, revision: kv.ModRevision, value: value, proof: n.proof(),
	}, nil
}

const (
	// readTogether is how many orphans are read in one request: three keys
	// each, and their queues.
	readTogether = (maxOps - maxOps/8) / 3
	// reads is how many such requests are made at a time.
	reads = 4
)

// ReadOrphans reads what [Registry.Adopt] needs to know of each, many in a
// request, and keeps it with them. Adopt reads it by itself for those that were
// not read.
func (r *Registry) ReadOrphans(ctx context.Context, orphans []Orphan) error {
	var g errgroup.Group
	g.SetLimit(reads)
	for _, together := range inFewQueues(orphans) {
		g.Go(func() error { return r.readOrphans(ctx, together) })
	}
	return g.Wait()
}

// inFewQueues cuts orphans into parts that fit into one request with the
// states of their queues.
func inFewQueues(orphans []Orphan) (parts [][]Orphan) {
	for part := range slices.Chunk(orphans, readTogether) {
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

func (r *Registry) readOrphans(ctx context.Context, orphans []Orphan) error {
	var ops []clientv3.Op
	queues := map[string]bool{}
	for _, o := range orphans {
		ops = append(ops, clientv3.OpGet(r.keys.claim(o.sid, o.ID), clientv3.WithKeysOnly()),
			get(r.keys.process(o.ID)), get(r.keys.request(o.ID)))
		if !queues[o.Queue] {
			queues[o.Queue] = true
			ops = append(ops, get(r.keys.queue(o.Queue)))
		}
	}
	resp, err := r.read(ctx, ops...)
	if err != nil {
		return err
	}
	v := newView(resp.Responses)
	for i := range orphans {
		o := &orphans[i]
		o.basis = &basis{request: v[r.keys.request(o.ID)], gate: readGate(v[r.keys.queue(o.Queue)])}
		o.basis.row, o.basis.err = r.rowOfOrphan(*o, v)
	}
	return nil
}

func (r *Registry) rowOfOrphan(o Orphan, v view) (row, error) {
	key, claim := r.keys.process(o.ID), r.keys.claim(o.sid, o.ID)
	if v.modRevision(claim) != o.revision {
		return row{}, ErrNotClaimable
	}
	if v[key] == nil {
		return row{}, &CorruptError{Key: claim, Why: errors.New("there is no row for it")}
	}
	there, err := decodeRow(key, o.ID, v[key].Value)
	if err == nil && there.ended() {
		err = &CorruptError{Key: claim, Why: errors.New("the process has ended")}
	}
	return there, err
}
