package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Wait returns the process once it has ended; at once if it has. It is woken
// by a watch, which all waiters of this Registry share. An unknown id is an
// error that wraps [ErrNotFound]. While etcd can't be reached it waits for that
// as well. When ctx ends first, the error wraps its cause, and [ErrUnavailable]
// if that was why.
func (r *Registry) Wait(ctx context.Context, id string) (Process, error) {
	if err := CheckID(id); err != nil {
		return Process{}, err
	}
	woken, leave := r.waiting.join(id)
	defer leave()
	pause := newPause()
	for {
		// Joined before the read: an end after the read wakes us.
		p, err := r.Get(ctx, id)
		var again <-chan time.Time
		switch {
		case err == nil && p.Ended():
			return p, nil
		case errors.Is(err, ErrUnavailable):
			again = time.After(pause.NextBackOff())
		case err != nil && ctx.Err() == nil:
			return Process{}, err
		default:
			pause.Reset()
		}
		select {
		case <-ctx.Done():
			return Process{}, fmt.Errorf("wait for %s: %w", id, errors.Join(context.Cause(ctx), err))
		case <-r.closed:
			return Process{}, fmt.Errorf("wait for %s: %w", id, ErrClosed)
		case <-r.client.Ctx().Done(): // the client was closed before the Registry
			return Process{}, fmt.Errorf("wait for %s: %w", id, ErrClosed)
		case <-woken:
		case <-again:
		}
	}
}

// doneWatch is the one watch on done/ that wakes everybody who waits. It runs
// while somebody waits. What it delivers are hints: who is woken reads the
// row.
type doneWatch struct {
	r *Registry

	mu      sync.Mutex
	waiters map[string]map[*doorbell]bool // by id
	cancel  context.CancelFunc            // of the running watch, or nil
	stopped bool
	running sync.WaitGroup
}

// doorbell keeps one ring.
type doorbell chan struct{}

func (d doorbell) ring() {
	select {
	case d <- struct{}{}:
	default:
	}
}

func newDoneWatch(r *Registry) *doneWatch {
	return &doneWatch{r: r, waiters: map[string]map[*doorbell]bool{}}
}

// join subscribes to the end of id. The bell also rings once a new watch
// stands: what ended before that is found by reading again.
func (w *doneWatch) join(id string) (<-chan struct{}, func()) {
	bell := make(doorbell, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiters[id] == nil {
		w.waiters[id] = map[*doorbell]bool{}
	}
	w.waiters[id][&bell] = true
	if w.cancel == nil && !w.stopped {
		ctx, cancel := context.WithCancel(context.Background())
		w.cancel = cancel
		w.running.Go(func() { w.run(ctx) })
	}
	return bell, func() { w.leave(id, &bell) }
}

func (w *doneWatch) leave(id string, bell *doorbell) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.waiters[id], bell)
	if len(w.waiters[id]) == 0 {
		delete(w.waiters, id)
	}
	if len(w.waiters) == 0 && w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
}

func (w *doneWatch) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
	w.mu.Unlock()
	w.running.Wait()
}

// run watches until ctx ends. A watch that is cut, compacted or refused is
// replaced; each new one wakes everybody, as it can't know what it missed.
func (w *doneWatch) run(ctx context.Context) {
	pause := newPause()
	for ctx.Err() == nil {
		watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		events := w.r.client.Watch(watch, w.r.keys.root+"done/", clientv3.WithPrefix(),
			clientv3.WithFilterDelete(), clientv3.WithCreatedNotify())
		for resp := range events {
			if resp.Created {
				pause.Reset()
				w.wakeAll()
			}
			for _, e := range resp.Events {
				w.wake(e.Kv.Value)
			}
		}
		cancel()
		rest(ctx, pause.NextBackOff())
	}
}

func (w *doneWatch) wake(hint []byte) {
	var done doneValue
	if err := json.Unmarshal(hint, &done); err != nil {
		w.r.log.Warn("a hint of ended processes can't be read", zap.Error(err))
		w.wakeAll()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ended := range done.Ended {
		for bell := range w.waiters[ended.ID] {
			bell.ring()
		}
	}
}

func (w *doneWatch) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, bells := range w.waiters {
		for bell := range bells {
			bell.ring()
		}
	}
}
