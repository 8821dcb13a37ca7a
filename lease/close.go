package lease

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Close ends the session: Done closes, then the lease is revoked, and with it
// etcd deletes the session's key, so that others may take its claims over at
// once. A lease that is gone already is a success, and a lost session is
// revoked too. Close returns when the session's goroutines have ended.
//
// If the lease was not revoked before ctx ended, or within 5 s, that is the
// error; the session has ended all the same, and etcd expires it. Close may
// be called again, and then revokes what is not revoked yet.
func (s *Session) Close(ctx context.Context) error {
	s.end(ErrClosed)
	err := s.revoke(ctx)
	select {
	case <-s.stopped:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("close session %s: renewals still running: %w", s.sid, context.Cause(ctx)))
	}
	return err
}

// Abandon ends the session without a word to etcd, where it lives until its
// TTL is over: for a stop that cannot reach etcd, or must look like a crash.
// It returns when the session's goroutines have ended. Close may follow.
func (s *Session) Abandon() {
	s.end(ErrClosed)
	<-s.stopped
}

func (s *Session) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	select {
	case s.revoking <- struct{}{}:
		defer func() { <-s.revoking }()
	case <-ctx.Done():
		return fmt.Errorf("revoke session %s: %w", s.sid, context.Cause(ctx))
	}
	if s.revoked {
		return nil
	}
	_, err := s.client.Revoke(ctx, s.lease)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("revoke session %s: %w", s.sid, err)
	}
	s.revoked = true
	return nil
}
