package registry

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What is in this file only suspects: who is suspected is examined. It must
// not pass over anything that an examination would find.

// owner is the process that a key belongs to; ok is false if the key is of no
// form that drover writes.
func (k keys) owner(key string) (id string, ok bool) {
	area, rest, _ := strings.Cut(strings.TrimPrefix(key, k.root), "/")
	switch area {
	case "pending":
		e, ok := k.parsePending(key)
		return e.ID, ok && k.pending(e) == key && CheckID(e.ID) == nil
	case "timer":
		due, id, what, ok := k.parseTimer(key)
		return id, ok && k.timer(due, id, what) == key && CheckID(id) == nil
	case "claim":
		sid, escaped, _ := strings.Cut(rest, "/")
		id := unescape.Replace(escaped)
		return id, sid != "" && k.claim(sid, id) == key && CheckID(id) == nil
	case "step":
		escaped, name, _ := strings.Cut(rest, "/")
		id := unescape.Replace(escaped)
		return id, k.step(id, name) == key && CheckID(id) == nil && checkName("step", name) == nil
	default:
		id := unescape.Replace(rest)
		return id, k.root+area+"/"+escape.Replace(id) == key && CheckID(id) == nil
	}
}

// owned sorts keys by the process that they belong to.
func (c *checkup) owned(ctx context.Context, kvs []*mvccpb.KeyValue) (ids []string, own []*mvccpb.KeyValue, err error) {
	for _, kv := range kvs {
		id, ok := c.r.keys.owner(string(kv.Key))
		if !ok {
			if err := c.foreign(ctx, []*mvccpb.KeyValue{kv}); err != nil {
				return nil, nil, err
			}
			continue
		}
		ids, own = append(ids, id), append(own, kv)
	}
	return ids, own, nil
}

// beside suspects keys that stand beside rows, and places, which do not follow
// from their row.
func (c *checkup) beside(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	ids, own, err := c.owned(ctx, kvs)
	if err != nil {
		return err
	}
	rows, err := c.r.readRows(ctx, slices.Compact(slices.Clone(ids)), c.at())
	if err != nil {
		return err
	}
	for i, kv := range own {
		if row := rows[ids[i]]; row != nil {
			there, err := decodeRow(string(row.Key), ids[i], row.Value)
			if err != nil || c.r.table.follows(there, kv) {
				continue // a row that can't be read is found as such
			}
		}
		if err := c.examine(ctx, ids[i], string(kv.Key)); err != nil {
			return err
		}
	}
	return nil
}

// follows says whether a key may stand beside the row.
func (t table) follows(there row, kv *mvccpb.KeyValue) bool {
	key := string(kv.Key)
	area, _, _ := strings.Cut(strings.TrimPrefix(key, t.k.root), "/")
	switch area {
	case "input":
		return there.spec.InputBytes > 0 && len(kv.Value) == there.spec.InputBytes && json.Valid(kv.Value)
	case "output":
		return there.OutputSize > 0 && len(kv.Value) == there.OutputSize && json.Valid(kv.Value)
	case "timer":
		_, _, what, _ := t.k.parseTimer(key)
		if what == dueDeadline {
			return !there.ended() && key == t.k.deadline(there)
		}
		return !there.ended() && slices.Contains(t.places(there), key) && string(kv.Value) == t.k.pending(there.entry())
	case "pending", "parked":
		return !there.ended() && slices.Contains(t.places(there), key)
	default: // request, progress, step
		return !there.ended()
	}
}

// claims suspects what nobody could take over, or should not be there.
func (c *checkup) claims(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	ids, own, err := c.owned(ctx, kvs)
	if err != nil {
		return err
	}
	rows, err := c.r.readRows(ctx, ids, c.at())
	if err != nil {
		return err
	}
	for i, kv := range own {
		sid := strings.Split(strings.TrimPrefix(string(kv.Key), c.r.keys.root), "/")[1]
		known := slices.ContainsFunc(c.nodes, func(n Node) bool { return n.Session == sid })
		if !known && !slices.ContainsFunc(c.strangers, func(n Node) bool { return n.Session == sid }) {
			c.strangers = append(c.strangers, Node{Session: sid})
		}
		value, unreadable := decodeClaim(kv)
		if row := rows[ids[i]]; row != nil && known && unreadable == nil {
			there, err := decodeRow(string(row.Key), ids[i], row.Value)
			if err == nil && !there.ended() && there.What != whereParked &&
				value.Queue == there.spec.Queue && value.Kind == there.spec.Kind {
				continue
			}
		}
		if err := c.examine(ctx, ids[i], string(kv.Key)); err != nil {
			return err
		}
	}
	return nil
}

// rows suspects rows that can't be read, have not just one place, or lack what
// should stand beside them.
func (c *checkup) rows(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	ids, own, err := c.owned(ctx, kvs)
	if err != nil {
		return err
	}
	var good []row
	for i, kv := range own {
		there, err := decodeRow(string(kv.Key), ids[i], kv.Value)
		if err == nil {
			good = append(good, there)
			continue
		}
		if err := c.examine(ctx, ids[i], string(kv.Key)); err != nil {
			return err
		}
	}
	if len(good) == 0 {
		return nil
	}
	v, err := c.around(ctx, good)
	if err != nil {
		return err
	}
	for _, there := range good {
		if c.healthy(there, v) {
			continue
		}
		if err := c.examine(ctx, there.ID, c.r.keys.process(there.ID)); err != nil {
			return err
		}
	}
	return nil
}

// around reads what stands about rows that are next to each other. Of a hint
// only whether there is one is read, under the prefix that it must have.
func (c *checkup) around(ctx context.Context, rows []row) (view, error) {
	ops := c.r.among(rows, c.r.keys.request(""), c.at())
	for _, n := range c.holders() {
		ops = append(ops, c.r.among(rows, c.r.keys.claims(n.Session), c.at())...)
	}
	look := func(key string, opts ...clientv3.OpOption) {
		ops = append(ops, clientv3.OpGet(key, append(opts, clientv3.WithKeysOnly(), c.at())...))
	}
	for _, there := range rows {
		if there.spec.InputBytes > 0 {
			look(c.r.keys.input(there.ID))
		}
		if there.OutputSize > 0 {
			look(c.r.keys.output(there.ID))
		}
		if there.ended() {
			look(c.r.keys.hintsOf(there), clientv3.WithPrefix(), clientv3.WithLimit(1))
			continue
		}
		for _, place := range c.r.table.places(there) {
			look(place)
		}
		if !there.DeadlineAt.IsZero() {
			look(c.r.keys.deadline(there))
		}
	}
	v := view{}
	for batch := range slices.Chunk(ops, maxOps) {
		resp, err := c.r.read(ctx, batch...)
		if err != nil {
			return nil, err
		}
		for key, kv := range newView(resp.Responses) {
			v[key] = kv
			if strings.HasPrefix(key, c.r.keys.root+"done/") {
				v[key[:strings.LastIndexByte(key, '/')+1]] = kv
			}
		}
	}
	return v, nil
}

// holders are all sessions that may hold something.
func (c *checkup) holders() []Node { return slices.Concat(c.nodes, c.strangers) }

// hintsOf is the prefix of the hints that can speak of the end of a row.
func (k keys) hintsOf(there row) string { return k.done(there.Outcome, there.FinishedAt, "") }

func (c *checkup) healthy(there row, v view) bool {
	k := c.r.keys
	switch {
	case there.spec.InputBytes > 0 && v[k.input(there.ID)] == nil, there.OutputSize > 0 && v[k.output(there.ID)] == nil:
		return false
	case there.ended():
		return v[k.hintsOf(there)] != nil
	default:
		return c.hasItsPlace(there, v)
	}
}

// hasItsPlace says whether a process that is open is in one place, with what
// belongs beside it there.
func (c *checkup) hasItsPlace(there row, v view) bool {
	k := c.r.keys
	waits, held := 0, 0
	for _, place := range c.r.table.places(there) {
		if v[place] != nil {
			waits++
		}
	}
	for _, n := range c.holders() {
		if v[k.claim(n.Session, there.ID)] != nil {
			held++
		}
	}
	asked := v[k.request(there.ID)] != nil
	switch {
	case waits+held != 1, asked && waits > 0 && there.What != whereParked:
		return false
	case !there.DeadlineAt.IsZero() && !asked && v[k.deadline(there)] == nil:
		return false
	default:
		return true
	}
}
