package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// written is what an attempt wrote under its claim beside its outcome. Each
// key is written on the condition that it is as this attempt last wrote it, so
// that one which lands late does not undo a newer one.
type written struct {
	mu   sync.Mutex
	any  bool
	seen map[string]int64 // ModRevisions of keys
}

// leavesTraces says whether there may be anything to remove that attempts
// wrote. What an earlier one left is known to be nothing only if there was
// none: its node may have died.
func (c *Claim) leavesTraces() bool {
	c.written.mu.Lock()
	defer c.written.mu.Unlock()
	return c.written.any || c.row.Attempt > 0
}

// wroteValue is what stands in progress/<id> and step/<id>/<name>.
type wroteValue struct {
	Attempt int             `json:"attempt"`
	Fence   int64           `json:"fence"`
	At      time.Time       `json:"at"`
	Nonce   string          `json:"nonce"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// Progress replaces what [Registry.Get] shows as the progress of the process.
// It is JSON, up to the limit of an input ([*TooLargeError]); it goes with the
// outcome. [ErrClaimLost] means that the claim had passed on.
func (r *Registry) Progress(ctx context.Context, c *Claim, value json.RawMessage) error {
	return r.write(ctx, c, "progress", r.keys.progress(c.ID), value)
}

// Checkpoint keeps a value under a name for later attempts of the series: it
// is durable when it returns. Names are as those of queues; errors are as for
// [Registry.Progress].
func (r *Registry) Checkpoint(ctx context.Context, c *Claim, name string, value json.RawMessage) error {
	if err := checkName("step", name); err != nil {
		return err
	}
	return r.write(ctx, c, "step "+name, r.keys.step(c.ID, name), value)
}

// Steps reads what this attempt and earlier ones of the series kept, by name.
func (r *Registry) Steps(ctx context.Context, c *Claim) (map[string]json.RawMessage, error) {
	prefix := r.keys.steps(c.ID)
	resp, err := r.read(ctx, clientv3.OpGet(prefix, clientv3.WithPrefix()))
	if err != nil {
		return nil, fmt.Errorf("read the steps of %s: %w", c.ID, err)
	}
	steps := map[string]json.RawMessage{}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		name := string(kv.Key)[len(prefix):]
		if name == receipt {
			continue
		}
		var v wroteValue
		if err := json.Unmarshal(kv.Value, &v); err != nil {
			return nil, &CorruptError{Key: string(kv.Key), Why: err}
		}
		steps[name] = v.Value
	}
	return steps, nil
}

func (r *Registry) write(ctx context.Context, c *Claim, what, key string, value json.RawMessage) error {
	value, err := compact(value)
	if err != nil {
		return fmt.Errorf("write the %s of %s: %w: %w", what, c.ID, ErrInvalid, err)
	}
	if len(value) > r.options.MaxInput {
		return fmt.Errorf("write the %s of %s: %w", what, c.ID, &TooLargeError{What: what, Size: len(value), Max: r.options.MaxInput})
	}
	nonce, err := newNonce()
	if err != nil {
		return err
	}
	content, err := encode(wroteValue{Attempt: c.Attempt, Fence: c.Fence, At: r.now(), Nonce: nonce, Value: value})
	if err != nil {
		return fmt.Errorf("encode the %s of %s: %w", what, c.ID, err)
	}
	_, err = r.writeHeld(ctx, c, key, string(content), nil)
	if err != nil {
		return fmt.Errorf("write the %s of %s: %w", what, c.ID, err)
	}
	return nil
}

// writeHeld writes key under the claim, one at a time for each claim. change,
// if not nil, adds to the transition. The answer says whether it was applied:
// if not, with the claim still held, a condition was in the way that change
// added.
func (r *Registry) writeHeld(ctx context.Context, c *Claim, key, content string, change func(*transition)) (answer, error) {
	c.written.mu.Lock()
	defer c.written.mu.Unlock()
	c.written.any = true
	if c.written.seen == nil {
		c.written.seen = map[string]int64{}
	}
	if _, known := c.written.seen[key]; !known {
		resp, err := r.read(ctx, get(key))
		if err != nil {
			return answer{}, err
		}
		c.written.seen[key] = newView(resp.Responses).modRevision(key)
	}
	for {
		tr := r.table.write(c.Session.holder(), c, key, c.written.seen[key], content)
		if change != nil {
			change(&tr)
		}
		a, err := r.commit(ctx, tr)
		if err != nil {
			return answer{}, err
		}
		now := a.view.modRevision(key)
		switch held := a.view.modRevision(r.keys.claim(c.Session.ID(), c.ID)) == c.Fence; {
		case a.applied:
			c.written.seen[key] = now
			return a, nil
		case !held:
			return answer{}, ErrClaimLost
		case now == c.written.seen[key]:
			return a, r.stillHeld(ctx, c)
		default:
			// One of this attempt's own that was given up as unanswered has
			// landed. This one is newer.
			c.written.seen[key] = now
		}
	}
}

// stillHeld is ErrClaimLost if the claim stands and its session does not: that
// may be so before the session knows.
func (r *Registry) stillHeld(ctx context.Context, c *Claim) error {
	a, err := r.commit(ctx, transition{
		name: "look after the claim on " + c.ID, id: c.ID, alone: true,
		when:    r.table.held(c.Session.holder(), c.ID, c.Fence),
		applied: func(view) bool { return false },
	})
	if err == nil && !a.applied {
		err = ErrClaimLost
	}
	return err
}

// write puts a key under the claim. The content has a nonce.
func (t table) write(h holder, c *Claim, key string, seen int64, content string) transition {
	claim := t.k.claim(h.sid, c.ID)
	return transition{
		name:      "write " + key,
		id:        c.ID,
		when:      append(t.held(h, c.ID, c.Fence), asRead(key, seen)),
		then:      []clientv3.Op{put(key, content), get(key), get(claim)},
		otherwise: []clientv3.Op{get(key), get(claim)},
		applied:   func(v view) bool { return v[key] != nil && string(v[key].Value) == content },
	}
}
