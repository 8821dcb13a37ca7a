package runner

import (
	"context"
	"encoding/json"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/registry"
)

// Attempt is what a handler is told of the attempt that it makes, and by which
// it writes to etcd under its claim. Its methods may be called by several
// goroutines until the handler returns.
type Attempt struct {
	registry *registry.Registry
	claim    *registry.Claim
	progress progress

	mu    sync.Mutex
	also  []clientv3.Op
	steps map[string]json.RawMessage // nil until read
}

func newAttempt(r *registry.Registry, c *registry.Claim) *Attempt {
	a := &Attempt{registry: r, claim: c}
	a.progress.write = func(ctx context.Context, value json.RawMessage) error {
		return r.Progress(ctx, c, value)
	}
	return a
}

// finish waits for what is being written, and returns what is to be written
// with the outcome.
func (a *Attempt) finish() []clientv3.Op {
	a.progress.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.also
}

// ID is the id of the process.
func (a *Attempt) ID() string { return a.claim.ID }

// Kind is the kind of the process.
func (a *Attempt) Kind() string { return a.claim.Kind }

// Queue is the queue that the process was in.
func (a *Attempt) Queue() string { return a.claim.Queue }

// Number counts the attempts at the process, from 1. It only grows.
func (a *Attempt) Number() int { return a.claim.Attempt }

// Series counts how often the process was opened: 1, and one more each time
// that it was opened again after its end.
func (a *Attempt) Series() int { return a.claim.Series() }

// Errors is how many errors earlier attempts of the series ended in.
func (a *Attempt) Errors() int { return a.claim.Errors() }

// Labels are those of the process. They must not be changed.
func (a *Attempt) Labels() map[string]string { return a.claim.Labels() }

// Fence grows with every claim of the process. A system outside etcd that
// keeps the highest fence it saw for a process and refuses lower ones is safe
// from attempts that go on after their claim was lost.
func (a *Attempt) Fence() int64 { return a.claim.Fence }

// Node is the name of the node that makes the attempt.
func (a *Attempt) Node() string { return a.claim.Session.Node() }

// Session is the session that the claim is held under.
func (a *Attempt) Session() string { return a.claim.Session.ID() }

// Input is the input of the process as JSON; empty if it has none.
func (a *Attempt) Input() json.RawMessage { return a.claim.Input }
