package etcdserver

import (
	"strings"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logs decides what of etcd's own logging is passed on: Warn and above, unless
// it is about something that we did on purpose. What etcd says as it dies is
// returned as an error, and so not logged.
type logs struct {
	electing atomic.Bool // raft warns of an election that is asked for too early
	stopping atomic.Bool // etcd calls its own closed listeners errors
}

// expected is what etcd says of what is nothing to worry about, or is told to
// whom it concerns.
//
// On every first start it looks for the version of its storage before it has
// written it, and looks again after four seconds. What it then says, a start
// that follows says too, if the first was killed.
//
// A request that fails is answered with why. Of a read it happens whenever the
// reader goes away meanwhile; without space it would be a line for each write.
var expected = map[string]bool{
	"unexpected error during readonly txn": true,
	"failed to apply request":              true,
	"Failed to detect schema version":      true,
	"failed to update storage version":     true,
	"Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.": true,
}

// logger is l with that filter, and with t in place of exit and panic.
func (f *logs) logger(l *zap.Logger, t *trap) *zap.Logger {
	if l == nil {
		l = zap.NewNop()
	}
	filter := zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return &filteredCore{Core: core, logs: f}
	})
	return l.Named("etcd").WithOptions(filter, zap.WithFatalHook(t), zap.WithPanicHook(t))
}

type filteredCore struct {
	zapcore.Core
	logs *logs
}

func (c *filteredCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && l < zapcore.PanicLevel &&
		!c.logs.stopping.Load() && c.Core.Enabled(l)
}

func (c *filteredCore) With(fields []zapcore.Field) zapcore.Core {
	return &filteredCore{Core: c.Core.With(fields), logs: c.logs}
}

func (c *filteredCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	early := c.logs.electing.Load() && strings.HasSuffix(e.LoggerName, ".raft")
	if !c.Enabled(e.Level) || early || expected[e.Message] {
		return ce
	}
	return c.Core.Check(e, ce)
}
