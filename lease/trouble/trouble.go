package trouble

import (
	"sync"
	"time"

	"go.uber.org/zap"
)

// Trouble is one thing that may fail and is tried again. Its methods may be
// called from any goroutine.
type Trouble struct {
	log          *zap.Logger
	begins, ends string

	mu     sync.Mutex
	since  time.Time // zero while all is well
	err    error     // the latest
	failed int
}

// State is a trouble while it lasts.
type State struct {
	Err    error // the latest
	Since  time.Time
	Failed int // how often
}

// New has two messages, for when it begins to fail and for when it works
// again. Both are constant: what differs is in the fields. log may be nil.
func New(log *zap.Logger, begins, ends string) *Trouble {
	if log == nil {
		log = zap.NewNop()
	}
	return &Trouble{log: log, begins: begins, ends: ends}
}

// Note tells how a try went; nil is success. The fields are logged when the
// trouble begins.
func (t *Trouble) Note(err error, fields ...zap.Field) {
	t.NoteSince(time.Now(), err, fields...)
}

// NoteSince is Note for what is known to have worked last at another time than
// now.
func (t *Trouble) NoteSince(since time.Time, err error, fields ...zap.Field) {
	if err == nil {
		t.end()
		return
	}
	t.mu.Lock()
	t.err = err
	t.failed++
	begins := t.since.IsZero()
	if begins {
		t.since = since
	}
	t.mu.Unlock()
	if begins {
		t.log.Warn(t.begins, append(fields, zap.String("why", Words(err)), zap.Time("since", since), zap.Error(err))...)
	}
}

func (t *Trouble) end() {
	t.mu.Lock()
	since, failed := t.since, t.failed
	t.since, t.err, t.failed = time.Time{}, nil, 0
	t.mu.Unlock()
	if !since.IsZero() {
		t.log.Info(t.ends, zap.Int("failed", failed), zap.Time("since", since), zap.Duration("for", time.Since(since)))
	}
}

// Now is the trouble that there is; ok is false if there is none.
func (t *Trouble) Now() (s State, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return State{Err: t.err, Since: t.since, Failed: t.failed}, !t.since.IsZero()
}
