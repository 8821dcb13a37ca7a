package registry

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// queueValue stands in queue/<name>, while the queue is paused.
type queueValue struct {
	Paused bool      `json:"paused"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at"`
}

// Pause stops claims from a queue, on every node: when it returns, none is made
// any more. What runs goes on, and an orphan goes back to wait in its queue.
// Pausing a paused queue changes nothing. By is for people to read,
// and is cut at 2 KiB. A name that can't be one is an error that wraps
// [ErrInvalid].
func (r *Registry) Pause(ctx context.Context, queue, by string) error {
	if err := checkName("queue", queue); err != nil {
		return err
	}
	value, err := encode(queueValue{Paused: true, By: cut(by), At: r.now()})
	if err != nil {
		return fmt.Errorf("encode the state of queue %s: %w", queue, err)
	}
	for {
		there, err := r.readQueue(ctx, queue)
		if err != nil {
			return fmt.Errorf("pause queue %s: %w", queue, err)
		}
		if there.paused && there.corrupt == nil {
			return nil
		}
		a, err := r.commit(ctx, r.table.pause(queue, there.revision, string(value)))
		if err != nil {
			return fmt.Errorf("pause queue %s: %w", queue, err)
		}
		if a.applied {
			return nil
		}
		// Somebody else changed it between the read and the write.
	}
}

// Resume lets nodes claim from a queue again; each is told at once. Resuming a
// queue that is not paused changes nothing.
func (r *Registry) Resume(ctx context.Context, queue string) error {
	if err := checkName("queue", queue); err != nil {
		return err
	}
	for {
		there, err := r.readQueue(ctx, queue)
		if err != nil {
			return fmt.Errorf("resume queue %s: %w", queue, err)
		}
		if there.revision == 0 {
			return nil
		}
		a, err := r.commit(ctx, r.table.resume(queue, there.revision))
		if err != nil {
			return fmt.Errorf("resume queue %s: %w", queue, err)
		}
		if a.applied {
			return nil
		}
	}
}

func (r *Registry) readQueue(ctx context.Context, queue string) (gate, error) {
	resp, err := r.read(ctx, get(r.keys.queue(queue)))
	if err != nil {
		return gate{}, err
	}
	return readGate(newView(resp.Responses)[r.keys.queue(queue)]), nil
}

// pause changes the revision that every claim from the queue is conditioned
// on: one that is under way is refused.
func (t table) pause(queue string, revision int64, value string) transition {
	key := t.k.queue(queue)
	return transition{
		name: "pause queue " + queue, alone: true,
		when:      []clientv3.Cmp{asRead(key, revision)},
		then:      []clientv3.Op{put(key, value)},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v[key] != nil && string(v[key].Value) == value },
	}
}

func (t table) resume(queue string, revision int64) transition {
	key := t.k.queue(queue)
	return transition{
		name: "resume queue " + queue, alone: true,
		when:      []clientv3.Cmp{asRead(key, revision)},
		then:      []clientv3.Op{remove(key)},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v[key] == nil },
	}
}
