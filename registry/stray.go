package registry

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Strays gives back claims of this session that nobody here knows of: one
// that was given up as unanswered and landed later. It says how many.
func (r *Registry) Strays(ctx context.Context, s *Session) (int, error) {
	resp, err := r.read(ctx, clientv3.OpGet(r.keys.claims(s.ID()), clientv3.WithPrefix()))
	if err != nil {
		return 0, fmt.Errorf("list own claims: %w", err)
	}
	released := 0
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		value, err := decodeClaim(kv)
		if err != nil || s.knows(value.Nonce) {
			continue
		}
		if err := r.releaseStray(ctx, s, kv); err != nil {
			return released, err
		}
		released++
	}
	return released, nil
}

func (r *Registry) releaseStray(ctx context.Context, s *Session, claim *mvccpb.KeyValue) error {
	id := last(string(claim.Key))
	resp, err := r.read(ctx, get(r.keys.process(id)))
	if err != nil {
		return fmt.Errorf("release stray %s: %w", id, err)
	}
	there, ok := newView(resp.Responses).row(r.keys, id)
	if !ok || there.ended() {
		return nil // not ours to repair
	}
	c := &Claim{ID: id, Fence: claim.ModRevision, Session: s, row: there}
	if value, err := decodeClaim(claim); err == nil {
		c.ClaimedAt, c.nonce, c.entered = value.ClaimedAt, value.Nonce, s.wasEntered(value.Nonce)
		c.written.any = c.entered // what its attempt wrote is not known any more
	}
	err = r.Release(ctx, c)
	if errors.Is(err, ErrRequested) {
		_, err = r.EndRequested(ctx, c, "", nil)
	}
	if errors.Is(err, ErrOwnerBound) {
		err = r.AbandonOwn(ctx, c, "its end could not be recorded", nil)
	}
	if err != nil && !errors.Is(err, ErrClaimLost) {
		return fmt.Errorf("release stray %s: %w", id, err)
	}
	return nil
}
