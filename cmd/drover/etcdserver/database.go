package etcdserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// errDatabaseHeld: some program has etcd's database open without having taken
// the directory's lock, such as etcd itself or etcdutl.
var errDatabaseHeld = errors.New("the database is locked")

// readDatabase reads through etcd's database before etcd opens it, and reports
// whether a member is recorded in it. etcd would open it on a goroutine of its
// own, where a damaged page ends the process, and would wait for another
// program's lock without end. It costs about a tenth of what etcd then does with
// the same pages.
func readDatabase(path string, wait time.Duration) (member bool, err error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Size() == 0:
		return false, nil // etcd makes it anew
	}
	// The file is mapped: where it was cut short, reading is a fault.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged: %v", r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: wait})
	if errors.Is(err, berrors.ErrTimeout) {
		return false, errDatabaseHeld
	}
	if err != nil {
		return false, err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(schema.Members.Name()); b != nil {
			first, _ := b.Cursor().First()
			member = first != nil
		}
		return readThrough(tx)
	})
	return member, errors.Join(err, db.Close())
}

// readThrough visits every key, and with that every page in use.
func readThrough(tx *bbolt.Tx) error {
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(_, _ []byte) error { return nil })
	})
}
