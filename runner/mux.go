package runner

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/drover-run/drover/registry"
)

// Handler runs processes of one kind. What it returns becomes the output,
// marshalled as JSON; a json.RawMessage is taken as it is, nil is no output.
// What its error means is said at [Fail] and its neighbours.
//
// It must return soon after ctx is cancelled: until it does, its slot stays
// taken. Why it was is [context.Cause]: see [ErrCancelRequested] and its
// neighbours.
type Handler interface {
	Handle(ctx context.Context, a *Attempt) (any, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, a *Attempt) (any, error)

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, a *Attempt) (any, error) { return f(ctx, a) }

// Mux knows the handler of each kind. Handlers are to be added before a node
// is made with it: a node claims the kinds that the Mux knew then.
type Mux struct {
	mu    sync.Mutex
	kinds map[string]handling
}

// handling is what a Mux knows of a kind.
type handling struct {
	disposition registry.Disposition
	handler     Handler
	policy      Policy // nil is the default
	maxAttempts int    // 0 is the default
	timeout     time.Duration
	// maxAdoptions is for what Kind.Start starts: it stands in the row, as
	// nodes decide on it that don't know the kind.
	maxAdoptions int
	// ready says whether the node can run processes of the kind now; nil is
	// always.
	ready func() bool
}

// HandleOption says how the processes of a kind are run. What the start of a
// process says of the same goes before it.
type HandleOption func(*handling)

// WithPolicy says how long a process waits after an error before it is run
// again: [Exponential] if nobody says.
func WithPolicy(p Policy) HandleOption { return func(h *handling) { h.policy = p } }

// WithMaxAttempts says how many errors make a process failed: 10 if nobody
// says, or if n is 0. Attempts that did not end in an error are not counted.
func WithMaxAttempts(n int) HandleOption { return func(h *handling) { h.maxAttempts = n } }

// WithMaxAdoptions says how many nodes may die under a process before it is
// failed: see registry.Spec. It goes with each process that [Kind.Start]
// starts, as a part of its spec; of others their own spec tells.
func WithMaxAdoptions(n int) HandleOption { return func(h *handling) { h.maxAdoptions = n } }

// WithAttemptTimeout limits each attempt, whose context is cancelled then with
// [ErrAttemptTimeout]; nothing does if nobody says, or if d is 0. A handler
// that returns a value in spite of that has completed.
func WithAttemptTimeout(d time.Duration) HandleOption { return func(h *handling) { h.timeout = d } }

// WhileReady has a node pass over the kind while ready is false, as if it did not
// know it: it claims none of it, other nodes do, and what it runs goes on. It is
// for what a handler can't do without and that may be away for a while. ready is
// called often, by any goroutine, and must not wait. When it is true again, the
// next drive claims.
func WhileReady(ready func() bool) HandleOption { return func(h *handling) { h.ready = ready } }

// NewMux returns an empty Mux.
func NewMux() *Mux { return &Mux{kinds: map[string]handling{}} }

// Handle adds the handler of a kind. It panics if the kind is not a legal
// name, has a handler already, or if h is nil: a program that does that is
// wrong, and finds out when it starts. It also panics for the disposition
// external, whose processes no node runs, and for negative limits.
func (m *Mux) Handle(kind string, d registry.Disposition, h Handler, opts ...HandleOption) {
	if err := registry.CheckName("kind", kind); err != nil {
		panic(err)
	}
	if h == nil {
		panic(fmt.Sprintf("runner: the handler of kind %s is nil", kind))
	}
	if d != registry.Rerunnable && d != registry.OwnerBound {
		panic(fmt.Sprintf("runner: kind %s has the disposition %q, which no handler can have", kind, d))
	}
	handling := handling{disposition: d, handler: h}
	for _, o := range opts {
		o(&handling)
	}
	if handling.maxAttempts < 0 || handling.timeout < 0 {
		panic(fmt.Sprintf("runner: kind %s has a negative limit: %d attempts, %s for each", kind, handling.maxAttempts, handling.timeout))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.kinds[kind]; taken {
		panic(fmt.Sprintf("runner: kind %s has two handlers", kind))
	}
	m.kinds[kind] = handling
}

// Kinds returns the kinds that have a handler, in order.
func (m *Mux) Kinds() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.kinds))
}

func (m *Mux) handling(kind string) (handling, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.kinds[kind]
	return h, ok
}

// able says whether processes of the kind can be run now.
func (m *Mux) able(kind string) bool {
	h, known := m.handling(kind)
	return known && (h.ready == nil || h.ready())
}

// limits are those of an attempt: what the start of the process says, else
// what is said of the kind, else the defaults.
func (h handling) limits(c *registry.Claim) (counters, time.Duration) {
	facts := counters{
		errors: c.Errors(), policy: h.policy,
		maxAttempts: cmp.Or(c.MaxAttempts(), h.maxAttempts, defaultMaxAttempts),
		ownerBound:  c.Disposition() == registry.OwnerBound,
	}
	switch backoff, constant := c.Backoff(); {
	case constant:
		facts.policy = Constant(cmp.Or(backoff, defaultBackoff))
	case backoff > 0:
		facts.policy = Exponential{Base: backoff}
	case facts.policy == nil:
		facts.policy = Exponential{}
	}
	return facts, cmp.Or(c.AttemptTimeout(), h.timeout)
}
