package registry

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// locate says of rows that have not ended where they wait or who holds them,
// at the revision at which the rows were read.
//
// Where a row waits follows from the row, but for one thing: whether its timer
// has matured. So what is to be found out is who holds it and whether somebody
// asks for its end.
func (r *Registry) locate(ctx context.Context, revision int64, nodes []Node, rows []row, into []*Process) error {
	if len(rows) == 0 {
		return nil
	}
	at := clientv3.WithRev(revision)
	ops := r.among(rows, r.keys.request(""), at)
	for _, there := range rows {
		if there.What != "" && there.What != whereParked {
			ops = append(ops, clientv3.OpGet(r.keys.timer(there.Due, there.ID, there.What), at))
		}
	}
	for _, n := range nodes {
		ops = append(ops, r.among(rows, r.keys.claims(n.Session), at)...)
	}
	v := view{}
	for batch := range slices.Chunk(ops, maxOps) {
		resp, err := r.read(ctx, batch...)
		if err != nil {
			return fmt.Errorf("locate processes: %w", err)
		}
		for key, kv := range newView(resp.Responses) {
			v[key] = kv
		}
	}
	for i, there := range rows {
		r.place(there, nodes, v, into[i])
	}
	return nil
}

// fewRows are looked up one by one. The keys of more are read as one range from
// the first to the last, which costs one operation for a session and not one
// for each row and session; rows of a list are next to each other.
const fewRows = 4

// among reads what stands for these rows under a prefix that is followed by
// the id.
func (r *Registry) among(rows []row, prefix string, at clientv3.OpOption) []clientv3.Op {
	ids := make([]string, len(rows))
	for i, there := range rows {
		ids[i] = escape.Replace(there.ID)
	}
	if len(rows) > fewRows {
		return []clientv3.Op{clientv3.OpGet(prefix+slices.Min(ids), clientv3.WithRange(prefix+slices.Max(ids)+"\x00"), at)}
	}
	ops := make([]clientv3.Op, len(ids))
	for i, id := range ids {
		ops[i] = clientv3.OpGet(prefix+id, at)
	}
	return ops
}

// place reads status, claim and request of one process out of v.
func (r *Registry) place(there row, nodes []Node, v view, p *Process) {
	if kv := v[r.keys.request(there.ID)]; kv != nil {
		p.CancelRequested, _ = decodeRequest(kv) // one that can't be read is still a request
	}
	for _, n := range nodes {
		if kv := v[r.keys.claim(n.Session, there.ID)]; kv != nil {
			r.placeClaim(n, kv, p)
			return
		}
	}
	switch {
	case there.What == whereParked:
		p.Status = StatusParked
	case there.What != "" && v[r.keys.timer(there.Due, there.ID, there.What)] != nil:
		p.Status, p.DueAt = StatusScheduled, there.Due.UTC()
	default:
		p.Status = StatusPending
	}
}

func (r *Registry) placeClaim(n Node, kv *mvccpb.KeyValue, p *Process) {
	p.Status = StatusOrphaned
	if n.Alive {
		p.Status = StatusRunning
	}
	p.Attempt++
	p.Claim = &Holding{Node: n.Name, Session: n.Session, Fence: kv.ModRevision}
	if value, err := decodeClaim(kv); err == nil {
		p.Claim.ClaimedAt = value.ClaimedAt.UTC()
		p.StartedAt = p.Claim.ClaimedAt
	}
}
