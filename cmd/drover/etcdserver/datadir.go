package etcdserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is how long a holder that is neither serving nor gone is waited
	// for. With what a start costs besides, it stays below two seconds.
	patience = 1500 * time.Millisecond

	// servingPatience is how long a lock is tried whose holder says that it is
	// serving: longer than a new holder takes to replace the record of one that
	// was killed, and than Living's probes last.
	servingPatience = 200 * time.Millisecond

	retryEvery = 10 * time.Millisecond // half of it up to one and a half
)

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

// openDataDir makes the directory if need be and takes its lock. previous is
// what the last holder left in the record: nothing if it closed properly.
func openDataDir(ctx context.Context, dir string) (d *dataDir, previous Holder, err error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, Holder{}, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, Holder{}, fmt.Errorf("data directory: %w", err)
	}
	name := filepath.Join(path, lockName)
	f, err := takeLock(ctx, name)
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

// takeLock tries for as long as the holder's state makes it worth it, then
// returns EWOULDBLOCK.
func takeLock(ctx context.Context, name string) (*os.File, error) {
	begin := time.Now()
	for {
		f, err := tryLock(name)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return f, err
		}
		wait := patience
		if readHolder(name).State == Serving {
			wait = servingPatience
		}
		if time.Since(begin) >= wait {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(retryEvery/2 + rand.N(retryEvery)):
		}
	}
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
