package registry

import (
	"context"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// moment is what happened to processes at one revision.
type moment struct {
	revision int64
	ids      []string                    // in the order of the events, each once
	rows     map[string]*mvccpb.KeyValue // those that were written, by id
	sessions []string                    // those that ended
}

// moment reads the events of one revision. Only what says where a process is,
// or what is asked or told of it, is a change: a deleted key is one of nothing
// that no other event tells, but for a session's.
func (k keys) moment(events []*clientv3.Event) moment {
	m := moment{revision: events[0].Kv.ModRevision, rows: map[string]*mvccpb.KeyValue{}}
	for _, e := range events {
		key := string(e.Kv.Key)
		area, rest, _ := strings.Cut(strings.TrimPrefix(key, k.root), "/")
		if e.Type == clientv3.EventTypeDelete {
			if area == "session" {
				m.sessions = append(m.sessions, rest)
			}
			continue
		}
		id, ok := k.subject(key, area)
		if !ok {
			continue
		}
		if area == "process" {
			m.rows[id] = e.Kv
		}
		if !slices.Contains(m.ids, id) {
			m.ids = append(m.ids, id)
		}
	}
	return m
}

// subject is the process that a key tells something of.
func (k keys) subject(key, area string) (id string, ok bool) {
	switch area {
	case "process", "claim", "parked", "request", "progress":
		return last(key), true
	case "pending":
		e, ok := k.parsePending(key)
		return e.ID, ok
	case "timer":
		_, id, what, ok := k.parseTimer(key)
		return id, ok && what != dueDeadline
	default:
		return "", false
	}
}

// keep leaves out what nobody asked for; ids are all if empty.
func (m *moment) keep(ids map[string]bool) {
	if len(ids) > 0 {
		m.ids = slices.DeleteFunc(m.ids, func(id string) bool { return !ids[id] })
	}
}

// lookBatch rows, and what their attempts say, are read in one request.
const lookBatch = maxOps/2 - 1

// lookAt reads processes that have not ended as they were at a moment: the
// open ones by id, and what was held by the sessions that ended then.
func (r *Registry) lookAt(ctx context.Context, m *moment, open []string, ids map[string]bool, into map[string]Process) error {
	at := clientv3.WithRev(m.revision)
	for _, sid := range m.sessions {
		resp, err := r.read(ctx, clientv3.OpGet(r.keys.claims(sid), clientv3.WithPrefix(), clientv3.WithKeysOnly(), at))
		if err != nil {
			return err
		}
		for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
			id := last(string(kv.Key))
			if (len(ids) == 0 || ids[id]) && !slices.Contains(open, id) {
				open, m.ids = append(open, id), append(m.ids, id)
			}
		}
	}
	for batch := range slices.Chunk(open, lookBatch) {
		ops := r.rosterOps(at)
		for _, id := range batch {
			ops = append(ops, clientv3.OpGet(r.keys.process(id), at), clientv3.OpGet(r.keys.progress(id), at))
		}
		resp, err := r.read(ctx, ops...)
		if err != nil {
			return err
		}
		v := newView(resp.Responses[2:])
		nodes := r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs)
		var rows []row
		var found []*Process
		for _, id := range batch {
			if there, ok := v.row(r.keys, id); ok && !there.ended() {
				p := there.process()
				r.attach(v, there, &p)
				rows, found = append(rows, there), append(found, &p)
			}
		}
		if err := r.locate(ctx, m.revision, nodes, rows, found); err != nil {
			return err
		}
		for _, p := range found {
			into[p.ID] = *p
		}
	}
	return nil
}
