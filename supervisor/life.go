package supervisor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// place is where the actor of a node is.
type place struct {
	system *actor.ActorSystem
	id     string
}

// life is a node from its spawn to its end: everything that the actors of its
// tree share and that outlives each of them.
type life struct {
	config    Config
	log       *zap.Logger
	runner    *runner.Runner
	drives    *actors.Drives
	slots     *actors.Slots
	sessions  *actors.Sessions
	watch     *actors.Watch
	desk      *actors.Desk
	upkeep    *upkeep
	witnessed *witnessed

	ready     chan struct{}
	done      chan struct{}
	actorGone chan struct{} // closed when the node's actor has ended
	markReady func()
	markGone  func()

	mu     sync.Mutex
	at     place // zero before begin
	events *actors.Events
	hurry  func() // ends the patience of close; nil unless it has begun
	reason error  // why it ended, nil for Stop

	// Set before done is closed.
	leftover error // what could not be ended or handed back

	failing failingActors
	raised  sync.Once // etcd's raising of the TTL is told
}

// lookAhead is how much farther a drive looks for what falls due than to the
// next poll: for as long as the drive may take itself.
const lookAhead = 2 * time.Second

// newLife starts nothing.
func newLife(c Config, poker actors.Poker) (*life, error) {
	l := &life{
		config: c, log: c.Logger.With(zap.String("node", c.Node)),
		ready: make(chan struct{}), done: make(chan struct{}), actorGone: make(chan struct{}),
	}
	l.markReady = sync.OnceFunc(func() { close(l.ready) })
	l.markGone = sync.OnceFunc(func() { close(l.actorGone) })
	var r *runner.Runner // which needs the slots first
	l.slots = actors.NewSlots(actors.SlotsOptions{
		Max: c.MaxRunning, Limits: c.QueueLimits, Logger: l.log,
		Run: func(ctx context.Context, claim *registry.Claim) runner.Report {
			report := r.Run(ctx, claim)
			l.publishEnded(claim, report)
			return report
		},
		Freed: func() { l.drives.SlotFreed() },
	})
	l.witnessed = newWitnessed(c, l.log)
	l.sessions = actors.NewSessions(actors.SessionsOptions{
		Open: l.openSession, Leave: l.witnessed.leave, Up: l.up, Lost: l.lost, Renewed: l.witnessed.renewed, Logger: l.log,
	})
	r, err := runner.New(runner.Options{
		Registry: c.Registry, Mux: c.Mux, Slots: l.slots, Queues: c.Queues, Session: l.sessions.Current,
		Horizon: c.Poll + lookAhead, Wake: poker.Poke, Logger: l.log,
	})
	if err != nil {
		return nil, err
	}
	l.runner = r
	handle := c.RunHandle
	if handle == nil {
		handle = runner.Inline(r)
	}
	l.drives = actors.NewDrives(actors.DrivesOptions{Handle: handle, Poker: poker, Poll: c.Poll, Logger: l.log})
	l.watch = l.newWatch(r, poker)
	l.desk = actors.NewDesk(actors.DeskOptions{
		Start: NewDriver(c.Registry, poker).Start, Wait: c.Registry.Wait, Logger: l.log,
	})
	l.upkeep = newUpkeep(c.Registry.CheckSpace, func(ctx context.Context, s registry.Space) (int, bool, error) {
		return c.Registry.Retain(ctx, c.Retention, s)
	}, l.log)
	l.upkeep.keep = c.Retention
	return l, nil
}

func (l *life) newWatch(r *runner.Runner, poker actors.Poker) *actors.Watch {
	kinds := l.config.Mux.Kinds()
	return actors.NewWatch(actors.WatchOptions{
		Follow: func(ctx context.Context, e registry.Events) error {
			return l.config.Registry.Follow(ctx, l.config.Node, e)
		},
		Requests: l.config.Registry.Requests,
		Serves: func(e registry.Entry) bool {
			return slices.Contains(l.config.Queues, e.Queue) && slices.Contains(kinds, e.Kind)
		},
		Notice: r.Notice, Gone: r.Gone, Reset: r.Window().Reset, Orphans: r.LookForOrphans,
		Joined: r.Herd().Join, Ended: r.Herd().End,
		// A drive looks for what others were to see to as well.
		Due: func(id string, at time.Time) {
			if r.Fires(id) {
				l.drives.Due(at)
			}
		},
		Poker: poker, Slots: l.slots, Logger: l.log,
	})
}

// begin is for the first actor that comes; others are refused.
func (l *life) begin(at place) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.system != nil || l.hurry != nil {
		return false
	}
	l.at, l.events = at, actors.NewEvents(at.system, l.log)
	l.upkeep.start()
	l.witnessed.begin()
	return true
}

func (l *life) place() (place, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at, l.at.system != nil
}

func (l *life) ending() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hurry != nil
}

// result is nil until the life is over.
func (l *life) result() error {
	select {
	case <-l.done:
		return errors.Join(l.reason, l.leftover)
	default:
		return nil
	}
}

func (l *life) publish(event any) {
	l.mu.Lock()
	events := l.events
	l.mu.Unlock()
	if events != nil {
		events.Publish(event)
	}
}

func (l *life) publishEnded(c *registry.Claim, r runner.Report) {
	if !l.config.PublishEnded || r.Outcome == "" {
		return
	}
	l.publish(&actors.ProcessEnded{
		Node: l.config.Node, Session: c.Session.ID(), ID: c.ID, Kind: c.Kind, Queue: c.Queue,
		Attempt: c.Attempt, Fence: c.Fence, Outcome: r.Outcome,
	})
}

func (l *life) openSession(ctx context.Context) (*registry.Session, error) {
	info := registry.NodeInfo{
		Name: l.config.Node, Queues: l.config.Queues, Kinds: l.config.Mux.Kinds(), Max: l.config.MaxRunning, Version: l.config.Version,
		Process: lease.Self(),
	}
	// Without Proto.Actor's remote nobody could use the address.
	if at, ok := l.place(); ok && at.system.Address() != localAddress {
		info.Address = at.system.Address() + "/" + at.id
	}
	s, err := l.witnessed.open(ctx, info, l.config.TTL)
	if err == nil && s.TTL() > l.config.TTL {
		l.raised.Do(func() {
			l.log.Warn("etcd grants no TTL as short as was asked for, so others take over that much later",
				zap.Duration("asked", l.config.TTL), zap.Duration("granted", s.TTL()))
		})
	}
	return s, err
}

// localAddress is that of an actor system that can't be reached from outside.
const localAddress = "nonhost"

func (l *life) up(s *registry.Session) {
	l.drives.Startup()
	l.markReady()
	l.publish(&actors.NodeReady{Node: l.config.Node, Session: s.ID()})
}

func (l *life) lost(s *registry.Session, err error) {
	l.slots.SessionLost(s)
	l.publish(&actors.SessionLost{Node: l.config.Node, Session: s.ID(), Err: err})
}
