package etcdserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// State is what the holder of a data directory says of itself.
type State string

const (
	Starting State = "starting" // not to be reached yet
	Serving  State = "serving"
	Stopping State = "stopping" // not to be relied on any more
	Failed   State = "failed"   // holds the directory until its process ends, see Server.Err
)

// Holder is what the process that holds a data directory wrote into its lock
// file. A holder that was killed leaves it behind: only the lock says whether
// it is true.
type Holder struct {
	PID       int       `json:"pid"`
	State     State     `json:"state"`
	Endpoints []string  `json:"endpoints,omitempty"`
	SocketDir string    `json:"socket_dir,omitempty"`
	StartedAt time.Time `json:"started_at"`
}

const lockName = "lock"

// rereadAfter is how long a record of a process that is not to be seen is given
// to change. A new holder overwrites its predecessor's within microseconds.
const rereadAfter = 20 * time.Millisecond

// look returns what the holder of dir says of itself, if there is one. It may
// be gone, or frozen, a moment later. It creates nothing, and takes a few
// microseconds unless the holder is new.
func look(dir string) (holder Holder, held bool, err error) {
	path := filepath.Join(dir, lockName)
	held, err = isHeld(path)
	if err != nil || !held {
		return Holder{}, false, err
	}
	holder = readHolder(path)
	if !seen(holder.PID) {
		// Either the new holder has not written yet, and this is its killed
		// predecessor's record, or it lives in another PID namespace. Only the
		// former changes.
		<-time.After(rereadAfter)
		holder = readHolder(path)
	}
	return holder, true, nil
}

// isHeld asks by a shared lock that it gives back at once. A process that
// starts meanwhile finds the directory locked and tries again.
func isHeld(path string) (bool, error) { return isLocked(path, unix.LOCK_SH) }

// isLocked reports whether a lock of this kind can't be had.
func isLocked(path string, how int) (bool, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("who holds the data directory: %w", err)
	}
	defer f.Close()
	switch err := flock(f, how); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("who holds the data directory: lock %s: %w", path, err)
	}
	return false, nil
}

// readHolder returns what can be read, the zero Holder if nothing can. The file
// is written in place, so the first JSON value counts and rests of an older,
// longer record behind it do not.
func readHolder(path string) Holder {
	b, err := os.ReadFile(path)
	if err != nil {
		return Holder{}
	}
	var h Holder
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&h); err != nil {
		return Holder{}
	}
	return h
}

// seen says whether the pid is that of a process which this one can see.
func seen(pid int) bool {
	if pid <= 0 {
		return false
	}
	err := unix.Kill(pid, 0)
	return err == nil || errors.Is(err, unix.EPERM)
}

// flock tries a lock without waiting for it. It belongs to the open file, is
// dropped when that is closed, and ends with the process.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
