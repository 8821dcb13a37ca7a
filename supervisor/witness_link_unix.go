//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// WitnessLink is this process's end of its witness. Should the witness die, another one is started, which is told
// everything and put on record; until then no command is started, and those that run go on. Its methods may be called by
// any goroutine.
type WitnessLink struct {
	logger  *zap.Logger
	charges *charges
	leaving chan struct{} // closed by leave
	leave   func()
	tending sync.WaitGroup

	mu       sync.Mutex // guards all below
	current  *beside    // nil while there is none
	unheard  *beside    // watches what runs, but was not put on record before leaving was closed
	changed  chan struct{}
	identity lease.Identity // of the one that is, was, or is about to be
	failure  error          // why there is none
	records  map[*record]bool
}

// Witness puts a witness beside this process. Call it first thing in main.
//
// Where this process is number 1 of a PID namespace, as in most containers, its death would take a witness along. There
// Witness executes the program once more, in place: process 1 becomes the witness, passes signals on, reaps, and exits
// as its child does, which is this program again, with the same arguments, and in which Witness returns.
//
// The error is [ErrNoWitness] on systems that know no process groups, or says what is missing: /proc on Linux, or
// processes.
func Witness(o WitnessOptions) (*WitnessLink, error) {
	l := &WitnessLink{
		logger: o.Logger, charges: newCharges(), changed: make(chan struct{}), records: map[*record]bool{},
	}
	if l.logger == nil {
		l.logger = zap.NewNop()
	}
	l.leaving = make(chan struct{})
	l.leave = sync.OnceFunc(func() { close(l.leaving) })
	ctx := context.Background() // what is waited for has bounds of its own
	w, err := l.first(ctx)
	if err != nil {
		return nil, fmt.Errorf("supervisor: start a witness: %w", err)
	}
	l.mu.Lock()
	l.identity = w.identity
	l.mu.Unlock()
	if err := l.charges.handTo(ctx, w); err != nil {
		return nil, fmt.Errorf("supervisor: start a witness: %w", errors.Join(err, w.end()))
	}
	l.set(w, nil)
	l.tending.Go(func() { l.tend(w) })
	return l, nil
}

func (l *WitnessLink) first(ctx context.Context) (*beside, error) {
	socket, started := os.LookupEnv(witness.SocketVariable)
	switch {
	case started:
		if err := os.Unsetenv(witness.SocketVariable); err != nil {
			return nil, err
		}
		w := newBeside(l.charges, l.logger)
		if err := w.adopt(socket); err != nil {
			return nil, err
		}
		if err := w.begin(ctx); err != nil {
			return nil, err
		}
		return w, nil
	case os.Getpid() == 1:
		return nil, witness.Precede(os.Args) //nolint:forbidigo // they are passed on, not read
	default:
		return l.spawn(ctx)
	}
}

func (l *WitnessLink) spawn(ctx context.Context) (*beside, error) {
	w := newBeside(l.charges, l.logger)
	if err := w.spawn(); err != nil {
		return nil, err
	}
	if err := w.begin(ctx); err != nil {
		return nil, err
	}
	return w, nil
}

func (l *WitnessLink) closed() bool {
	select {
	case <-l.leaving:
		return true
	default:
		return false
	}
}

func (l *WitnessLink) set(w *beside, why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.become(w, why)
}

// become needs mu.
func (l *WitnessLink) become(w *beside, why error) {
	l.current, l.failure = w, why
	close(l.changed)
	l.changed = make(chan struct{})
}

// Identity is the witness's, for the node's record. It changes when the witness is replaced.
func (l *WitnessLink) Identity() lease.Identity {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.identity
}

// Err is nil while there is a witness, and after Close. Else it says why there is none now, and wraps [ErrWitnessGone] if
// it has ended.
func (l *WitnessLink) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return l.failure
	}
	return nil
}

// Deadline tells the witness until when a session lives: what runs under it is killed at that time, unless a later one
// has been told by then. It is a time of lease.Boottime. A node does it for its session. It never blocks.
// A session that is empty, or no id, is passed over.
func (l *WitnessLink) Deadline(session string, at time.Duration) {
	if session != "" && oneWord(session) {
		l.charges.setDeadline(session, at)
	}
}

func (l *WitnessLink) setWill(session, will string) { l.charges.setWill(session, will) }
func (l *WitnessLink) revokeWill(session string)    { l.charges.revokeWill(session) }

// Close ends the witness, which first kills what still runs. If that won't die before ctx ends, Close kills the witness
// itself and returns the cause. It may be called more than once.
func (l *WitnessLink) Close(ctx context.Context) error {
	l.leave()
	l.mu.Lock()
	w := l.current
	l.mu.Unlock()
	var err error
	if w != nil {
		err = w.close(ctx)
	}
	l.tending.Wait()
	l.mu.Lock()
	w, l.unheard = l.unheard, nil
	l.become(nil, nil)
	l.mu.Unlock()
	if w != nil {
		err = errors.Join(err, w.close(ctx))
	}
	return err
}

// await returns the witness, and waits for one that is about to replace another.
func (l *WitnessLink) await(ctx context.Context) (*beside, error) {
	patience := time.NewTimer(witnessPatience)
	defer patience.Stop()
	for {
		l.mu.Lock()
		w, changed, why := l.current, l.changed, l.failure
		l.mu.Unlock()
		switch {
		case l.closed():
			return nil, ErrWitnessGone
		case w != nil:
			return w, nil
		}
		select {
		case <-changed:
		case <-l.leaving:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-patience.C:
			return nil, fmt.Errorf("%w: %w", ErrWitnessGone, why)
		}
	}
}
