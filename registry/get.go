package registry

import (
	"context"
	"encoding/json"
	"errors"
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
	ops := append([]clientv3.Op{
		get(key), get(r.keys.input(id)), get(r.keys.output(id)), get(r.keys.progress(id)),
	}, r.rosterOps()...)
	resp, err := r.read(ctx, ops...)
	if err != nil {
		return Process{}, fmt.Errorf("get %s: %w", id, err)
	}
	v := newView(resp.Responses[:4])
	if v[key] == nil {
		return Process{}, fmt.Errorf("get %s: %w", id, ErrNotFound)
	}
	there, err := decodeRow(key, id, v[key].Value)
	if err != nil {
		return Process{}, fmt.Errorf("get %s: %w", id, err)
	}
	if err := r.checkApart(v, there); err != nil {
		return Process{}, fmt.Errorf("get %s: %w", id, err)
	}
	p := there.process()
	r.attach(v, there, &p)
	if p.Ended() {
		return p, nil
	}
	nodes := r.parseRoster(resp.Responses[4].GetResponseRange().Kvs, resp.Responses[5].GetResponseRange().Kvs)
	err = r.locate(ctx, resp.Header.Revision, nodes, []row{there}, []*Process{&p})
	return p, err
}

// checkApart holds input and output against what the row says of them.
func (r *Registry) checkApart(v view, there row) error {
	for key, size := range map[string]int{
		r.keys.input(there.ID): there.spec.InputBytes, r.keys.output(there.ID): there.OutputSize,
	} {
		if kv := v[key]; size > 0 && (kv == nil || len(kv.Value) != size || !json.Valid(kv.Value)) {
			return &CorruptError{Key: key, Why: errors.New("it is not what the row speaks of")}
		}
	}
	return nil
}

// attach adds what stands beside the row in keys of its own, as far as v has
// it.
func (r *Registry) attach(v view, there row, p *Process) {
	if kv := v[r.keys.input(there.ID)]; kv != nil && there.spec.InputBytes > 0 {
		p.Input = kv.Value
	}
	if kv := v[r.keys.output(there.ID)]; kv != nil && there.OutputSize > 0 {
		p.Output = kv.Value
	}
	if kv := v[r.keys.progress(there.ID)]; kv != nil && !there.ended() {
		p.Progress = readProgress(kv)
	}
}

// readProgress takes what an attempt said of itself out of its key; nothing if
// it can't be read, for it is only there to be looked at.
func readProgress(kv *mvccpb.KeyValue) json.RawMessage {
	var said struct {
		Value json.RawMessage `json:"value"`
	}
	if err := json.Unmarshal(kv.Value, &said); err != nil {
		return nil
	}
	return said.Value
}

// readRows reads the rows of many ids as they are, by id.
func (r *Registry) readRows(ctx context.Context, ids []string, at ...clientv3.OpOption) (map[string]*mvccpb.KeyValue, error) {
	rows := map[string]*mvccpb.KeyValue{}
	for batch := range slices.Chunk(ids, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, id := range batch {
			ops[i] = clientv3.OpGet(r.keys.process(id), at...)
		}
		resp, err := r.read(ctx, ops...)
		if err != nil {
			return nil, err
		}
		for i, id := range batch {
			if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
				rows[id] = kvs[0]
			}
		}
	}
	return rows, nil
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
	for _, place := range r.table.places(there) {
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
