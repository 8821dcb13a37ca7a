package e2e

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/drover-run/drover/registry"
)

// history is what clients asked and were told, each with the times of call and return.
type history struct {
	begin time.Time

	mu         sync.Mutex // guards the rest
	operations []porcupine.Operation
	unknown    int // answers
	started    map[string]bool
}

// question is what a client asks about one process.
type question struct {
	What string // start, get, wait, cancel, retry, end (of an external one), abandon
	ID   string
	Spec string // of a start: what makes two of them equal
}

// reply is what it was told. Series, Ended and Outcome are as far as the question tells them.
type reply struct {
	Word    string // ok, or an error by its name below; unknown if it may have happened, now or later
	Series  int
	Outcome string // "": it has not ended
}

func newHistory() *history { return &history{begin: time.Now(), started: map[string]bool{}} }

// never is the return of a call that was not answered: it may take effect at any time.
const never = int64(1) << 62

// record asks, and writes down what came of it.
func (h *history) record(client int, q question, ask func() (reply, error)) {
	call := time.Since(h.begin)
	r, err := ask()
	back := int64(time.Since(h.begin))
	r.Word = word(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Word == "unknown" {
		h.unknown++
		if q.What == "get" || q.What == "wait" {
			return // it asked for nothing, and learnt nothing
		}
		back = never
	}
	if q.What == "start" && r.Word == "ok" {
		h.started[q.ID] = true
	}
	h.operations = append(h.operations, porcupine.Operation{ClientId: client, Input: q, Call: int64(call), Output: r, Return: back})
}

// word names an error. What is not a definite answer is unknown.
func word(err error) string {
	for _, known := range []struct {
		err  error
		word string
	}{
		{registry.ErrNotFound, "not found"}, {registry.ErrConflict, "conflict"}, {registry.ErrEnded, "ended"},
		{registry.ErrNotEnded, "not ended"}, {registry.ErrState, "state"},
	} {
		if errors.Is(err, known.err) {
			return known.word
		}
	}
	if err != nil {
		return "unknown"
	}
	return "ok"
}

// caller asks a registry and records it.
type caller struct {
	number   int
	registry *registry.Registry
	history  *history
}

func (c caller) start(ctx context.Context, s registry.Spec) {
	q := question{What: "start", ID: s.ID, Spec: s.Kind + string(s.Disposition) + string(s.Input)}
	c.history.record(c.number, q, func() (reply, error) {
		got, err := c.registry.Start(ctx, s)
		return reply{Series: got.Series}, err
	})
}

func (c caller) get(ctx context.Context, id string) (p registry.Process) {
	c.history.record(c.number, question{What: "get", ID: id}, func() (_ reply, err error) {
		p, err = c.registry.Get(ctx, id)
		return seen(p), err
	})
	return p
}

func (c caller) wait(ctx context.Context, id string) {
	c.history.record(c.number, question{What: "wait", ID: id}, func() (reply, error) {
		p, err := c.registry.Wait(ctx, id)
		return seen(p), err
	})
}

func (c caller) cancel(ctx context.Context, id string) {
	c.history.record(c.number, question{What: "cancel", ID: id}, func() (reply, error) {
		_, err := c.registry.Cancel(ctx, id, registry.Request{By: "e2e"})
		return reply{}, err
	})
}

func (c caller) abandon(ctx context.Context, id string) {
	c.history.record(c.number, question{What: "abandon", ID: id}, func() (reply, error) {
		_, err := c.registry.Abandon(ctx, id, registry.Request{By: "e2e", Reason: "an orphan"})
		return reply{}, err
	})
}

func (c caller) retry(ctx context.Context, id string) {
	c.history.record(c.number, question{What: "retry", ID: id}, func() (reply, error) {
		got, err := c.registry.Reopen(ctx, id)
		return reply{Series: got.Series}, err
	})
}

func (c caller) endExternal(ctx context.Context, id string) {
	c.history.record(c.number, question{What: "end", ID: id}, func() (reply, error) {
		err := c.registry.EndExternal(ctx, id, "e2e", registry.ExternalEnd{Outcome: registry.Completed})
		return reply{Outcome: "completed"}, err
	})
}

func seen(p registry.Process) reply {
	r := reply{Series: p.Series}
	if p.Ended() {
		r.Outcome = string(p.Status)
	}
	return r
}
