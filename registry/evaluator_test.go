package registry

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// evaluator is what etcd's transactions do, in memory: comparisons, ranges,
// puts, deletes and nested transactions over one state. TestEvaluatorAnswersAsEtcd holds it against
// etcd. A state is never changed: a transaction returns the next one.
type evaluator struct {
	revision int64
	kvs      map[string]*mvccpb.KeyValue
}

// errOverlap is etcd's "duplicate key given in txn request".
var errOverlap = errors.New("a transaction puts a key twice, or puts what it deletes")

// txn evaluates a transaction. As in etcd, both branches are checked before
// anything is done, all conditions, also nested ones, are evaluated on the
// state before it, each operation sees those before it, and all writes share
// one revision.
func (s evaluator) txn(when []clientv3.Cmp, then, otherwise []clientv3.Op) (evaluator, *clientv3.TxnResponse, error) {
	if _, ok := overlap(then); !ok {
		return s, nil, errOverlap
	}
	if _, ok := overlap(otherwise); !ok {
		return s, nil, errOverlap
	}
	next := evaluator{revision: s.revision, kvs: s.kvs}
	resp := next.branch(when, then, otherwise, &s)
	return next, resp, nil
}

// branch does what the conditions say. before is the state that they are
// evaluated on, whatever was written since.
func (s *evaluator) branch(when []clientv3.Cmp, then, otherwise []clientv3.Op, before *evaluator) *clientv3.TxnResponse {
	resp := &clientv3.TxnResponse{Succeeded: before.holds(when)}
	ops := otherwise
	if resp.Succeeded {
		ops = then
	}
	for _, op := range ops {
		resp.Responses = append(resp.Responses, s.apply(op, before))
	}
	return resp
}

// touched is what a list of operations may put and delete.
type touched struct {
	puts    map[string]bool
	deletes []clientv3.Op
}

func (t touched) deleted(key string) bool {
	return slices.ContainsFunc(t.deletes, func(d clientv3.Op) bool { return within(key, d.KeyBytes(), d.RangeBytes()) })
}

// overlap collects what ops touch; ok is false if etcd refuses them. It holds a
// nested transaction against those before it and against the deletes beside
// it, but not against the deletes of those after it: what one puts, a later
// one may delete. The two branches of one may touch the same.
func overlap(ops []clientv3.Op) (all touched, ok bool) {
	all.puts = map[string]bool{}
	for _, op := range ops {
		if op.IsDelete() {
			all.deletes = append(all.deletes, op)
		}
	}
	for _, op := range ops {
		if !op.IsTxn() {
			continue
		}
		_, thenOps, elseOps := op.Txn()
		then, ok1 := overlap(thenOps)
		otherwise, ok2 := overlap(elseOps)
		both := maps.Clone(then.puts)
		maps.Copy(both, otherwise.puts)
		for key := range both {
			if all.puts[key] || all.deleted(key) {
				return all, false
			}
		}
		if !ok1 || !ok2 {
			return all, false
		}
		maps.Copy(all.puts, both)
		all.deletes = append(append(all.deletes, then.deletes...), otherwise.deletes...)
	}
	for _, op := range ops {
		key := string(op.KeyBytes())
		if op.IsPut() && (all.puts[key] || all.deleted(key)) {
			return all, false
		}
		if op.IsPut() {
			all.puts[key] = true
		}
	}
	return all, true
}

// within says whether key is in a range, as etcd takes it: one key if there is
// no end, everything from it on if the end is a zero byte.
func within(key string, from, end []byte) bool {
	switch {
	case len(end) == 0:
		return key == string(from)
	case len(end) == 1 && end[0] == 0:
		return key >= string(from)
	default:
		return key >= string(from) && key < string(end)
	}
}

func (s evaluator) find(from, end []byte) []*mvccpb.KeyValue {
	if len(end) == 0 {
		if kv := s.kvs[string(from)]; kv != nil {
			return []*mvccpb.KeyValue{kv}
		}
		return nil
	}
	var found []*mvccpb.KeyValue
	for key, kv := range s.kvs {
		if within(key, from, end) {
			found = append(found, kv)
		}
	}
	slices.SortFunc(found, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
	return found
}

func (s evaluator) holds(when []clientv3.Cmp) bool {
	for i := range when {
		if !s.compare(when[i].GetCompare()) {
			return false
		}
	}
	return true
}

// compare asks it of every key of the range. Of no key at all it asks it of
// one that has nothing, except for values, where the answer is always no.
func (s evaluator) compare(c *etcdserverpb.Compare) bool {
	found := s.find(c.Key, c.RangeEnd)
	if len(found) == 0 {
		if c.Target == etcdserverpb.Compare_VALUE {
			return false
		}
		found = []*mvccpb.KeyValue{{}}
	}
	return !slices.ContainsFunc(found, func(kv *mvccpb.KeyValue) bool { return !compareOne(c, kv) })
}

func compareOne(c *etcdserverpb.Compare, kv *mvccpb.KeyValue) bool {
	var order int
	switch c.Target {
	case etcdserverpb.Compare_VALUE:
		order = bytes.Compare(kv.Value, c.GetValue())
	case etcdserverpb.Compare_CREATE:
		order = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case etcdserverpb.Compare_MOD:
		order = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case etcdserverpb.Compare_VERSION:
		order = cmp.Compare(kv.Version, c.GetVersion())
	case etcdserverpb.Compare_LEASE:
		order = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case etcdserverpb.Compare_EQUAL:
		return order == 0
	case etcdserverpb.Compare_NOT_EQUAL:
		return order != 0
	case etcdserverpb.Compare_GREATER:
		return order > 0
	default:
		return order < 0
	}
}

// apply does one operation. before is the state at the transaction's start,
// whose map is still shared as long as nothing was written.
func (s *evaluator) apply(op clientv3.Op, before *evaluator) *etcdserverpb.ResponseOp {
	switch {
	case op.IsTxn():
		when, then, otherwise := op.Txn()
		resp := (*etcdserverpb.TxnResponse)(s.branch(when, then, otherwise, before))
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseTxn{ResponseTxn: resp}}
	case op.IsPut():
		s.write(before)
		s.put(string(op.KeyBytes()), op.ValueBytes(), 0)
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponsePut{
			ResponsePut: &etcdserverpb.PutResponse{},
		}}
	case op.IsDelete():
		found := s.find(op.KeyBytes(), op.RangeBytes())
		if len(found) > 0 {
			s.write(before)
		}
		for _, kv := range found {
			delete(s.kvs, string(kv.Key))
		}
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseDeleteRange{
			ResponseDeleteRange: &etcdserverpb.DeleteRangeResponse{Deleted: int64(len(found))},
		}}
	default:
		found := s.find(op.KeyBytes(), op.RangeBytes())
		resp := &etcdserverpb.RangeResponse{Count: int64(len(found))}
		if op.IsCountOnly() {
			found = nil
		}
		if limit := int(op.Limit()); limit > 0 && len(found) > limit {
			found, resp.More = found[:limit], true
		}
		resp.Kvs = found
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: resp}}
	}
}

// write takes the next revision for this transaction, and a map of its own.
func (s *evaluator) write(before *evaluator) {
	if s.revision == before.revision {
		s.revision++
		s.kvs = maps.Clone(s.kvs)
	}
}

// put without a lease takes a key off its lease, as in etcd.
func (s *evaluator) put(key string, value []byte, lease int64) {
	kv := &mvccpb.KeyValue{
		Key: []byte(key), Value: value, Lease: lease,
		CreateRevision: s.revision, ModRevision: s.revision, Version: 1,
	}
	if old := s.kvs[key]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
	}
	s.kvs[key] = kv
}

// putOnLease is a transaction of its own.
func (s evaluator) putOnLease(key, value string, lease int64) evaluator {
	next := evaluator{revision: s.revision + 1, kvs: maps.Clone(s.kvs)}
	next.put(key, []byte(value), lease)
	return next
}

// drop is a delete of its own, as of an etcd lease that expires.
func (s evaluator) drop(key string) evaluator {
	next := evaluator{revision: s.revision + 1, kvs: maps.Clone(s.kvs)}
	delete(next.kvs, key)
	return next
}
