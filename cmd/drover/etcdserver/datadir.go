package etcdserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const retryEvery = 10 * time.Millisecond // half of it up to one and a half

// dataDir is a data directory whose lock this process holds.
// It belongs to one goroutine at a time: the one that starts, then the one that
// stops.
type dataDir struct {
	path string // absolute
	lock *os.File
	rec  Holder // as last written
}

func (d *dataDir) etcd() string { return filepath.Join(d.path, "etcd") }

func (d *dataDir) database() string { return filepath.Join(d.etcd(), "member", "snap", "db") }

func (d *dataDir) log() string { return filepath.Join(d.etcd(), "member", "wal") }

// openDataDir takes the directory, and waits for another process that has it for
// as long as its state makes that worth it.
func openDataDir(ctx context.Context, dir string, w waiting) (d *dataDir, previous Holder, err error) {
	for {
		d, previous, err = tryDataDir(dir)
		inUse, ok := errors.AsType[*InUseError](err)
		if !ok || w.over(Holder{PID: inUse.PID, State: inUse.State}) {
			return d, previous, err
		}
		if err := pause(ctx, retryEvery); err != nil {
			return nil, Holder{}, err
		}
	}
}

// tryDataDir makes the directory if need be and tries its lock once. previous is
// what the last holder left in the record: nothing if it closed properly.
func tryDataDir(dir string) (d *dataDir, previous Holder, err error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, Holder{}, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, Holder{}, fmt.Errorf("data directory: %w", err)
	}
	name := filepath.Join(path, lockName)
	f, err := tryLock(name)
	if errors.Is(err, unix.EWOULDBLOCK) {
		h := readHolder(name)
		return nil, Holder{}, &InUseError{Dir: dir, PID: h.PID, State: h.State}
	}
	if err != nil {
		return nil, Holder{}, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	previous = readHolder(name)
	d = &dataDir{path: path, lock: f, rec: Holder{PID: os.Getpid(), StartedAt: time.Now().UTC()}}
	// The socket directory of a killed predecessor stays on record until it has
	// been removed: this process may be killed first.
	if err := d.record(Starting, previous.SocketDir, nil); err != nil {
		d.close()
		return nil, Holder{}, err
	}
	return d, previous, nil
}

func tryLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) // close-on-exec: children don't inherit the lock
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	// Somebody may have removed the directory between open and lock: a lock on a
	// file without a name excludes nobody.
	if !sameFile(f, name) {
		f.Close()
		return nil, unix.EWOULDBLOCK
	}
	return f, nil
}

func sameFile(f *os.File, name string) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(name)
	return err == nil && os.SameFile(held, named)
}

// record says in the lock file what this process does. Replacing the file would
// part its name from the lock, so it is written in place, in one call.
func (d *dataDir) record(s State, socketDir string, endpoints []string) error {
	d.rec.State, d.rec.SocketDir, d.rec.Endpoints = s, socketDir, endpoints
	b, err := json.Marshal(d.rec)
	if err != nil {
		return fmt.Errorf("record the holder: %w", err)
	}
	b = append(b, '\n')
	if _, err := d.lock.WriteAt(b, 0); err != nil {
		return fmt.Errorf("record the holder: %w", err)
	}
	if err := d.lock.Truncate(int64(len(b))); err != nil {
		return fmt.Errorf("record the holder: %w", err)
	}
	return nil
}

// close empties the record and gives the lock back. The file stays: removing it
// could part somebody else's lock from its name.
func (d *dataDir) close() error {
	return errors.Join(d.lock.Truncate(0), d.lock.Close())
}
