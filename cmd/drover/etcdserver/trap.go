package etcdserver

import (
	"sync"

	"go.uber.org/zap/zapcore"
)

// trap stands where etcd would end the process. Its logger's Fatal calls
// os.Exit, its Panic panics, mostly on goroutines of etcd's own, where nothing
// can catch it. The trap instead records what was said and keeps that goroutine
// for ever.
//
// Keeping it is the safe choice: it holds on to etcd's locks, so nothing half
// applied is ever committed, as if the process had ended right there. Letting
// the goroutine go on or unwind would release them. A sprung trap is followed by
// the end of the process, soon: the data directory stays locked until then.
type trap struct {
	dir    string
	once   sync.Once
	sprung chan struct{} // closed when err is set
	err    error
}

func newTrap(dir string) *trap { return &trap{dir: dir, sprung: make(chan struct{})} }

// OnWrite is called by zap in place of exit or panic.
func (t *trap) OnWrite(entry *zapcore.CheckedEntry, fields []zapcore.Field) {
	fatal := &FatalError{Dir: t.dir, Msg: entry.Message}
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			fatal.Err = err
		}
	}
	t.spring(fatal)
	select {}
}

func (t *trap) spring(err error) {
	t.once.Do(func() {
		t.err = err
		close(t.sprung)
	})
}

func (t *trap) isSprung() bool {
	select {
	case <-t.sprung:
		return true
	default:
		return false
	}
}
