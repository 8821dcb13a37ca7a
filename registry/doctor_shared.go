package registry

import (
	"context"
	"encoding/json"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// hints looks at the index of what has ended. One whose rows are gone is as
// good as any: it is forgotten when its time comes.
func (c *checkup) hints(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		h, err := c.r.keys.readHint(kv)
		if err == nil && h.outcome.valid() {
			continue
		}
		f := Finding{
			What:   "a hint of ended processes that can't be read",
			Advice: "what it speaks of is found by its row; delete it with etcdctl",
		}
		if err := c.suspect(ctx, kv, f, nil); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkup) gates(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		name, ok := c.name(kv)
		if !ok {
			if err := c.foreign(ctx, []*mvccpb.KeyValue{kv}); err != nil {
				return err
			}
			continue
		}
		var v queueValue
		if err := json.Unmarshal(kv.Value, &v); err == nil {
			continue
		}
		f := Finding{
			What:   "the state of a queue that can't be read, so nobody claims from it",
			Advice: "resume the queue " + name + ", or pause it again",
		}
		if err := c.suspect(ctx, kv, f, nil); err != nil {
			return err
		}
	}
	return nil
}

// roster looks at node/ and session/.
func (c *checkup) roster(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	for _, kv := range kvs {
		sid := last(string(kv.Key))
		switch string(kv.Key) {
		case c.r.keys.node(sid):
			var v nodeValue
			if err := json.Unmarshal(kv.Value, &v); err != nil {
				f := Finding{
					What:   "a node of the roster that can't be read, so nobody can prove its death",
					Advice: "nothing, while its session lives; owner-bound processes that it leaves are to be abandoned by hand",
				}
				if err := c.suspect(ctx, kv, f, nil); err != nil {
					return err
				}
			}
		case c.r.keys.session(sid):
			if err := c.session(ctx, sid, kv); err != nil {
				return err
			}
		default:
			if err := c.foreign(ctx, []*mvccpb.KeyValue{kv}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checkup) session(ctx context.Context, sid string, kv *mvccpb.KeyValue) error {
	var v sessionValue
	unreadable := json.Unmarshal(kv.Value, &v) != nil
	n := slices.IndexFunc(c.nodes, func(n Node) bool { return n.Session == sid && n.revision != 0 })
	switch {
	case kv.Lease == 0:
		tr := c.r.table.endDetached(Node{Session: sid, created: kv.CreateRevision})
		return c.suspect(ctx, kv, Finding{What: "a session on no lease: it would never end, nor what it holds be taken over"}, &tr)
	case n < 0:
		tr, err := c.r.table.enroll(sid, v.Node, clientv3.Compare(clientv3.CreateRevision(string(kv.Key)), "=", kv.CreateRevision))
		if err != nil {
			return err
		}
		return c.suspect(ctx, kv, Finding{What: "a session that is not in the roster: what it leaves behind would not be found"}, &tr)
	case unreadable:
		return c.suspect(ctx, kv, Finding{What: "a session that can't be read", Advice: "restart its node"}, nil)
	}
	return nil
}

// enroll puts a session into the roster that is missing there. All that is
// known of its node is the name, if that.
func (t table) enroll(sid, name string, condition clientv3.Cmp) (transition, error) {
	value, err := encode(nodeValue{Name: name, Session: sid})
	if err != nil {
		return transition{}, err
	}
	key := t.k.node(sid)
	return transition{
		name: "enroll session " + sid, alone: true,
		when:      []clientv3.Cmp{absent(key), condition},
		then:      []clientv3.Op{put(key, string(value))},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v[key] != nil && string(v[key].Value) == string(value) },
	}, nil
}
