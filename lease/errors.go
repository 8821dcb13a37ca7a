package lease

import (
	"errors"
	"fmt"
)

var (
	// ErrLost says that the session ended without being closed: its claims
	// may be somebody else's. The error that wraps it says how.
	ErrLost = errors.New("session lost")

	// ErrClosed says that the session ended by Close or Abandon.
	ErrClosed = errors.New("session closed")
)

// The ways to lose a session. They are told apart by people, not by programs:
// whatever the cause, the node stops its work and opens another session.
var (
	errDeadline = errors.New("no renewal was answered before the deadline")
	errExpired  = errors.New("its lease expired or was revoked")
	errDeleted  = errors.New("its key was deleted")
	errReplaced = errors.New("its key was deleted and put again")
	errDetached = errors.New("its key was put without its lease")
	errHistory  = errors.New("etcd's history went back, as after restoring a backup")
	errCluster  = errors.New("another etcd cluster answered")
)

func lost(cause error) error { return fmt.Errorf("%w: %w", ErrLost, cause) }
