package registry

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/drover-run/drover/lease/etcdtest"
)

// TestEvaluatorAnswersAsEtcd gives random transactions to both and compares
// every answer, and the whole state after each.
func TestEvaluatorAnswersAsEtcd(t *testing.T) {
	t.Parallel()
	client := etcdtest.New(t).Client(t) // nobody else may use up revisions
	leases := []clientv3.LeaseID{0}
	for range 2 {
		l, err := client.Grant(t.Context(), 3600)
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l.ID)
	}
	root := "/evaluator/"
	trial := 0
	rapid.Check(t, func(rt *rapid.T) {
		trial++ // each draw of rapid has a prefix of its own
		d := newDuel(t, rt, client, fmt.Sprintf("%s%06d/", root, trial), leases)
		rt.Repeat(map[string]func(*rapid.T){
			"transaction": d.transaction,
			"lease":       d.putOnLease,
			"":            d.same,
		})
	})
}

// duel is one etcd and one evaluator with the same history under prefix.
type duel struct {
	t      *testing.T
	client *clientv3.Client
	prefix string
	leases []clientv3.LeaseID
	state  evaluator
	seen   []int64 // revisions worth comparing with
}

func newDuel(t *testing.T, rt *rapid.T, client *clientv3.Client, prefix string, leases []clientv3.LeaseID) *duel {
	resp, err := client.Get(t.Context(), prefix)
	if err != nil {
		rt.Fatal(err)
	}
	return &duel{
		t: t, client: client, prefix: prefix, leases: leases,
		state: evaluator{revision: resp.Header.Revision, kvs: map[string]*mvccpb.KeyValue{}}, seen: []int64{0},
	}
}

func (d *duel) key(rt *rapid.T, label string) string {
	return d.prefix + rapid.SampledFrom([]string{"a", "a/1", "a/2", "b", "b/1", "c"}).Draw(rt, label)
}

// rng is nothing for a key alone, or makes it a range.
func (d *duel) rng(rt *rapid.T, key string) (clientv3.OpOption, string) {
	switch rapid.IntRange(0, 3).Draw(rt, "range") {
	case 0:
		return clientv3.WithPrefix(), clientv3.GetPrefixRangeEnd(key)
	case 1:
		end := clientv3.GetPrefixRangeEnd(d.prefix)
		return clientv3.WithRange(end), end
	default:
		return nil, ""
	}
}

func (d *duel) transaction(rt *rapid.T) {
	when := d.conditions(rt)
	then, otherwise := d.operations(rt, "then", true), d.operations(rt, "else", true)
	next, want, wantErr := d.state.txn(when, then, otherwise)
	got, err := d.client.Txn(d.t.Context()).If(when...).Then(then...).Else(otherwise...).Commit()
	if wantErr != nil || err != nil {
		if !errors.Is(err, rpctypes.ErrDuplicateKey) || wantErr == nil {
			rt.Fatalf("etcd answered %v, the evaluator %v", err, wantErr)
		}
		return
	}
	d.state = next
	d.seen = append(d.seen, next.revision)
	if got.Succeeded != want.Succeeded || got.Header.Revision != next.revision {
		rt.Fatalf("etcd: succeeded %v at %d; the evaluator: %v at %d",
			got.Succeeded, got.Header.Revision, want.Succeeded, next.revision)
	}
	if g, w := tell(got), tell(want); g != w {
		rt.Fatalf("etcd answered\n%s\nthe evaluator\n%s", g, w)
	}
}

func (d *duel) conditions(rt *rapid.T) []clientv3.Cmp {
	when := make([]clientv3.Cmp, rapid.IntRange(0, 3).Draw(rt, "conditions"))
	for i := range when {
		key := d.key(rt, "compared")
		revision := rapid.SampledFrom(d.seen).Draw(rt, "revision")
		result := rapid.SampledFrom([]string{"=", "!=", "<", ">"}).Draw(rt, "is")
		switch rapid.IntRange(0, 4).Draw(rt, "target") {
		case 0:
			when[i] = clientv3.Compare(clientv3.CreateRevision(key), result, revision)
		case 1:
			when[i] = clientv3.Compare(clientv3.ModRevision(key), result, revision)
		case 2:
			when[i] = clientv3.Compare(clientv3.Version(key), result, rapid.IntRange(0, 3).Draw(rt, "version"))
		case 3:
			when[i] = clientv3.Compare(clientv3.Value(key), result, rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "v"))
		default:
			when[i] = clientv3.Compare(clientv3.LeaseValue(key), result, rapid.SampledFrom(d.leases).Draw(rt, "lease"))
		}
		if rapid.Bool().Draw(rt, "all under it") {
			when[i] = when[i].WithPrefix()
		}
	}
	return when
}

// operations are half of them transactions again, if they may be nested.
func (d *duel) operations(rt *rapid.T, label string, nested bool) []clientv3.Op {
	ops := make([]clientv3.Op, rapid.IntRange(0, 4).Draw(rt, label))
	for i := range ops {
		if nested && rapid.Bool().Draw(rt, "nested") {
			ops[i] = clientv3.OpTxn(d.conditions(rt), d.operations(rt, "nested then", false), d.operations(rt, "nested else", false))
			continue
		}
		key := d.key(rt, "key")
		var opts []clientv3.OpOption
		switch rapid.IntRange(0, 2).Draw(rt, "operation") {
		case 0:
			ops[i] = clientv3.OpPut(key, rapid.SampledFrom([]string{"", "x", "y"}).Draw(rt, "value"))
		case 1:
			if o, _ := d.rng(rt, key); o != nil {
				opts = append(opts, o)
			}
			ops[i] = clientv3.OpDelete(key, opts...)
		default:
			if o, _ := d.rng(rt, key); o != nil {
				opts = append(opts, o, clientv3.WithLimit(rapid.Int64Range(0, 3).Draw(rt, "limit")))
			}
			if rapid.IntRange(0, 3).Draw(rt, "count") == 0 {
				opts = append(opts, clientv3.WithCountOnly())
			}
			ops[i] = clientv3.OpGet(key, opts...)
		}
	}
	return ops
}

func (d *duel) putOnLease(rt *rapid.T) {
	key, lease := d.key(rt, "key"), rapid.SampledFrom(d.leases).Draw(rt, "on")
	if _, err := d.client.Put(d.t.Context(), key, "leased", clientv3.WithLease(lease)); err != nil {
		rt.Fatal(err)
	}
	d.state = d.state.putOnLease(key, "leased", int64(lease))
	d.seen = append(d.seen, d.state.revision)
}

func (d *duel) same(rt *rapid.T) {
	all := []clientv3.Op{clientv3.OpGet(d.prefix, clientv3.WithPrefix())}
	_, want, _ := d.state.txn(nil, all, nil)
	got, err := d.client.Txn(d.t.Context()).Then(all...).Commit()
	if err != nil {
		rt.Fatal(err)
	}
	if g, w := tell(got), tell(want); g != w {
		rt.Fatalf("etcd holds\n%s\nthe evaluator\n%s", g, w)
	}
}

// tell writes an answer out, so that two can be compared and read.
func tell(resp *clientv3.TxnResponse) string {
	var b strings.Builder
	for _, r := range resp.Responses {
		switch {
		case r.GetResponseTxn() != nil:
			fmt.Fprintf(&b, "nested, succeeded %v\n%s.\n", r.GetResponseTxn().Succeeded, tell((*clientv3.TxnResponse)(r.GetResponseTxn())))
		case r.GetResponsePut() != nil:
			b.WriteString("put\n")
		case r.GetResponseDeleteRange() != nil:
			fmt.Fprintf(&b, "deleted %d\n", r.GetResponseDeleteRange().Deleted)
		default:
			found := r.GetResponseRange()
			fmt.Fprintf(&b, "found %d, more %v\n", found.Count, found.More)
			for _, kv := range found.Kvs {
				b.WriteString("  " + tellKV(kv) + "\n")
			}
		}
	}
	return b.String()
}

func tellKV(kv *mvccpb.KeyValue) string {
	return fmt.Sprintf("%s=%q created %d modified %d version %d lease %d",
		kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}
