package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// EndCancelled ends the process of this claim as cancelled. The cause is what
// the attempt ended in. If reason is empty, it is the one of the request that
// stands. The output, which may be nil, is kept as for [Registry.Complete].
func (r *Registry) EndCancelled(ctx context.Context, c *Claim, cause, reason string, output json.RawMessage) error {
	if reason == "" {
		reason = r.requestReason(ctx, c.ID)
	}
	return r.end(ctx, c, ending{outcome: Cancelled, err: cause, reason: reason, output: output})
}

// requestReason is for people to read: that a process was cancelled must not
// fail because why can't be read.
func (r *Registry) requestReason(ctx context.Context, id string) string {
	resp, err := r.read(ctx, get(r.keys.request(id)))
	if err != nil {
		return Request{}.text()
	}
	for _, kv := range resp.Responses[0].GetResponseRange().GetKvs() {
		if q, err := decodeRequest(kv); err == nil {
			return q.text()
		}
	}
	return Request{}.text()
}

// ending is how a process ends.
type ending struct {
	outcome Outcome
	reason  string
	err     string // what the attempt ended in
	isError bool   // the handler's error, which counts
	output  json.RawMessage
	at      time.Time
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
		when:      t.held(h, next.ID, next.Fence),
		then:      append(then, remove(key)),
		otherwise: []clientv3.Op{get(key), get(t.k.process(next.ID))},
		applied:   t.wroteAttempt(written),
	}, nil
}

// asEnd is what all ends share: the row with its outcome, the output, the
// hint for those who wait, and the request, which is answered. The caller
// deletes the place.
func (t table) asEnd(next row, e ending, nonce string) (ops []clientv3.Op, written row, err error) {
	next.Outcome, next.Reason, next.Error = e.outcome, cut(e.reason), cut(e.err)
	next.FinishedAt = e.at
	next.Due, next.What = time.Time{}, ""
	apart := next.setOutput(e.output)
	value, err := next.sealed(nonce)
	if err != nil {
		return nil, row{}, err
	}
	hint, err := encode(doneValue{Ended: []endedSeries{{ID: next.ID, Series: next.Series}}})
	if err != nil {
		return nil, row{}, fmt.Errorf("encode the hint of %s: %w", next.ID, err)
	}
	ops = []clientv3.Op{
		put(t.k.process(next.ID), value),
		put(t.k.done(next.Outcome, next.FinishedAt, nonce), string(hint)),
		remove(t.k.request(next.ID)),
	}
	if apart != nil {
		ops = append(ops, put(t.k.output(next.ID), string(apart)))
	}
	return ops, next, nil
}

// doneValue is a hint: these ids ended. Who reads it decides on the rows.
type doneValue struct {
	Ended []endedSeries `json:"ended"`
}

type endedSeries struct {
	ID     string `json:"id"`
	Series int    `json:"series"`
}

// wrote recognises the row that a transition wrote while it stands.
func (t table) wrote(written row) func(view) bool {
	return func(v view) bool {
		there, ok := v.row(t.k, written.ID)
		return ok && there.Mark == written.Mark
	}
}

// wroteAttempt recognises the end of an attempt, also once later attempts
// wrote over the row: by its history.
func (t table) wroteAttempt(written row) func(view) bool {
	return func(v view) bool {
		there, ok := v.row(t.k, written.ID)
		return ok && (there.Mark == written.Mark || there.remembers(written))
	}
}

// remembers says whether the attempt that written ended is in r's history in
// just that way. A claim that ended no attempt is in no history.
func (r row) remembers(written row) bool {
	n := len(written.History)
	if n == 0 || written.History[n-1].Fence != written.Fence {
		return false
	}
	mine := written.History[n-1]
	return slices.ContainsFunc(r.History, func(past PastAttempt) bool {
		return past.Fence == mine.Fence && past.EndedAt.Equal(mine.EndedAt) && past.Error == mine.Error
	})
}
