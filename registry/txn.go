package registry

import (
	"context"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// receipt is the step that every transaction of a user's writes too, so that
// one which was not answered is known again. No name of a user's is like it.
const receipt = "~txn"

// Txn makes the caller's own writes under the claim: they happen if it is held
// and the caller's conditions hold, in one transaction. The response is etcd's;
// Succeeded is false if a condition of the caller's did not hold. Neither
// conditions nor operations can be on keys of drover's own ([ErrInvalid]).
//
// [ErrClaimLost] means that the claim had passed on and nothing was written.
// A transaction that was not answered is sent again until it is: it happens
// once. What it read is not in the response if only a repeat was answered.
func (r *Registry) Txn(ctx context.Context, c *Claim, conditions []clientv3.Cmp, ops ...clientv3.Op) (*clientv3.TxnResponse, error) {
	if err := r.keys.foreignTo(conditions, ops); err != nil {
		return nil, fmt.Errorf("transaction of %s: %w", c.ID, err)
	}
	nonce, err := newNonce()
	if err != nil {
		return nil, err
	}
	content, err := encode(wroteValue{Attempt: c.Attempt, Fence: c.Fence, At: r.now(), Nonce: nonce})
	if err != nil {
		return nil, err
	}
	key := r.keys.step(c.ID, receipt)
	a, err := r.writeHeld(ctx, c, key, string(content), func(tr *transition) {
		tr.name, tr.alone = "transaction of "+c.ID, true
		tr.when, tr.then = append(tr.when, conditions...), append(slices.Clone(ops), tr.then...)
	})
	if err != nil {
		return nil, fmt.Errorf("transaction of %s: %w", c.ID, err)
	}
	resp := &clientv3.TxnResponse{Header: a.resp.Header, Succeeded: a.applied}
	if a.resp.Succeeded {
		resp.Responses = a.resp.Responses[:len(ops)] // the rest is of reads of ours
	}
	return resp, nil
}
