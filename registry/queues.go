package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// QueueState is how much is in a queue.
type QueueState struct {
	Name      string `json:"name"`
	Pending   int    `json:"pending"`
	Scheduled int    `json:"scheduled"`
	// Running are those that living nodes hold.
	Running int `json:"running"`
	// OldestPendingSeconds is for how long the one has been waiting that has
	// waited longest of those that are first in line for their kind and
	// priority; more than 0 if anything is pending.
	OldestPendingSeconds float64 `json:"oldest_pending_seconds,omitzero"`
	Paused               bool    `json:"paused"`
}

// queuePage is how many keys are read in one request. etcd counts all keys of
// a range for each page, so a few large pages are better than many.
const queuePage = 2000

// Queues lists, by name, every queue that has something pending, scheduled or
// running in it, is paused, or is served by a living node, as they were at one
// revision.
func (r *Registry) Queues(ctx context.Context) ([]QueueState, error) {
	c := census{r: r, queues: map[string]*QueueState{}}
	for _, count := range []func(context.Context) error{c.nodes, c.pending, c.timers, c.oldest} {
		if err := count(ctx); err != nil {
			return nil, fmt.Errorf("count the queues: %w", err)
		}
	}
	all := make([]QueueState, 0, len(c.queues))
	for _, name := range slices.Sorted(maps.Keys(c.queues)) {
		all = append(all, *c.queues[name])
	}
	return all, nil
}

// census is one count of the queues under way.
type census struct {
	r        *Registry
	revision int64
	queues   map[string]*QueueState
	first    []Entry // of each lane
}

func (c *census) queue(name string) *QueueState {
	q := c.queues[name]
	if q == nil {
		q = &QueueState{Name: name}
		c.queues[name] = q
	}
	return q
}

func (c *census) page(ctx context.Context, from, prefix string, opts ...clientv3.OpOption) (*etcdserverpb.RangeResponse, error) {
	resp, err := c.r.read(ctx, clientv3.OpGet(from, append([]clientv3.OpOption{
		clientv3.WithRange(upTo(prefix)), clientv3.WithLimit(queuePage), clientv3.WithRev(c.revision),
	}, opts...)...))
	if err != nil {
		return nil, err
	}
	return resp.Responses[0].GetResponseRange(), nil
}

// walk calls f with everything under a prefix.
func (c *census) walk(ctx context.Context, prefix string, f func(*mvccpb.KeyValue)) error {
	for from := prefix; ; {
		found, err := c.page(ctx, from, prefix)
		if err != nil {
			return err
		}
		for _, kv := range found.Kvs {
			f(kv)
			from = string(kv.Key) + "\x00"
		}
		if !found.More {
			return nil
		}
	}
}

// nodes notes what is served, paused and running.
func (c *census) nodes(ctx context.Context) error {
	resp, err := c.r.read(ctx, append(c.r.rosterOps(), clientv3.OpGet(c.r.keys.queue(""), clientv3.WithPrefix()))...)
	if err != nil {
		return err
	}
	c.revision = resp.Header.Revision
	for _, kv := range resp.Responses[2].GetResponseRange().Kvs {
		c.queue(last(string(kv.Key))).Paused = readGate(kv).paused
	}
	for _, n := range c.r.parseRoster(resp.Responses[0].GetResponseRange().Kvs, resp.Responses[1].GetResponseRange().Kvs) {
		if !n.Alive {
			continue
		}
		for _, queue := range n.Queues {
			c.queue(queue)
		}
		err := c.walk(ctx, c.r.keys.claims(n.Session), func(kv *mvccpb.KeyValue) {
			if value, err := decodeClaim(kv); err == nil {
				c.queue(value.Queue).Running++
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// pending counts lane by lane: the rest of one that does not end on its page
// is counted without being read.
func (c *census) pending(ctx context.Context) error {
	prefix := c.r.keys.root + "pending/"
	for from := prefix; ; {
		found, err := c.page(ctx, from, prefix, clientv3.WithKeysOnly())
		if err != nil {
			return err
		}
		for _, kv := range found.Kvs {
			from = string(kv.Key) + "\x00"
			if e, ok := c.r.keys.parsePending(string(kv.Key)); ok {
				c.count(e, 1)
			}
		}
		if !found.More {
			return nil
		}
		lane := from[:len(from)-1]
		for range 2 { // the id and seq are behind the lane
			lane = lane[:strings.LastIndexByte(lane, '/')]
		}
		lane += "/"
		e, ok := c.r.keys.parsePending(lane + ordinal(0) + "/x")
		if !ok {
			continue // not of ours: key by key, then
		}
		rest, err := c.page(ctx, from, lane, clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		c.count(e, int(rest.Count))
		from = upTo(lane)
	}
}

// count notes n entries that are in the lane of e.
func (c *census) count(e Entry, n int) {
	c.queue(e.Queue).Pending += n
	if k := len(c.first); k == 0 || c.first[k-1].lane() != e.lane() {
		c.first = append(c.first, e)
	}
}

// lane is what entries have in common that stand in line behind each other.
func (e Entry) lane() [3]string {
	return [3]string{e.Queue, e.Kind, fmt.Sprint(e.Priority)}
}

// timers counts what waits for a time. Deadlines are no places.
func (c *census) timers(ctx context.Context) error {
	return c.walk(ctx, c.r.keys.timers(), func(kv *mvccpb.KeyValue) {
		_, _, what, ok := c.r.keys.parseTimer(string(kv.Key))
		if e, valid := c.r.keys.parsePending(string(kv.Value)); ok && valid && what != dueDeadline {
			c.queue(e.Queue).Scheduled++
		}
	})
}

// oldest looks at the first of each lane.
func (c *census) oldest(ctx context.Context) error {
	ids := make([]string, len(c.first))
	for i, e := range c.first {
		ids[i] = e.ID
	}
	rows, err := c.r.readRows(ctx, ids, clientv3.WithRev(c.revision))
	if err != nil {
		return err
	}
	now := c.r.now()
	for _, e := range c.first {
		since := time.Unix(0, e.Seq)
		if kv := rows[e.ID]; kv != nil {
			if there, err := decodeRow(string(kv.Key), e.ID, kv.Value); err == nil {
				since = there.waitingSince()
			}
		}
		q := c.queue(e.Queue)
		// At least a millisecond, as 0 says that nothing is pending.
		q.OldestPendingSeconds = max(q.OldestPendingSeconds, now.Sub(since).Seconds(), 0.001)
	}
	return nil
}

// waitingSince is since when a process that is pending has been so: its start,
// the time that it was due, or the end of the attempt before.
func (r row) waitingSince() time.Time {
	times := []time.Time{time.Unix(0, r.Seq), r.Due}
	if n := len(r.History); n > 0 {
		times = append(times, r.History[n-1].EndedAt)
	}
	return slices.MaxFunc(times, time.Time.Compare)
}
