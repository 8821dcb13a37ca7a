package registry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Events are what a node is told of the changes that concern it. They are
// called from the goroutine of Follow and must not block: set a flag, ring a
// bell. Each may be nil.
type Events struct {
	// Ready: the watch stands. Whatever happened before may have been missed,
	// so look at everything once.
	Ready func()
	// Pending: e may be claimed. Gone: it was claimed, or ended.
	Pending func(e Entry)
	Gone    func(e Entry)
	// Timer: something is due for the process at that time.
	Timer func(id string, due time.Time)
	// Joined: a session has begun, or its record says something else.
	Joined func(p Peer)
	// SessionEnded: the claims of a session are orphans now.
	SessionEnded func(sid string)
	// Requested: somebody asks to end the process, or the request was
	// answered and is gone (q is nil).
	Requested func(id string, q *Request)
	// Poked: somebody asks the node to look now, or a queue was paused or
	// resumed.
	Poked func()
}

// Follow watches for the node until ctx ends, which returns nil, or until the
// watch is lost, which returns why: call it again, and Ready says when it
// stands. The watches of one Follow share a stream.
func (r *Registry) Follow(ctx context.Context, node string, e Events) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	f := follower{k: r.keys, events: e}
	feeds := []clientv3.WatchChan{
		r.feed(ctx, r.keys.root+"pending/", clientv3.WithPrefix()),
		r.feed(ctx, r.keys.timers(), clientv3.WithPrefix(), clientv3.WithFilterDelete()),
		r.feed(ctx, r.keys.session(""), clientv3.WithPrefix()),
		r.feed(ctx, r.keys.request(""), clientv3.WithPrefix()),
		r.feed(ctx, r.keys.poke(node), clientv3.WithFilterDelete()),
		r.feed(ctx, r.keys.queue(""), clientv3.WithPrefix()),
	}
	responses := make(chan clientv3.WatchResponse)
	var readers sync.WaitGroup
	for _, feed := range feeds {
		readers.Go(func() { forward(ctx, feed, responses) })
	}
	defer readers.Wait()
	defer cancel()
	return f.run(ctx, responses, len(feeds))
}

func (r *Registry) feed(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	return r.client.Watch(ctx, key, append(opts, clientv3.WithCreatedNotify())...)
}

// forward passes a feed on; an empty response says that it is closed.
func forward(ctx context.Context, feed clientv3.WatchChan, to chan<- clientv3.WatchResponse) {
	for resp := range feed {
		select {
		case to <- resp:
		case <-ctx.Done():
			return
		}
	}
	select {
	case to <- clientv3.WatchResponse{Canceled: true}:
	case <-ctx.Done():
	}
}

// follower turns watch responses into Events.
type follower struct {
	k      keys
	events Events
}

// run needs every feed created before it says Ready: only then can nothing
// more be missed.
func (f follower) run(ctx context.Context, responses <-chan clientv3.WatchResponse, feeds int) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case resp := <-responses:
			if resp.Canceled {
				if ctx.Err() != nil {
					return nil //nolint:nilerr // that it ended as asked is no error
				}
				return fmt.Errorf("watch: %w", lost(resp.Err()))
			}
			if resp.Created {
				if feeds--; feeds == 0 && f.events.Ready != nil {
					f.events.Ready()
				}
			}
			for _, e := range resp.Events {
				f.event(e)
			}
		}
	}
}

func lost(err error) error {
	if err == nil {
		return ErrUnavailable
	}
	return explain(err)
}

// event tells one change. Keys of another form are passed over: who lists
// them reports them.
func (f follower) event(e *clientv3.Event) {
	key := string(e.Kv.Key)
	gone := e.Type == clientv3.EventTypeDelete
	switch rest := strings.TrimPrefix(key, f.k.root); {
	case strings.HasPrefix(rest, "pending/"):
		f.pending(key, e.Kv, gone)
	case strings.HasPrefix(rest, "timer/"):
		if due, id, _, ok := f.k.parseTimer(key); ok && f.events.Timer != nil {
			f.events.Timer(id, due)
		}
	case strings.HasPrefix(rest, "session/"):
		f.session(last(key), e.Kv, gone)
	case strings.HasPrefix(rest, "request/"):
		f.request(last(key), e.Kv, gone)
	case strings.HasPrefix(rest, "poke/"), strings.HasPrefix(rest, "queue/"):
		if f.events.Poked != nil {
			f.events.Poked()
		}
	}
}

func (f follower) pending(key string, kv *mvccpb.KeyValue, gone bool) {
	entry, ok := f.k.parsePending(key)
	switch {
	case !ok:
	case gone && f.events.Gone != nil:
		f.events.Gone(entry)
	case !gone && f.events.Pending != nil:
		entry.read(kv.Value)
		f.events.Pending(entry)
	}
}

// session tells of one that somebody detached from its lease when it is
// deleted, and not before: until then nobody can take over what it holds.
func (f follower) session(sid string, kv *mvccpb.KeyValue, gone bool) {
	switch {
	case gone && f.events.SessionEnded != nil:
		f.events.SessionEnded(sid)
	case !gone && f.events.Joined != nil:
		if p, alive := peer(kv); alive {
			f.events.Joined(p)
		}
	}
}

func (f follower) request(id string, kv *mvccpb.KeyValue, gone bool) {
	if f.events.Requested == nil {
		return
	}
	if gone {
		f.events.Requested(id, nil)
		return
	}
	q, _ := decodeRequest(kv) // that somebody asked, and when, is all that matters
	f.events.Requested(id, q)
}

// Requests returns the requests that stand, by id.
func (r *Registry) Requests(ctx context.Context) (map[string]Request, error) {
	resp, err := r.read(ctx, clientv3.OpGet(r.keys.request(""), clientv3.WithPrefix()))
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	standing := map[string]Request{}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		q, _ := decodeRequest(kv)
		standing[last(string(kv.Key))] = *q
	}
	return standing, nil
}

// Poke asks a node, by name, to look at the queue now.
func (r *Registry) Poke(ctx context.Context, node string) error {
	if err := checkName("node", node); err != nil {
		return err
	}
	nonce, err := newNonce()
	if err != nil {
		return err
	}
	if _, err := r.read(ctx, put(r.keys.poke(node), `{"nonce":"`+nonce+`"}`)); err != nil {
		return fmt.Errorf("poke %s: %w", node, err)
	}
	return nil
}
