package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Retry gives the process of this claim back after an error of its handler:
// it may be claimed again at due, at once if that is past. The error text is
// cut at 2 KiB.
//
// [ErrRequested] means that a request to end the process stands; the caller
// is to end it. [ErrOwnerBound] means that it is owner-bound and the claim was
// entered: it is never run again. [ErrClaimLost] is as for
// [Registry.Complete]. All hold for all ways to give a process back.
func (r *Registry) Retry(ctx context.Context, c *Claim, due time.Time, cause string) error {
	next := c.attempted(r.now(), cause)
	next.Errors++
	return r.requeue(ctx, c, next, due, dueRetry)
}

// Snooze gives the process back as its handler asked: it is to go on at due.
// That is an attempt, not an error.
func (r *Registry) Snooze(ctx context.Context, c *Claim, due time.Time) error {
	next := c.attempted(r.now(), PutOff)
	next.Snoozes++
	return r.requeue(ctx, c, next, due, dueSnooze)
}

// Release gives the process back because its node can't go on with it;
// anybody may claim it at once. If the claim was entered that is an attempt,
// not an error; else it counts as nothing, but the row records the fence.
func (r *Registry) Release(ctx context.Context, c *Claim) error {
	return r.requeue(ctx, c, c.attempted(r.now(), HandedBack), time.Time{}, "")
}

// Reference says who goes on with a process that is handed off, and what it is
// there.
type Reference struct {
	Value     json.RawMessage // any JSON, up to 4 KiB; shown by Get
	Authority string          // who may end it; anybody who gives a name if empty
}

// HandOff makes the process one that is done outside, by whoever the claim's
// holder submitted it to. It is parked, no node claims it any more, and
// [Registry.EndExternal] ends it. What was declared of it stays as it was.
//
// A reference over 4 KiB is a [*TooLargeError], one that is not JSON and an
// authority that is no name are errors that wrap [ErrInvalid]; nothing is
// written then. [ErrRequested] and [ErrClaimLost] are as for [Registry.Retry].
func (r *Registry) HandOff(ctx context.Context, c *Claim, to Reference) error {
	value, err := compact(to.Value)
	if err == nil && to.Authority != "" {
		err = checkName("authority", to.Authority)
	}
	switch {
	case err != nil:
		return fmt.Errorf("hand off %s: %w: %w", c.ID, ErrInvalid, err)
	case len(value) > inlineBytes:
		return fmt.Errorf("hand off %s: %w", c.ID, &TooLargeError{What: "reference", Size: len(value), Max: inlineBytes})
	}
	next := c.attempted(r.now(), HandedOff)
	next.Reference, next.Authority = value, to.Authority
	next.Due, next.What = time.Time{}, whereParked
	return r.giveBack(ctx, c, next)
}

func (r *Registry) requeue(ctx context.Context, c *Claim, next row, due time.Time, what string) error {
	if err := c.mayGoBack(); err != nil {
		return fmt.Errorf("requeue %s: %w", c.ID, err)
	}
	next.Due, next.What = time.Time{}, ""
	if due.After(r.now()) {
		next.Due, next.What = due.UTC().Round(0), what
	}
	return r.giveBack(ctx, c, next)
}

// mayGoBack says whether the process may be claimed again after this claim.
func (c *Claim) mayGoBack() error {
	if c.entered && c.Disposition() == OwnerBound {
		return ErrOwnerBound
	}
	return nil
}

func (r *Registry) giveBack(ctx context.Context, c *Claim, next row) error {
	nonce, err := newNonce()
	if err != nil {
		return err
	}
	tr, err := r.table.requeue(c.Session.holder(), next, nonce)
	if err != nil {
		return err
	}
	return r.commitHeld(ctx, c, tr)
}

// requeue exchanges the claim for the place that next says. A request must
// not stand: it would be forgotten there, for a claim doesn't ask for one.
func (t table) requeue(h holder, next row, nonce string) (transition, error) {
	value, err := next.sealed(nonce)
	if err != nil {
		return transition{}, err
	}
	key, request := t.k.claim(h.sid, next.ID), t.k.request(next.ID)
	return transition{
		name:      "requeue " + next.ID,
		id:        next.ID,
		when:      append(t.held(h, next.ID, next.Fence), absent(request)),
		then:      []clientv3.Op{put(t.k.process(next.ID), value), remove(key), t.wait(next)},
		otherwise: []clientv3.Op{get(key), get(t.k.process(next.ID)), get(request)},
		applied:   t.wroteAttempt(next),
	}, nil
}

// commitHeld sends what is conditioned on the claim and says why it was
// refused. Once the answer is definite the claim is not held any more, but
// for a request that stands in the way.
func (r *Registry) commitHeld(ctx context.Context, c *Claim, tr transition) error {
	a, err := r.commit(ctx, tr)
	switch {
	case err != nil:
		// Refused, or given up without an answer: nobody sends it again. If
		// the claim still stands, it is a stray, to be given back later.
		c.Session.lose(c)
		return fmt.Errorf("%s: %w", tr.name, err)
	case a.applied:
		c.Session.forget(c.nonce)
		return nil
	case a.view.modRevision(r.keys.claim(c.Session.ID(), c.ID)) == c.Fence && a.view[r.keys.request(c.ID)] != nil:
		return fmt.Errorf("%s: %w", tr.name, ErrRequested)
	default:
		c.Session.forget(c.nonce)
		return fmt.Errorf("%s: %w", tr.name, ErrClaimLost)
	}
}
