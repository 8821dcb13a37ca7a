package etcdserver

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// databasePatience is how long a program is waited for that has the database and
// not the directory's lock.
const databasePatience = 1500 * time.Millisecond

var errLogMissing = errors.New("the database is there and the log is not")

// survey looks at what the last etcd left before another one starts on it.
//
// Two things it would not survive: without its log it starts a new cluster over
// the old data, and from then on ignores what it is told. And where the very
// first start was killed between making the log and writing to it, nobody is a
// member, so no leader is ever elected. As nothing can have been acknowledged
// then, the latter is started over.
func (d *dataDir) survey() error {
	member, err := readDatabase(d.database(), databasePatience)
	if err != nil {
		return err
	}
	logged := wal.Exist(d.log())
	switch {
	case member && !logged:
		return errLogMissing
	case !member && logged:
		committed, err := hasCommitted(d.log())
		if err != nil || committed {
			return nil //nolint:nilerr // etcd repairs it, or says what is wrong
		}
		return os.RemoveAll(d.etcd())
	}
	return nil
}

// hasCommitted reports whether any entry of the log was ever committed: the
// first that is, is the member's own joining.
func hasCommitted(dir string) (committed bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("damaged: %v", r)
		}
	}()
	quiet := zap.NewNop().WithOptions(zap.WithFatalHook(zapcore.WriteThenPanic))
	w, err := wal.OpenForRead(quiet, dir, &walpb.Snapshot{})
	if err != nil {
		return false, err
	}
	_, state, _, err := w.ReadAll()
	_ = w.Close() // always an error: of the directory, which reading does not open
	return state.GetCommit() != 0, err
}
