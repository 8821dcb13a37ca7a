package registry

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// table holds the legal transitions. Each is a pure function from what was
// read to a transition; none talks to etcd, so all interleavings of them can
// be explored without it.
type table struct{ k keys }

// transition is one guarded transaction: it happens whole if its conditions
// hold, else not at all, and it can be recognised afterwards.
//
// Every transition compares a revision that it changes itself, so a copy that
// is sent again, or arrives late, finds its conditions broken: sending the
// same transition twice is safe.
type transition struct {
	name string
	// id is the process that it is about. One request holds at most one
	// transition of each: see commit.
	id string
	// alone: it travels in a request of its own, as it is about no single
	// process, or holds operations of somebody else's.
	alone bool
	// idle: nothing is lost if it is not made. It is given up when etcd is out
	// of space, instead of sent again and again.
	idle bool
	when []clientv3.Cmp
	then []clientv3.Op // may end in reads
	// otherwise is read when a condition does not hold: it tells the caller
	// why, and applied whether that is so because an earlier copy of this
	// very transition got through and only its answer was lost.
	otherwise []clientv3.Op
	applied   func(view) bool
}

// view is what a transaction read, by key.
type view map[string]*mvccpb.KeyValue

func newView(responses []*etcdserverpb.ResponseOp) view {
	v := view{}
	for _, r := range responses {
		for _, kv := range r.GetResponseRange().GetKvs() {
			v[string(kv.Key)] = kv
		}
	}
	return v
}

// row decodes the row of id; ok is false if it is not there or not readable.
func (v view) row(k keys, id string) (r row, ok bool) {
	kv := v[k.process(id)]
	if kv == nil {
		return row{}, false
	}
	r, err := decodeRow(string(kv.Key), id, kv.Value)
	return r, err == nil
}

// first is any key of a range that was read; of the key alone if end is empty.
func (v view) first(key, end string) *mvccpb.KeyValue {
	if end == "" {
		return v[key]
	}
	for k, kv := range v {
		if k >= key && k < end {
			return kv
		}
	}
	return nil
}

// modRevision is 0 for a key that was not there, as in etcd's comparisons.
func (v view) modRevision(key string) int64 {
	if kv := v[key]; kv != nil {
		return kv.ModRevision
	}
	return 0
}

// asRead holds while the key is what it was at that ModRevision.
//
// It is clientv3.Compare without the copy that it makes by reflection: of all
// that a takeover of many costs its node, that was a seventh. So is createdAt.
func asRead(key string, revision int64) clientv3.Cmp {
	c := clientv3.ModRevision(key)
	compare := c.GetCompare()
	compare.Result = etcdserverpb.Compare_EQUAL
	compare.TargetUnion = &etcdserverpb.Compare_ModRevision{ModRevision: revision}
	return c
}

func absent(key string) clientv3.Cmp { return createdAt(key, 0) }

func createdAt(key string, revision int64) clientv3.Cmp {
	c := clientv3.CreateRevision(key)
	compare := c.GetCompare()
	compare.Result = etcdserverpb.Compare_EQUAL
	compare.TargetUnion = &etcdserverpb.Compare_CreateRevision{CreateRevision: revision}
	return c
}

func put(key, value string) clientv3.Op { return clientv3.OpPut(key, value) }
func remove(key string) clientv3.Op     { return clientv3.OpDelete(key) }
func get(key string) clientv3.Op        { return clientv3.OpGet(key) }

// holder is the node that makes a transition, under its session.
type holder struct {
	sid   string
	node  string
	alive []clientv3.Cmp // session/<sid> is there, on its lease, and mine
}

// places are where a process that is not claimed can be by what its row says,
// those first that a node claims from.
func (t table) places(r row) []string {
	if r.What == whereParked {
		return []string{t.k.parked(r.ID)}
	}
	return t.waitingPlaces(r)
}

// leftovers removes what attempts of this series can have left under the id.
func (t table) leftovers(r row) []clientv3.Op {
	return []clientv3.Op{
		remove(t.k.progress(r.ID)),
		clientv3.OpDelete(t.k.steps(r.ID), clientv3.WithPrefix()),
	}
}

// held is true while the claim with this fence is mine and my session alive.
// Every write of an attempt is conditioned on it.
func (t table) held(h holder, id string, fence int64) []clientv3.Cmp {
	return append([]clientv3.Cmp{asRead(t.k.claim(h.sid, id), fence)}, h.alive...)
}
