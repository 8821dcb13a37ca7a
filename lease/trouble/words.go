package trouble

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// said is what etcd says, and what that means. The first that fits counts.
var said = []struct {
	words string
	errs  []error
}{
	{"etcd is out of space and refuses writes: make room, then disarm its alarm", []error{rpctypes.ErrNoSpace}},
	{"etcd has no leader: a majority of its members is away or cut off", []error{
		rpctypes.ErrNoLeader, rpctypes.ErrNotLeader, rpctypes.ErrLeaderChanged,
		rpctypes.ErrTimeoutDueToLeaderFail, rpctypes.ErrTimeoutDueToConnectionLost,
	}},
	{"etcd refused permission: check the user, its password and its roles", []error{
		rpctypes.ErrPermissionDenied, rpctypes.ErrUserEmpty, rpctypes.ErrAuthFailed,
		rpctypes.ErrInvalidAuthToken, rpctypes.ErrAuthOldRevision, rpctypes.ErrUserNotFound,
	}},
	{"etcd has dropped the history that was to be read", []error{rpctypes.ErrCompacted}},
	{"etcd has ended the lease", []error{rpctypes.ErrLeaseNotFound}},
	{"etcd is overloaded", []error{rpctypes.ErrTooManyRequests}},
	{"a member of etcd is damaged", []error{rpctypes.ErrCorrupt}},
	{"etcd does not answer", []error{
		rpctypes.ErrTimeout, rpctypes.ErrStopped, rpctypes.ErrTimeoutWaitAppliedIndex, context.DeadlineExceeded,
	}},
}

// Words says what an error means that has to do with etcd, without etcd's
// jargon. An error that it does not know speaks for itself.
func Words(err error) string {
	if err == nil {
		return ""
	}
	for _, s := range said {
		for _, known := range s.errs {
			if errors.Is(err, known) {
				return s.words
			}
		}
	}
	if s, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		switch is := s.GRPCStatus(); {
		case is.Code() == codes.Unavailable || is.Code() == codes.DeadlineExceeded:
			return "etcd does not answer"
		case is.Code() == codes.PermissionDenied || is.Code() == codes.Unauthenticated,
			// A watch that etcd ends is told why in text alone.
			is.Message() == rpctypes.ErrGRPCPermissionDenied.Error(), is.Message() == rpctypes.ErrGRPCUserEmpty.Error():
			return "etcd refused permission: check the user, its password and its roles"
		}
	}
	return err.Error()
}
