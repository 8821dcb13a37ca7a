package registry

import (
	"context"
	"errors"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// listChunk rows are read in one request while a list looks for what passes
// the filter. It is no more than one request may have operations, as rows of
// claims are read one by one.
const listChunk = maxOps

// lister walks the rows in chunks until the page is full.
type lister struct {
	r      *Registry
	filter Filter
	nodes  []Node
	after  string // what stands for the last id that was looked at, in keys
	page   Page
	done   bool
}

func (l *lister) run(ctx context.Context) error {
	ops := l.r.rosterOps()
	if l.page.Revision > 0 {
		ops = l.r.rosterOps(clientv3.WithRev(l.page.Revision))
	}
	resp, err := l.r.read(ctx, ops...)
	if err != nil {
		return err
	}
	if l.page.Revision == 0 {
		l.page.Revision = resp.Header.Revision
	}
	l.nodes = l.r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs)
	read := l.readRows
	if l.filter.claimedOnly() {
		read = l.readClaimed
	}
	for !l.done {
		kvs, err := read(ctx)
		if err != nil {
			return err
		}
		if err := l.sift(ctx, kvs); err != nil {
			return err
		}
	}
	return nil
}

// readRows reads the next rows, whatever they are.
func (l *lister) readRows(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	all := l.r.keys.process("")
	resp, err := l.r.read(ctx, clientv3.OpGet(l.beyond(all), clientv3.WithRange(upTo(all)),
		clientv3.WithLimit(listChunk), clientv3.WithRev(l.page.Revision)))
	if err != nil {
		return nil, err
	}
	found := resp.Responses[0].GetResponseRange()
	l.done = !found.More
	if n := len(found.Kvs); n > 0 {
		l.after = strings.TrimPrefix(string(found.Kvs[n-1].Key), all)
	}
	return found.Kvs, nil
}

// beyond is where to go on under a prefix that is followed by ids.
func (l *lister) beyond(prefix string) string {
	if l.after == "" {
		return prefix
	}
	return prefix + l.after + "\x00"
}

// readClaimed reads the rows of the next claims.
func (l *lister) readClaimed(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	ids, err := l.claimed(ctx)
	if err != nil || len(ids) == 0 {
		l.done = true
		return nil, err
	}
	if len(ids) > listChunk {
		ids, l.done = ids[:listChunk], false
	}
	ops := make([]clientv3.Op, len(ids))
	for i, id := range ids {
		ops[i] = clientv3.OpGet(l.r.keys.process("")+id, clientv3.WithRev(l.page.Revision))
	}
	l.after = ids[len(ids)-1]
	resp, err := l.r.read(ctx, ops...)
	if err != nil {
		return nil, err
	}
	var rows []*mvccpb.KeyValue
	for i, id := range ids {
		kvs := resp.Responses[i].GetResponseRange().GetKvs()
		if len(kvs) == 0 {
			l.page.Corrupt = append(l.page.Corrupt, &CorruptError{Key: l.r.keys.process("") + id, Why: errNoRow})
		}
		rows = append(rows, kvs...)
	}
	return rows, nil
}

// errNoRow is why a claim without a row is called corrupt.
var errNoRow = errors.New("it is claimed, and there is no row")

// claimed is what sessions hold beyond the last one, in order, each as it
// stands in keys. The first listChunk of it leave nothing out: a session that
// has more than were read has that many of its own up to where it was cut.
func (l *lister) claimed(ctx context.Context) ([]string, error) {
	var ids []string
	l.done = true
	for batch := range slices.Chunk(l.claimants(), maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, n := range batch {
			prefix := l.r.keys.claims(n.Session)
			ops[i] = clientv3.OpGet(l.beyond(prefix), clientv3.WithRange(upTo(prefix)), clientv3.WithKeysOnly(),
				clientv3.WithLimit(listChunk), clientv3.WithRev(l.page.Revision))
		}
		resp, err := l.r.read(ctx, ops...)
		if err != nil {
			return nil, err
		}
		for i, n := range batch {
			found := resp.Responses[i].GetResponseRange()
			l.done = l.done && !found.More
			for _, kv := range found.Kvs {
				ids = append(ids, strings.TrimPrefix(string(kv.Key), l.r.keys.claims(n.Session)))
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// claimants are the sessions whose claims can pass the filter.
func (l *lister) claimants() []Node {
	return slices.DeleteFunc(slices.Clone(l.nodes), func(n Node) bool {
		status := StatusOrphaned
		if n.Alive {
			status = StatusRunning
		}
		return !slices.Contains(l.filter.Statuses, status)
	})
}

// sift decodes rows, looks where those are that have not ended, and takes what
// passes.
func (l *lister) sift(ctx context.Context, kvs []*mvccpb.KeyValue) error {
	var open []row
	var located []*Process
	chunk := make([]*Process, 0, len(kvs))
	for _, kv := range kvs {
		key := string(kv.Key)
		there, err := decodeRow(key, last(key), kv.Value)
		if err != nil {
			l.page.Corrupt = append(l.page.Corrupt, err)
			continue
		}
		if !l.filter.mayPass(there) {
			continue
		}
		p := there.process()
		chunk = append(chunk, &p)
		if !there.ended() {
			open, located = append(open, there), append(located, &p)
		}
	}
	if err := l.r.locate(ctx, l.page.Revision, l.nodes, open, located); err != nil {
		return err
	}
	l.take(chunk)
	return nil
}

func (l *lister) take(chunk []*Process) {
	for _, p := range chunk {
		if len(l.filter.Statuses) > 0 && !slices.Contains(l.filter.Statuses, p.Status) {
			continue
		}
		if len(l.page.Processes) == l.filter.Limit {
			l.done = true
			l.page.More, l.page.Next = true, l.page.Processes[l.filter.Limit-1].ID
			l.page.Cursor = cursor(l.page.Revision, l.page.Next)
			return
		}
		if !l.filter.Full {
			p.Input, p.Output, p.History = nil, nil, nil
		}
		l.page.Processes = append(l.page.Processes, *p)
	}
}
