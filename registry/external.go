package registry

import (
	"context"
	"encoding/json"
	"fmt"
)

// ExternalEnd says how a process ended that was done outside.
type ExternalEnd struct {
	// Outcome is Completed, Failed or Cancelled.
	Outcome Outcome
	Output  json.RawMessage // as for [Registry.Complete]
	Error   string          // cut at 2 KiB, as is Reason
	Reason  string
}

// EndExternal ends a process that is parked: an external one, or one that was
// handed off. The authority is a name (see [CheckName]), which is recorded as
// evidence; if the process has one declared it must be that, else the error is
// [ErrAuthority]. That it still is when the end is written is a condition of
// the transaction.
//
// [ErrEnded] and [ErrNotFound] are as for [Registry.Cancel], [ErrState] is of
// a process that is not parked. That is no answer to a process which a node
// runs at the moment and may hand off later.
func (r *Registry) EndExternal(ctx context.Context, id, authority string, e ExternalEnd) error {
	if err := r.checkExternalEnd(id, authority, e); err != nil {
		return err
	}
	output, err := r.checkOutput(e.Output)
	if err != nil {
		return fmt.Errorf("end %s: %w", id, err)
	}
	nonce, err := newNonce()
	if err != nil {
		return err
	}
	how := ending{
		outcome: e.Outcome, reason: e.Reason, err: e.Error, isError: e.Outcome == Failed, output: output, at: r.now(),
	}
	how.evidence = &Evidence{What: EvidenceAuthority, By: authority, At: how.at}
	for {
		done, err := r.tryEndExternal(ctx, id, authority, how, nonce)
		if err != nil {
			return fmt.Errorf("end %s: %w", id, err)
		}
		if done {
			return nil
		}
	}
}

func (r *Registry) checkExternalEnd(id, authority string, e ExternalEnd) error {
	if err := CheckID(id); err != nil {
		return err
	}
	if err := checkName("authority", authority); err != nil {
		return err
	}
	if e.Outcome != Completed && e.Outcome != Failed && e.Outcome != Cancelled {
		return fmt.Errorf("%w: outcome %.40q, it must be %s, %s or %s", ErrInvalid, e.Outcome, Completed, Failed, Cancelled)
	}
	return nil
}

func (r *Registry) tryEndExternal(ctx context.Context, id, authority string, e ending, nonce string) (done bool, err error) {
	v, there, err := r.readPlace(ctx, id)
	if err != nil {
		return false, err
	}
	place := v[r.keys.parked(id)]
	switch whose := there.process().Authority; {
	case there.ended():
		return false, fmt.Errorf("%w: %s", ErrEnded, there.Outcome)
	case place == nil:
		return false, fmt.Errorf("%w: it is not done outside", ErrState)
	case whose != "" && whose != authority:
		return false, fmt.Errorf("%w: it is %s, not %s", ErrAuthority, whose, authority)
	}
	if e.isError {
		there.Errors++
	}
	// The row, with whose it is, can't change while the place is as read.
	tr, err := r.table.endWaiting(place, there, e, nonce)
	if err != nil {
		return false, err
	}
	a, err := r.commit(ctx, tr)
	return a.applied, err
}
