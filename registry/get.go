package registry

import (
	"context"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxOps is how many operations one request of ours has at the most. etcd's
// default limit (--max-txn-ops) is 128.
const maxOps = 120

// Get reads one process, whole, at one revision. An unknown id is an error
// that wraps [ErrNotFound]; a row that can't be read is a [*CorruptError].
func (r *Registry) Get(ctx context.Context, id string) (Process, error) {
	if err := CheckID(id); err != nil {
		return Process{}, err
	}
	key := r.keys.process(id)
	ops := append([]clientv3.Op{get(key), get(r.keys.input(id)), get(r.keys.output(id))}, r.rosterOps()...)
	resp, err := r.read(ctx, ops...)
	if err != nil {
		return Process{}, fmt.Errorf("get %s: %w", id, err)
	}
	v := newView(resp.Responses[:3])
	if v[key] == nil {
		return Process{}, fmt.Errorf("get %s: %w", id, ErrNotFound)
	}
	there, err := decodeRow(key, id, v[key].Value)
	if err != nil {
		return Process{}, fmt.Errorf("get %s: %w", id, err)
	}
	p := there.process()
	if kv := v[r.keys.input(id)]; kv != nil && there.spec.InputBytes > 0 {
		p.Input = kv.Value
	}
	if kv := v[r.keys.output(id)]; kv != nil && there.OutputSize > 0 {
		p.Output = kv.Value
	}
	if p.Ended() {
		return p, nil
	}
	nodes := r.parseRoster(resp.Responses[3].GetResponseRange().Kvs, resp.Responses[4].GetResponseRange().Kvs)
	err = r.locate(ctx, resp.Header.Revision, nodes, []row{there}, []*Process{&p})
	return p, err
}

// readPlace reads a row with its request and the places where it may wait.
func (r *Registry) readPlace(ctx context.Context, id string) (view, row, error) {
	key := r.keys.process(id)
	resp, err := r.read(ctx, get(key))
	if err != nil {
		return nil, row{}, err
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return nil, row{}, ErrNotFound
	}
	there, err := decodeRow(key, id, kvs[0].Value)
	if err != nil {
		return nil, row{}, err
	}
	ops := []clientv3.Op{get(key), get(r.keys.request(id))}
	for _, place := range r.table.waitingPlaces(there) {
		ops = append(ops, get(place))
	}
	if resp, err = r.read(ctx, ops...); err != nil {
		return nil, row{}, err
	}
	v := newView(resp.Responses)
	if v.modRevision(key) == kvs[0].ModRevision {
		return v, there, nil
	}
	return r.readPlace(ctx, id) // written in between: its places may be others now
}

// locate says of rows that have not ended where they wait or who holds them,
// by point reads at the revision at which the rows were read.
func (r *Registry) locate(ctx context.Context, revision int64, nodes []Node, rows []row, into []*Process) error {
	var ops []clientv3.Op
	at := clientv3.WithRev(revision)
	for _, there := range rows {
		ops = append(ops, clientv3.OpGet(r.keys.request(there.ID), at), clientv3.OpGet(r.keys.parked(there.ID), at))
		for _, place := range r.table.waitingPlaces(there) {
			ops = append(ops, clientv3.OpGet(place, at))
		}
		for _, n := range nodes {
			ops = append(ops, clientv3.OpGet(r.keys.claim(n.Session, there.ID), at))
		}
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

// place reads status, claim and request of one process out of v.
func (r *Registry) place(there row, nodes []Node, v view, p *Process) {
	if kv := v[r.keys.request(there.ID)]; kv != nil {
		p.CancelRequested, _ = decodeRequest(kv) // one that can't be read is still a request
		if p.CancelRequested == nil {
			p.CancelRequested = &Request{}
		}
	}
	for _, n := range nodes {
		if kv := v[r.keys.claim(n.Session, there.ID)]; kv != nil {
			r.placeClaim(n, kv, p)
			return
		}
	}
	switch {
	case v[r.keys.parked(there.ID)] != nil:
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
