package registry

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound says that there is no process with this id (never started, or pruned).
	ErrNotFound = errors.New("no such process")

	// ErrConflict says that the id stands for a process with another specification.
	ErrConflict = errors.New("another process has this id")

	// ErrEnded says that the process has an outcome, what was asked can't be done to it
	// any more.
	ErrEnded = errors.New("the process has ended")

	// ErrClaimLost says that the claim is not held any more: its session ended, it was
	// adopted, or it was given back. What the attempt did is not recorded.
	ErrClaimLost = errors.New("the claim is lost")

	// ErrNotClaimable says that somebody else claimed or cancelled it first, or its
	// queue changed. Nothing was done; list again.
	ErrNotClaimable = errors.New("not claimable any more")

	// ErrState says that what was asked can't be done to a process that is where this
	// one is: the text tells where that is, and what can be done.
	ErrState = errors.New("not in this state")

	// ErrNotEnded says that the process has no outcome yet, so it can't be opened again.
	ErrNotEnded = errors.New("the process has not ended")

	// ErrOwnerBound says that the process is owner-bound and was started: it is never run
	// again, so its claim can't be given back.
	ErrOwnerBound = errors.New("owner-bound work is not run again")

	// ErrOrphaned says that an orphan stays one: it is owner-bound, and there is neither
	// proof that its holder is dead nor a request to abandon it.
	ErrOrphaned = errors.New("an owner-bound orphan stays as it is")

	// ErrAuthority says that the process is another authority's to end.
	ErrAuthority = errors.New("another authority ends this process")

	// ErrFull says that etcd's database is nearly full, so nothing new is started and
	// nothing is opened again until there is room. What is under way goes on. The text
	// tells how full it is, and what to do.
	ErrFull = errors.New("etcd is nearly full, nothing new is started")

	// ErrCondition says that a condition of the caller's own did not hold, so nothing was
	// written.
	ErrCondition = errors.New("a condition of the caller does not hold")

	// ErrRequested says that a request to end the process stands, so it can't be put
	// back into the queue. The holder is to end it.
	ErrRequested = errors.New("a request to end the process stands")

	// ErrUnresolved says that etcd did not answer before the context ended. What was
	// asked may or may not have happened, now or a moment later. Asking again
	// is safe for every method of Registry.
	ErrUnresolved = errors.New("etcd did not answer, the outcome is unknown")

	// ErrClosed says that the Registry was closed, or the client under it.
	ErrClosed = errors.New("registry: closed")
)

// TooLargeError says that something is over its limit: an encoded input,
// output, progress or step ([Options].MaxInput), a reference (4 KiB), or the
// operations of a caller's own (1 MiB). Nothing was written.
type TooLargeError struct {
	What      string // such as "input"
	Size, Max int    // bytes as encoded
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s of %d bytes is over the limit of %d", e.What, e.Size, e.Max)
}

// CorruptError says that a key holds something that drover did not write, or
// that a newer drover wrote. The key is left as it is.
type CorruptError struct {
	Key string
	Why error
}

func (e *CorruptError) Error() string { return fmt.Sprintf("corrupt %s: %v", e.Key, e.Why) }
func (e *CorruptError) Unwrap() error { return e.Why }

// errForeign is why a key that drover did not make is called corrupt.
var errForeign = errors.New("it is not of the form that drover writes")
