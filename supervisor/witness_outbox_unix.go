//go:build linux || darwin

package supervisor

import (
	"strconv"
	"sync"
	"time"

	"github.com/drover-run/drover/supervisor/internal/witness"
)

// outbox holds what a witness has not been told yet: it may be slow, and who has something to tell is not to wait. It
// stays small: of deadlines only the last one counts, and nobody starts more commands while the witness is silent.
type outbox struct {
	mu        sync.Mutex // guards all below
	filled    *sync.Cond
	deadlines map[string]time.Duration
	lines     []byte
	closed    bool
}

func newOutbox() *outbox {
	o := &outbox{deadlines: map[string]time.Duration{}}
	o.filled = sync.NewCond(&o.mu)
	return o
}

func (o *outbox) setDeadline(session string, at time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.deadlines[session] = at
	o.filled.Signal()
}

func (o *outbox) add(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, line...)
	o.filled.Signal()
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.filled.Signal()
}

// take waits for something to send. Deadlines go first, so that a group never arrives before that of its session; that
// one may thus be newer than it was when the group was added does no harm.
func (o *outbox) take() (lines []byte, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && len(o.lines) == 0 && len(o.deadlines) == 0 {
		o.filled.Wait()
	}
	if o.closed {
		return nil, false
	}
	for session, at := range o.deadlines {
		lines = append(lines, witness.Line(witness.WordDeadline, session, strconv.FormatInt(int64(at), 10))...)
	}
	lines = append(lines, o.lines...)
	clear(o.deadlines)
	o.lines = nil
	return lines, true
}
