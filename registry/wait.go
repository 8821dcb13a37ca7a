package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Wait returns the process once it has ended; at once if it has. If it is open
// when Wait looks, it is the end of that series that Wait returns, also if
// somebody opens it again at once; only if etcd has compacted that end away by
// the time it is read, it is the next one.
//
// Any number of waiters share one watch and each other's reads, and the JSON of
// what they are told: it must not be changed. An unknown id is an error that
// wraps [ErrNotFound]. While etcd can't be reached Wait waits for that as well.
// When ctx ends first, the error wraps its cause, and [ErrUnavailable] if that
// was why.
func (r *Registry) Wait(ctx context.Context, id string) (Process, error) {
	if err := CheckID(id); err != nil {
		return Process{}, err
	}
	w := r.waiting.join(id)
	defer r.waiting.leave(w)
	var err error
	select {
	case a := <-w.told:
		if a.err == nil {
			return a.process, nil
		}
		err = a.err
	case <-ctx.Done():
		err = errors.Join(context.Cause(ctx), r.waiting.trouble(ctx, w))
	case <-r.closed:
		err = ErrClosed
	case <-r.client.Ctx().Done(): // the client was closed before the Registry
		err = ErrClosed
	}
	return Process{}, fmt.Errorf("wait for %s: %w", id, err)
}

// waiter is one call of Wait. The room's mutex guards it.
type waiter struct {
	id   string
	desk *desk
	told chan told // of one
	// series is the one whose end is waited for, once the row was read; 0
	// before.
	series int
	// trouble is why the row could not be read, last.
	trouble error
}

type told struct {
	process Process
	err     error
}

// waitingRoom is everybody who waits on one Registry. While there is somebody,
// a desk serves them.
type waitingRoom struct {
	r *Registry

	mu      sync.Mutex
	desk    *desk
	stopped bool
	running sync.WaitGroup
}

func newWaitingRoom(r *Registry) *waitingRoom { return &waitingRoom{r: r} }

func (room *waitingRoom) join(id string) *waiter {
	room.mu.Lock()
	defer room.mu.Unlock()
	w := &waiter{id: id, told: make(chan told, 1)}
	if room.stopped {
		return w // nobody will tell it anything: the Registry is closed
	}
	if room.desk == nil {
		ctx, cancel := context.WithCancel(context.Background())
		d := &desk{room: room, cancel: cancel, bell: make(doorbell, 1), ids: map[string]*awaited{}}
		room.desk = d
		room.running.Go(func() { d.run(ctx) })
	}
	w.desk = room.desk
	w.desk.add(w)
	return w
}

func (room *waitingRoom) leave(w *waiter) {
	room.mu.Lock()
	defer room.mu.Unlock()
	d := w.desk
	if d == nil {
		return
	}
	d.remove(w)
	if d.present--; d.present == 0 {
		d.cancel()
		if room.desk == d {
			room.desk = nil
		}
	}
}

// trouble is what kept w from being told anything, if it was etcd.
func (room *waitingRoom) trouble(ctx context.Context, w *waiter) error {
	room.mu.Lock()
	defer room.mu.Unlock()
	if w.trouble == nil && w.series == 0 && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: it has not answered yet", ErrUnavailable)
	}
	return w.trouble
}

func (room *waitingRoom) stop() {
	room.mu.Lock()
	room.stopped = true
	if room.desk != nil {
		room.desk.cancel()
		room.desk = nil
	}
	room.mu.Unlock()
	room.running.Wait()
}

// doorbell keeps one ring.
type doorbell chan struct{}

func (d doorbell) ring() {
	select {
	case d <- struct{}{}:
	default:
	}
}
