package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sharersName is a file that everybody who shares the directory has locked for
// as long, together. Between one holder and the next nobody holds the directory:
// by this lock others see that somebody is about to.
const sharersName = "sharers"

// join makes the directory if need be and takes part in it until the file is
// closed.
func join(ctx context.Context, dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	name := filepath.Join(dir, sharersName)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // close-on-exec, as the lock
		if err != nil {
			return nil, fmt.Errorf("share the data directory: %w", err)
		}
		if err = flock(f, unix.LOCK_SH); err == nil {
			return f, nil
		}
		f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("share the data directory: lock %s: %w", name, err)
		}
		if err := pause(ctx, retryEvery); err != nil { // somebody is looking, see isShared
			return nil, err
		}
	}
}

// isShared reports whether anybody takes part, by a lock that it gives back at
// once.
func isShared(dir string) (bool, error) {
	return isLocked(filepath.Join(dir, sharersName), unix.LOCK_EX)
}
