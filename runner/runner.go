package runner

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/registry"
)

// Options says what a Runner works on.
type Options struct {
	Registry *registry.Registry // required
	Mux      *Mux               // required
	Slots    Slots              // required
	Queues   []string           // required, 1 to 60
	// Session is asked for the node's session; it returns nil while there is
	// none. Required.
	Session func() *registry.Session
	// Horizon is how far ahead a drive looks for the next thing to fall due: it
	// is to be more than the time from one drive to the next. 2 s if zero.
	Horizon time.Duration
	Logger  *zap.Logger // none if nil
}

// maxQueues keeps the state of all queues and some lanes in one request.
const maxQueues = 60

func (o Options) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"Registry": o.Registry == nil, "Mux": o.Mux == nil, "Slots": o.Slots == nil, "Session": o.Session == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is required", name))
		}
	}
	if n := len(o.Queues); n == 0 || n > maxQueues {
		errs = append(errs, fmt.Errorf("%d queues, it must be 1 to %d", n, maxQueues))
	}
	for _, queue := range o.Queues {
		if err := registry.CheckName("queue", queue); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Runner makes the drives and runs the handlers of one node.
type Runner struct {
	registry *registry.Registry
	mux      *Mux
	slots    Slots
	queues   map[string]bool
	session  func() *registry.Session
	log      *zap.Logger
	window   *registry.Window
	horizon  time.Duration

	// orphanLimit is how many orphans one drive takes over or puts back.
	orphanLimit int

	// orphans: the next drive is to look for claims of sessions that ended.
	orphans atomic.Bool

	mu       sync.Mutex
	lookedAt time.Time // when a drive last looked at everything
	unfit    map[unfitEntry]time.Time
	kept     map[string]kept // orphans that are passed over, by mark
	reported map[string]bool // keys that can't be read
	// unreadable counts them, also those that reported has forgotten.
	unreadable int
}

// New makes the Runner of a node. It claims the kinds that the Mux knows now.
func New(o Options) (*Runner, error) {
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("make a runner: %w", err)
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	r := &Runner{
		registry: o.Registry, mux: o.Mux, slots: o.Slots, session: o.Session,
		log: o.Logger.Named("runner"), queues: map[string]bool{},
		unfit: map[unfitEntry]time.Time{}, kept: map[string]kept{}, reported: map[string]bool{},
		orphanLimit: orphanLimit, horizon: cmp.Or(o.Horizon, 2*time.Second),
		window: o.Registry.Window(o.Queues, o.Mux.Kinds()),
	}
	for _, queue := range o.Queues {
		r.queues[queue] = true
	}
	return r, nil
}

// Window is the front of the queue as this Runner sees it. Whoever watches
// lowers it for what became pending, and resets it when a watch is new.
func (r *Runner) Window() *registry.Window { return r.window }

// LookForOrphans makes the next drive look for claims of sessions that ended.
func (r *Runner) LookForOrphans() { r.orphans.Store(true) }
