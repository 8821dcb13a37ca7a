package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/drover-run/drover/registry"
)

// Slot is what an attempt takes up of its node: of those that a node may run
// at a time, one.
type Slot interface {
	// Yield gives the slot back. It must not block.
	Yield()
	// Resume takes a slot again, and returns nil when the attempt has one. If
	// ctx ends before, it returns the cause, and the attempt has none.
	Resume(ctx context.Context) error
}

// Await waits on a Starter until the process has ended, as [Starter].Wait
// does. In a handler, with the handler's context or one that comes from it, it
// gives the slot of the attempt back meanwhile and takes one again before it
// returns: however many parents wait for their children on a node, the
// children can run. [Ref.Wait] and a node's Driver wait this way;
// *registry.Registry does not.
//
// It may return later than the process ends, or than ctx does, as there must
// be a slot first; whoever returns comes before what is claimed anew. It
// returns without one once the attempt itself is cancelled: the error then
// wraps the cause.
//
// The slot is the attempt's, not the goroutine's: it is given back when the
// first of several Awaits begins and taken again when the last one has ended.
// What the handler does beside them in between, it does without a slot.
func Await(ctx context.Context, on Starter, id string) (p registry.Process, err error) {
	h, ok := ctx.Value(slotKey{}).(*holding)
	if !ok {
		return on.Wait(ctx, id)
	}
	h.enter()
	defer func() {
		if lost := h.leave(); lost != nil && err == nil {
			p, err = registry.Process{}, fmt.Errorf("wait for %s: take a slot again: %w", id, lost)
		}
	}()
	return on.Wait(ctx, id)
}

type slotKey struct{}

// WithSlot makes s the slot that [Await] gives back, and takes again unless
// ctx ends: that of the attempt, not one that a handler has made of it.
func WithSlot(ctx context.Context, s Slot) context.Context {
	return context.WithValue(ctx, slotKey{}, &holding{
		slot: s, held: true,
		attempt: func() (context.Context, context.CancelCauseFunc) { return context.WithCancelCause(ctx) },
	})
}

// ownSlot is for the context that a handler gets. It may end before the one
// that the slot came with, by a timeout; Await is not to outlast that.
func ownSlot(ctx context.Context) context.Context {
	if h, ok := ctx.Value(slotKey{}).(*holding); ok {
		return WithSlot(ctx, h.slot)
	}
	return ctx
}

// holding is the slot of an attempt as its Awaits share it.
type holding struct {
	slot    Slot
	attempt func() (context.Context, context.CancelCauseFunc) // a context under the attempt's

	// resuming is held by the one who takes the slot again.
	resuming sync.Mutex

	mu      sync.Mutex
	waiting int  // Awaits that are on
	held    bool // the attempt has its slot
	callOff context.CancelCauseFunc
}

// errCalledOff ends a Resume as another Await has begun: who gets a slot then
// would keep it while the attempt waits.
var errCalledOff = errors.New("another wait has begun")

func (h *holding) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting++
	if h.held {
		h.held = false
		h.slot.Yield()
	}
	if h.callOff != nil {
		h.callOff(errCalledOff)
	}
}

// leave returns when the attempt has its slot, or others wait on. One who is
// called off looks again, for the other Await may have ended already.
func (h *holding) leave() error {
	h.mu.Lock()
	h.waiting--
	h.mu.Unlock()
	h.resuming.Lock()
	defer h.resuming.Unlock()
	for {
		err := h.resume()
		if !errors.Is(err, errCalledOff) {
			return err
		}
	}
}

func (h *holding) resume() error {
	h.mu.Lock()
	if h.waiting > 0 || h.held {
		h.mu.Unlock()
		return nil
	}
	ctx, cancel := h.attempt()
	defer cancel(nil)
	h.callOff = cancel
	h.mu.Unlock()
	err := h.slot.Resume(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.callOff = nil
	switch {
	case err != nil:
	case h.waiting > 0:
		h.slot.Yield()
	default:
		h.held = true
	}
	return err
}
