package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/drover-run/drover/registry"
)

// Handler runs processes of one kind. What it returns becomes the output,
// marshalled as JSON; a json.RawMessage is taken as it is, nil is no output.
// What its error means is said at [Fail] and its neighbours.
//
// It must return soon after ctx is cancelled: until it does, its slot stays
// taken.
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

type handling struct {
	disposition registry.Disposition
	handler     Handler
}

// NewMux returns an empty Mux.
func NewMux() *Mux { return &Mux{kinds: map[string]handling{}} }

// Handle adds the handler of a kind. It panics if the kind is not a legal
// name, has a handler already, or if h is nil: a program that does that is
// wrong, and finds out when it starts.
func (m *Mux) Handle(kind string, d registry.Disposition, h Handler) {
	if err := registry.CheckName("kind", kind); err != nil {
		panic(err)
	}
	if h == nil {
		panic(fmt.Sprintf("runner: the handler of kind %s is nil", kind))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.kinds[kind]; taken {
		panic(fmt.Sprintf("runner: kind %s has two handlers", kind))
	}
	m.kinds[kind] = handling{disposition: d, handler: h}
}

// Kinds returns the kinds that have a handler, in order.
func (m *Mux) Kinds() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.kinds))
}

func (m *Mux) handler(kind string) (Handler, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h, ok := m.kinds[kind]
	return h.handler, ok
}
