package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Complete ends the process of this claim as completed. The output is JSON,
// or nothing; over the limit it is a [*TooLargeError] and nothing is written.
// [ErrClaimLost] means that the claim had passed on: the process is not
// completed, or not by this attempt.
func (r *Registry) Complete(ctx context.Context, c *Claim, output json.RawMessage) error {
	return r.end(ctx, c, ending{outcome: Completed, output: output})
}

// Fail ends the process of this claim as failed. The error text is cut at 2
// KiB; the output, which may be nil, is kept as for [Registry.Complete].
func (r *Registry) Fail(ctx context.Context, c *Claim, cause, reason string, output json.RawMessage) error {
	return r.end(ctx, c, ending{outcome: Failed, err: cause, reason: reason, output: output, isError: true})
}

// CompleteWith is Complete together with writes of the caller's own, in one
// transaction: they happen if and only if the process completes. They can't
// be on keys of drover's own ([ErrInvalid]).
func (r *Registry) CompleteWith(ctx context.Context, c *Claim, output json.RawMessage, ops ...clientv3.Op) error {
	if err := r.keys.foreignTo(nil, ops); err != nil {
		return fmt.Errorf("end %s: %w", c.ID, err)
	}
	return r.end(ctx, c, ending{outcome: Completed, output: output, also: ops})
}

// EndCancelled ends the process of this claim as cancelled. The cause is what
// the attempt ended in. The output, which may be nil, is kept as for
// [Registry.Complete].
func (r *Registry) EndCancelled(ctx context.Context, c *Claim, cause, reason string, output json.RawMessage) error {
	return r.end(ctx, c, ending{outcome: Cancelled, err: cause, reason: reason, output: output})
}

// EndRequested ends the process of this claim as the request says that stands:
// as cancelled, as failed if it is the deadline's, as abandoned. The outcome
// is returned. Cause and output are as for [Registry.EndCancelled].
func (r *Registry) EndRequested(ctx context.Context, c *Claim, cause string, output json.RawMessage) (Outcome, error) {
	q, err := r.standing(ctx, c.ID)
	if err != nil {
		c.Session.lose(c) // as in commitHeld: nobody writes under it any more
		return "", fmt.Errorf("end %s: %w", c.ID, err)
	}
	e := q.ending(cause, r.now())
	e.output = output
	return e.outcome, r.end(ctx, c, e)
}

// standing reads the request that stands for a process; that to cancel it if
// there is none, or if it can't be read. While etcd can't be reached it asks
// again until ctx ends: what is asked for decides the outcome.
func (r *Registry) standing(ctx context.Context, id string) (*Request, error) {
	pause := newPause()
	for {
		resp, err := r.read(ctx, get(r.keys.request(id)))
		switch {
		case err == nil:
			q := &Request{}
			if kv := newView(resp.Responses)[r.keys.request(id)]; kv != nil {
				q, _ = decodeRequest(kv)
			}
			return q, nil
		case ctx.Err() != nil:
			return nil, unresolved(context.Cause(ctx), err)
		case !errors.Is(err, ErrUnavailable):
			return &Request{}, nil // that it was asked for is known, only what is not
		}
		select {
		case <-r.closed:
			return nil, unresolved(ErrClosed, err)
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done(): // as the next answer will tell
		}
	}
}

// AbandonOwn gives up the process of this claim, whose attempt has ended without
// saying how far it came. Evidence is that its owner says so.
func (r *Registry) AbandonOwn(ctx context.Context, c *Claim, cause string, output json.RawMessage) error {
	e := abandonOwn(c.Session.holder(), r.now(), cause)
	e.output = output
	return r.end(ctx, c, e)
}

func abandonOwn(h holder, at time.Time, cause string) ending {
	return ending{
		outcome: Abandoned, err: cause, reason: EvidenceOwnerDrain, at: at,
		evidence: &Evidence{What: EvidenceOwnerDrain, At: at, Node: h.node, Session: h.sid},
	}
}

func (r *Registry) end(ctx context.Context, c *Claim, e ending) error {
	output, err := r.checkOutput(e.output)
	if err != nil {
		return fmt.Errorf("end %s: %w", c.ID, err)
	}
	nonce, err := newNonce()
	if err != nil {
		return err
	}
	e.output, e.at = output, r.now()
	next := c.attempted(e.at, e.err)
	if e.isError {
		next.Errors++
	}
	e.traces = c.leavesTraces()
	tr, err := r.table.end(c.Session.holder(), next, e, nonce)
	if err != nil {
		return err
	}
	return r.commitHeld(ctx, c, tr)
}

// checkOutput compacts an output and holds it against the limit.
func (r *Registry) checkOutput(output json.RawMessage) (json.RawMessage, error) {
	output, err := compact(output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", ErrInvalid, err)
	}
	if len(output) > r.options.MaxInput {
		return nil, &TooLargeError{What: "output", Size: len(output), Max: r.options.MaxInput}
	}
	return output, nil
}

// end writes the outcome of a claimed process. next is its row with the
// attempt counted.
func (t table) end(h holder, next row, e ending, nonce string) (transition, error) {
	then, written, err := t.asEnd(next, e, nonce)
	if err != nil {
		return transition{}, err
	}
	key := t.k.claim(h.sid, next.ID)
	return transition{
		name:      "end " + next.ID,
		id:        next.ID,
		alone:     len(e.also) > 0,
		when:      t.held(h, next.ID, next.Fence),
		then:      append(append(then, remove(key)), e.also...),
		otherwise: []clientv3.Op{get(key), get(t.k.process(next.ID))},
		applied:   t.wroteAttempt(written),
	}, nil
}
