package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// smallCount is how many keys a lane may have for an open range over it.
	// etcd counts every key of a range, whatever the limit: 0.6 ms for ten
	// thousand, 100 ms for a million.
	smallCount = 4096
	// firstWidth, widening and widenings say how a close upper bound is found
	// for a lane with more: by the time between starts, which seq is.
	firstWidth = 100 * time.Millisecond
	widening   = 16
	widenings  = 3
)

// Window is the front of the queue as one node sees it: for each queue, kind
// and priority a lane, read from a floor below which nothing was left. It is
// safe for use by several goroutines.
type Window struct {
	r    *Registry
	able func(kind string) bool // nil: of all

	mu    sync.Mutex
	lanes []*lane
}

// lane is one prefix of pending/ and what was learned of it.
type lane struct {
	prefix string
	queue  string
	kind   string
	// floor is where the next list starts: the first key of the last one, or
	// beyond the last key if there was none. etcd walks deleted keys until
	// they are compacted, 100,000 of them in 11 ms and more.
	floor string
	count int64 // keys from the floor on, as last counted by an open range
	// foreign are keys of the last list that drover did not write.
	foreign int
	width   time.Duration // of the bounded range, while count is large
	// lowered is the smallest floor that was asked for, by Lower or Reset,
	// since the list that is on was sent; "" if none was. What that list finds
	// is older than that.
	lowered string
}

// Window makes the window of a node that serves these queues and knows these
// kinds. Kinds that it does not know cost it nothing: they are not read.
func (r *Registry) Window(queues, kinds []string) *Window {
	w := &Window{r: r}
	for _, queue := range queues {
		for _, kind := range kinds {
			for priority := range lowestPriority + 1 {
				w.lanes = append(w.lanes, &lane{prefix: r.keys.lane(queue, kind, priority), queue: queue, kind: kind})
			}
		}
	}
	w.Reset()
	return w
}

// Only has lists leave out the kinds for which able is false at that time, as if
// they were not known. It is to be called before the first List, and able is
// called with nothing locked.
func (w *Window) Only(able func(kind string) bool) { w.able = able }

// Reset forgets the floors, so that the next list reads everything. Nothing
// may depend on the floors being right: call it at start-up, whenever a watch
// is new, and every few seconds.
func (w *Window) Reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		l.floor, l.lowered, l.count, l.width = l.prefix, l.prefix, 0, firstWidth
	}
}

// Lower makes sure that the next list does not pass over e, which a watch
// delivered: its starter's clock may be behind.
func (w *Window) Lower(e Entry) {
	key := w.r.keys.pending(e)
	prefix := w.r.keys.lane(e.Queue, e.Kind, e.Priority)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.lanes {
		if l.prefix == prefix {
			l.floor = min(l.floor, key)
			if l.lowered == "" || key < l.lowered {
				l.lowered = key
			}
		}
	}
}

// List returns what may be claimed now, first what is to be claimed first, at
// most limit entries, and of each queue at most what room says there is for it;
// nil is room for all. more says that there is more than that, of a queue or
// altogether. A queue that is paused is passed over.
//
// An error may come with entries: keys that can't be read are left out and
// named in it.
func (w *Window) List(ctx context.Context, limit int, room func(queue string) int) (entries []Entry, more bool, err error) {
	var corrupt []error
	w.mu.Lock()
	lanes := slices.Clone(w.lanes)
	w.mu.Unlock()
	if w.able != nil {
		lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return !w.able(l.kind) })
	}
	limits := limitsOf(lanes, limit, room)
	for batch := range slices.Chunk(lanes, maxOps/2) { // the other half is for their queues
		found, bad, err := w.listLanes(ctx, batch, limits)
		if err != nil {
			return nil, false, fmt.Errorf("list what is pending: %w", err)
		}
		entries, corrupt = append(entries, found...), append(corrupt, bad...)
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.ID, b.ID))
	})
	found := len(entries)
	entries = slices.DeleteFunc(entries, func(e Entry) bool {
		limits[e.Queue]--
		return limits[e.Queue] < 0
	})
	entries = entries[:min(len(entries), limit)]
	return entries, found > len(entries), errors.Join(corrupt...)
}

// limitsOf is how many entries of each queue are wanted. room is asked once
// for each, so that its answers fit together.
func limitsOf(lanes []*lane, limit int, room func(queue string) int) map[string]int {
	limits := map[string]int{}
	for _, queue := range queuesOf(lanes) {
		limits[queue] = limit
		if room != nil {
			limits[queue] = max(0, min(limit, room(queue)))
		}
	}
	return limits
}

// listLanes reads some lanes, with the state of the queues at the same
// revision, and widens the bounds of those with a backlog until enough is
// found.
func (w *Window) listLanes(ctx context.Context, lanes []*lane, limits map[string]int) (entries []Entry, corrupt []error, err error) {
	for turn := 0; len(lanes) > 0; turn++ {
		ops := make([]clientv3.Op, 0, 2*len(lanes))
		w.mu.Lock()
		for _, l := range lanes {
			l.lowered = ""
			ops = append(ops, l.read(w.r.keys, limits[l.queue], turn < widenings))
		}
		w.mu.Unlock()
		queues := queuesOf(lanes)
		for _, queue := range queues {
			ops = append(ops, get(w.r.keys.queue(queue)))
		}
		resp, err := w.r.read(ctx, ops...)
		if err != nil {
			return nil, nil, err
		}
		gates, bad := w.gates(queues, newView(resp.Responses[len(lanes):]))
		corrupt = append(corrupt, bad...)
		var again []*lane
		for i, l := range lanes {
			found := resp.Responses[i].GetResponseRange()
			if w.tooNarrow(l, ops[i], found, limits[l.queue]) {
				again = append(again, l)
				continue
			}
			some, bad := w.take(l, ops[i], found, gates[l.queue])
			entries, corrupt = append(entries, some...), append(corrupt, bad...)
		}
		lanes = again
	}
	return entries, corrupt, nil
}

// queuesOf names each queue once; lanes of one queue stand together.
func queuesOf(lanes []*lane) []string {
	queues := make([]string, len(lanes))
	for i, l := range lanes {
		queues[i] = l.queue
	}
	return slices.Compact(queues)
}

func (w *Window) gates(queues []string, v view) (gates map[string]gate, corrupt []error) {
	gates = map[string]gate{}
	for _, queue := range queues {
		g := readGate(v[w.r.keys.queue(queue)])
		if g.corrupt != nil {
			corrupt = append(corrupt, g.corrupt)
		}
		gates[queue] = g
	}
	return gates, corrupt
}

// read is the range over a lane from its floor: open if it was short when
// last counted, else with a close upper bound.
func (l *lane) read(k keys, limit int, bounded bool) clientv3.Op {
	end := upTo(l.prefix)
	if e, ok := k.parsePending(l.floor); ok && bounded && l.count > smallCount {
		end = min(end, l.prefix+ordinal(e.Seq+int64(l.width)))
	}
	// One more than asked for shows that there is more. Keys that are passed
	// over must not take the place of others.
	return clientv3.OpGet(l.floor, clientv3.WithRange(end), clientv3.WithLimit(int64(limit+1+l.foreign)))
}

// tooNarrow widens a lane whose bounded range held less than was asked for,
// which is one more than the limit.
func (w *Window) tooNarrow(l *lane, op clientv3.Op, found *etcdserverpb.RangeResponse, limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	bounded := string(op.RangeBytes()) != upTo(l.prefix)
	if !bounded || len(found.Kvs) > limit {
		return false
	}
	l.width *= widening
	return true
}

func (w *Window) take(l *lane, op clientv3.Op, found *etcdserverpb.RangeResponse, g gate) (entries []Entry, corrupt []error) {
	if g.paused {
		return nil, nil // its floor stays: what waits there is to be found when it is resumed
	}
	for _, kv := range found.Kvs {
		e, ok := w.r.keys.parsePending(string(kv.Key))
		if !ok || w.r.keys.pending(e) != string(kv.Key) {
			corrupt = append(corrupt, &CorruptError{Key: string(kv.Key), Why: errForeign})
			continue
		}
		e.revision, e.gate = kv.ModRevision, g.revision
		e.read(kv.Value)
		entries = append(entries, e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l.learn(op, found)
	l.foreign = len(corrupt)
	return entries, corrupt
}

// learn moves the floor to the first key that was found, unless a smaller one
// was heard of meanwhile. An empty lane keeps its floor: the keys that were
// there are deleted, and new ones come after.
func (l *lane) learn(op clientv3.Op, found *etcdserverpb.RangeResponse) {
	if len(found.Kvs) > 0 {
		l.floor = string(found.Kvs[0].Key)
		if l.lowered != "" {
			l.floor = min(l.floor, l.lowered)
		}
	}
	if string(op.RangeBytes()) == upTo(l.prefix) {
		l.count = found.Count // a bounded range counts only what is inside
	}
	if l.count > smallCount {
		l.width = max(l.width/2, time.Millisecond)
	}
}
