package registry

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

var (
	// ErrUnavailable says that etcd could not be reached, or has no leader.
	ErrUnavailable = errors.New("etcd can't be reached")
	// ErrNoSpace says that etcd's database is over its quota; it refuses writes until
	// somebody makes room and disarms the alarm.
	ErrNoSpace = errors.New("etcd is out of space")
	// ErrDenied says that the etcd user may not do this.
	ErrDenied = errors.New("etcd refused permission")
	// ErrCompacted says that what was asked for at an old revision is gone.
	ErrCompacted = errors.New("that revision was compacted")
)

// refusals are the errors that etcd gives before it proposes anything: what
// was asked did not and will not happen. They are told by etcd's own error
// values. The gRPC code is not enough: ResourceExhausted stands for "too many
// requests", a refusal that may be repeated, and for "no space", which may
// come after the write was applied.
var refusals = []error{
	rpctypes.ErrEmptyKey, rpctypes.ErrKeyNotFound, rpctypes.ErrValueProvided, rpctypes.ErrLeaseProvided,
	rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrRequestTooLarge,
	rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed,
	rpctypes.ErrInvalidAuthToken, rpctypes.ErrLeaseNotFound,
	rpctypes.ErrCompacted, rpctypes.ErrFutureRev,
}

func definite(err error) bool { return isOneOf(err, refusals) }

func isOneOf(err error, those []error) bool {
	for _, e := range those {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// explain gives etcd's errors names that callers can test for and people can
// read. The original stays underneath.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case errors.Is(err, rpctypes.ErrCompacted):
		return fmt.Errorf("%w: %w", ErrCompacted, err)
	case isOneOf(err, denials):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case definite(err):
		return err
	case errors.Is(err, context.Canceled):
		return err
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}

var denials = []error{
	rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed,
	rpctypes.ErrInvalidAuthToken,
}
