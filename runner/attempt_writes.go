package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/registry"
)

// Progress shows v, marshalled as JSON, to whoever looks at the process, until
// the next one or the outcome; up to the limit of an input. It does not wait:
// at most one is written a second, the latest. The error is that of the marshalling, or why an earlier
// one could not be written: [registry.ErrClaimLost] means that somebody else
// may run the process by now.
func (a *Attempt) Progress(v any) error {
	value, err := registry.Encode(v)
	if err != nil {
		return fmt.Errorf("encode the progress of %s: %w", a.ID(), err)
	}
	return a.progress.set(value)
}

// Checkpoint keeps v, marshalled as JSON, under a name for this attempt and
// later ones of the series: it is durable when Checkpoint returns. Names are 1
// to 64 of A-Z a-z 0-9 . _ -. Everything that is kept goes with the outcome.
//
// [registry.ErrClaimLost] means that the claim had passed on and nothing was
// kept, [registry.ErrUnresolved] that ctx ended before etcd answered; a
// [*registry.TooLargeError] is over the limit of an input.
func (a *Attempt) Checkpoint(ctx context.Context, name string, v any) error {
	value, err := registry.Encode(v)
	if err != nil {
		return fmt.Errorf("encode the step %s of %s: %w", name, a.ID(), err)
	}
	// Read first, so that this one is not hidden by a later read.
	if _, err := a.loadSteps(ctx); err != nil {
		return err
	}
	if err := a.registry.Checkpoint(ctx, a.claim, name, value); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.steps[name] = value
	return nil
}

// Restore unmarshals into v what was kept under a name last, by this attempt
// or an earlier one of the series. found is false, and v as it was, if nothing
// was. The first call asks etcd, within [registry.Options].RequestTimeout; its
// errors are those of reading and of encoding/json.
func (a *Attempt) Restore(name string, v any) (found bool, err error) {
	steps, err := a.loadSteps(context.Background())
	if err != nil {
		return false, err
	}
	a.mu.Lock()
	value, found := steps[name]
	a.mu.Unlock()
	if !found {
		return false, nil
	}
	if err := json.Unmarshal(value, v); err != nil {
		return false, fmt.Errorf("decode the step %s of %s: %w", name, a.ID(), err)
	}
	return true, nil
}

// loadSteps reads the steps once: nobody else writes them under this claim.
func (a *Attempt) loadSteps(ctx context.Context) (map[string]json.RawMessage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.steps == nil {
		steps, err := a.registry.Steps(ctx, a.claim)
		if err != nil {
			return nil, err
		}
		a.steps = steps
	}
	return a.steps, nil
}

// Txn makes writes of the handler's own in etcd, in one transaction, if the
// claim is held and the conditions hold: see [registry.Registry.Txn].
func (a *Attempt) Txn(ctx context.Context, conditions []clientv3.Cmp, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	return a.registry.Txn(ctx, a.claim, conditions, ops...)
}

// CompleteWith adds writes of the handler's own to the transaction that
// completes the process: they happen if and only if it completes. They must
// not be on drover's keys ([registry.ErrInvalid]), and no two on the same key;
// those of all calls may have 1 MiB of keys and values together
// ([*registry.TooLargeError]). What is refused here is not added. Writes that
// etcd refuses in the end, such as more than about 120 of them, make the
// process failed. It has no effect after the handler has returned.
func (a *Attempt) CompleteWith(ops ...clientv3.Op) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	also := append(slices.Clone(a.also), ops...)
	if err := a.registry.CheckOps(also...); err != nil {
		return fmt.Errorf("complete %s with writes: %w", a.ID(), err)
	}
	a.also = also
	return nil
}

// SetLog notes where the whole of what this attempt writes is kept, for the
// history of the process; it is cut at 2 KiB.
func (a *Attempt) SetLog(where string) { a.claim.SetLog(where) }
