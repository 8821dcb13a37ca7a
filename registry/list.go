package registry

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Filter says which processes List is to return. The zero Filter is all.
type Filter struct {
	Statuses []Status // any of these; all if empty
	Kind     string
	Queue    string
	After    string // only ids beyond this one, in the order of bytes
	Limit    int    // 100 if zero, 10,000 at the most
	// Full includes input, output and history, which a list leaves out.
	// Inputs and outputs over 4 KiB are only in Get.
	Full bool
}

const (
	defaultLimit = 100
	largestLimit = 10_000
	// listChunk rows are read in one request while a list looks for what
	// passes the filter.
	listChunk = 200
)

// Page is a part of a list.
type Page struct {
	Processes []Process
	// More is true if there may be more beyond the last one.
	More bool
	// Next is the id to go on after; empty if there is no more.
	Next string
	// Revision is the one at which all of the page was read.
	Revision int64
	// Corrupt are rows that could not be read. They are not in Processes.
	Corrupt []error
}

// List reads processes in the order of their ids, at one revision.
func (r *Registry) List(ctx context.Context, f Filter) (Page, error) {
	if f.Limit <= 0 {
		f.Limit = defaultLimit
	}
	f.Limit = min(f.Limit, largestLimit)
	l := lister{r: r, filter: f, from: r.keys.process(""), end: upTo(r.keys.process(""))}
	if f.After != "" {
		l.from = r.keys.process(f.After) + "\x00"
	}
	resp, err := r.read(ctx, r.rosterOps()...)
	if err != nil {
		return Page{}, fmt.Errorf("list: %w", err)
	}
	l.page.Revision = resp.Header.Revision
	l.nodes = r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs)
	for !l.done {
		if err := l.step(ctx); err != nil {
			return Page{}, fmt.Errorf("list: %w", err)
		}
	}
	return l.page, nil
}

// lister walks process/ in chunks until the page is full.
type lister struct {
	r         *Registry
	filter    Filter
	nodes     []Node
	from, end string
	page      Page
	done      bool
}

func (l *lister) step(ctx context.Context) error {
	resp, err := l.r.read(ctx, clientv3.OpGet(l.from, clientv3.WithRange(l.end),
		clientv3.WithLimit(listChunk), clientv3.WithRev(l.page.Revision)))
	if err != nil {
		return err
	}
	found := resp.Responses[0].GetResponseRange()
	l.done = !found.More
	var open []row
	var located []*Process
	chunk := make([]*Process, 0, len(found.Kvs))
	for _, kv := range found.Kvs {
		key := string(kv.Key)
		l.from = key + "\x00"
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

// mayPass tells by the row alone what can't pass, so that nothing more is
// read for it.
func (f Filter) mayPass(there row) bool {
	if f.Kind != "" && there.spec.Kind != f.Kind || f.Queue != "" && there.spec.Queue != f.Queue {
		return false
	}
	if len(f.Statuses) == 0 {
		return true
	}
	if there.ended() {
		return slices.Contains(f.Statuses, Status(there.Outcome))
	}
	return slices.ContainsFunc(f.Statuses, func(s Status) bool { return !s.Ended() })
}

func (l *lister) take(chunk []*Process) {
	for _, p := range chunk {
		if len(l.filter.Statuses) > 0 && !slices.Contains(l.filter.Statuses, p.Status) {
			continue
		}
		if len(l.page.Processes) == l.filter.Limit {
			l.done = true
			l.page.More, l.page.Next = true, l.page.Processes[l.filter.Limit-1].ID
			return
		}
		if !l.filter.Full {
			p.Input, p.Output, p.History = nil, nil, nil
		}
		l.page.Processes = append(l.page.Processes, *p)
	}
}
