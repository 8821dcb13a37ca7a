package runner

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/trouble"
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
	// Wake makes a drive. It is called, from a goroutine of the Runner's, when
	// the time has come to take what others were to take first and did not,
	// unless a drive is owed anyway when a slot becomes free. If nil, drives
	// tell that time as they tell what falls due.
	Wake   func()
	Logger *zap.Logger // none if nil
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

	herd *Herd
	seen *seen
	idle idle
	// starved: when the last drive ended, too little was free for what could be
	// claimed. Whoever frees a slot makes one then.
	starved atomic.Bool
	// missed: while a drive was on that had no slot left, something fell due
	// that it had left to others.
	missed      atomic.Bool
	tried, lost atomic.Int64 // claims

	// orphanLimit is how many orphans one drive takes over or puts back.
	orphanLimit int

	stuck    pending
	held     *held
	adopting *trouble.Trouble

	// orphans: the next drive is to look for claims of sessions that ended.
	orphans atomic.Bool

	mu       sync.Mutex
	lookedAt time.Time // when a drive last looked at everything
	lookNext time.Time // when to look for orphans again; zero if there are none for then
	// left are orphans that are left to others, by mark: since when they are
	// known.
	left     map[string]time.Time
	leftMost int // how many of them may be tried once it is time; 0: a few
	unfit    map[waiting]time.Time
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
		unfit: map[waiting]time.Time{}, kept: map[string]kept{}, reported: map[string]bool{},
		orphanLimit: orphanLimit, horizon: cmp.Or(o.Horizon, 2*time.Second),
		window: o.Registry.Window(o.Queues, o.Mux.Kinds()),
	}
	r.window.Only(r.mux.able)
	r.held = newHeld(r.log)
	r.adopting = trouble.New(r.log, "an orphan can't be taken over, it is tried again", "orphans can be taken over again")
	for _, queue := range o.Queues {
		r.queues[queue] = true
	}
	r.herd, r.seen = newHerd(), newSeen(nil)
	if o.Wake != nil {
		r.seen.wake = func() { r.wake(o.Wake) }
	}
	return r, nil
}

// wake makes a drive for what others did not take, unless whoever frees a slot
// makes one.
func (r *Runner) wake(drive func()) {
	if r.starved.Load() && r.slots.Free() <= 0 {
		r.missed.Store(true) // before the look: a drive that ends looks the other way round
		if r.starved.Load() {
			return
		}
	}
	drive()
}

// Stop ends the waking of drives.
func (r *Runner) Stop() { r.seen.stop() }

// Herd is what this Runner knows of the living sessions. Whoever watches tells
// it who comes and goes.
func (r *Runner) Herd() *Herd { return r.herd }

// Claims counts the claims that this Runner has tried to make, adoptions
// included, and those of them that it lost to others, or to a change of what
// they were conditioned on.
func (r *Runner) Claims() (tried, lost int64) { return r.tried.Load(), r.lost.Load() }

// Notice is to be called for what a watch says may be claimed, if this node can
// run it. It says whether it is this node's to take, so that a drive is to be
// made. If it is not, one is made when others had time to take it, unless they
// did.
func (r *Runner) Notice(e registry.Entry) (mine bool) {
	r.window.Lower(e)
	if !r.mux.able(e.Kind) {
		return false // the first drive of those that are made once it can be run finds it
	}
	s := r.session()
	if s == nil {
		return true // it will have one, and look at everything then
	}
	wait := r.wait(s, e)
	if wait == 0 {
		return true
	}
	r.seen.see(placeOf(e), r.idle.since(e), wait)
	return false
}

// Gone is to be called for what a watch says can't be claimed any more.
func (r *Runner) Gone(e registry.Entry) { r.seen.forget(placeOf(e)) }

// wait is how long the entry is left to others once it was seen.
func (r *Runner) wait(s *registry.Session, e registry.Entry) time.Duration {
	return waitFor(r.herd.rank(s.ID(), e.Queue, e.Kind, e.ID), e.Common())
}

// Fires says whether it is this node that is to see to what falls due for the
// process. Every node does in the end.
func (r *Runner) Fires(id string) bool {
	s := r.session()
	return s == nil || r.herd.anyRank(s.ID(), id) == 0
}

// Window is the front of the queue as this Runner sees it. Whoever watches
// lowers it for what became pending, and resets it when a watch is new.
func (r *Runner) Window() *registry.Window { return r.window }

// LookForOrphans makes the next drive look for claims of sessions that ended.
func (r *Runner) LookForOrphans() { r.orphans.Store(true) }
