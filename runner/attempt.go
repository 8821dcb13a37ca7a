package runner

import (
	"encoding/json"

	"github.com/drover-run/drover/registry"
)

// Attempt is what a handler is told of the attempt that it makes.
type Attempt struct{ claim *registry.Claim }

// ID is the id of the process.
func (a *Attempt) ID() string { return a.claim.ID }

// Kind is the kind of the process.
func (a *Attempt) Kind() string { return a.claim.Kind }

// Queue is the queue that the process was in.
func (a *Attempt) Queue() string { return a.claim.Queue }

// Number counts the attempts at the process, from 1. It only grows.
func (a *Attempt) Number() int { return a.claim.Attempt }

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
