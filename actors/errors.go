package actors

import "errors"

var (
	// ErrStopped is in the Drove that answers a Poke to a node that stops.
	ErrStopped = errors.New("the node has stopped")

	// ErrDriveTimeout is the cause with which the context of a drive ends that
	// takes longer than 30 s.
	ErrDriveTimeout = errors.New("the drive took too long")

	// ErrDriving says that a drive does not end although its context has.
	ErrDriving = errors.New("a drive does not end")
)
