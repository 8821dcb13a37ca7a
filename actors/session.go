package actors

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/trouble"
	"github.com/drover-run/drover/registry"
)

// healthy is how long something must have worked for its next failure to be
// taken as the first.
const healthy = time.Minute

// SessionsOptions are for NewSessions. All but Renewed and Logger are
// required. The functions are called on the goroutine that keeps the session
// and must not block.
type SessionsOptions struct {
	// Open opens the next session of the node.
	Open func(ctx context.Context) (*registry.Session, error)
	// Leave ends it after everything was handed back.
	Leave func(ctx context.Context, s *registry.Session) error
	// Up is called with each new session, once Current returns it.
	Up func(s *registry.Session)
	// Lost is called as soon as a session is known to be lost.
	Lost func(s *registry.Session, err error)
	// Renewed is called before Up and after each renewal.
	Renewed func(s *registry.Session)
	Logger  *zap.Logger
}

// Sessions keeps a session for a node: it opens one, and the next one when it
// is lost. It is the state of a SessionActor that outlives its restarts.
type Sessions struct {
	options SessionsOptions
	log     *zap.Logger
	loop    loop
	current atomic.Pointer[registry.Session]
	failed  atomic.Pointer[error] // why the last attempt to open one failed
	since   atomic.Int64          // since when there is one, or none; of the wall clock
	lost    atomic.Pointer[error] // how the last one was lost
	opening *trouble.Trouble
}

// NewSessions makes the keeper of a node's sessions; its actor starts it.
func NewSessions(o SessionsOptions) *Sessions {
	if o.Renewed == nil {
		o.Renewed = func(*registry.Session) {}
	}
	s := &Sessions{options: o, log: orNop(o.Logger).Named("session")}
	s.opening = trouble.New(s.log, "no session could be opened, it is tried until one can be", "a session could be opened")
	s.turn()
	return s
}

// turn notes that there is a session now, or none any more.
func (s *Sessions) turn() { s.since.Store(time.Now().UnixNano()) }

// Holding is how a node stands with its session.
type Holding struct {
	Session *registry.Session // nil while there is none
	Since   time.Time         // since when there is one, or none
	// Why there is none: how the last one was lost, and why no other could be
	// opened. nil if nobody knows: the first one is being opened.
	Why error
}

// Holding is how the node stands with its session now.
func (s *Sessions) Holding() Holding {
	h := Holding{Session: s.current.Load(), Since: time.Unix(0, s.since.Load())}
	if h.Session != nil {
		return h
	}
	h.Why = s.Err()
	if lost := s.lost.Load(); h.Why == nil && lost != nil {
		h.Why = *lost
	}
	return h
}

// Current is the session that the node holds; nil while it has none.
func (s *Sessions) Current() *registry.Session { return s.current.Load() }

// Err is why the last attempt to open a session failed, nil if it succeeded.
func (s *Sessions) Err() error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Props makes the SessionActor, which starts the goroutine that keeps the
// session and fails when that panics.
func (s *Sessions) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &loopActor{loop: &s.loop, body: s.keep}
	}, guarded(s.log))
}

// Leave ends the keeping, and the session with it, which others see at once.
func (s *Sessions) Leave(ctx context.Context) error {
	err := s.loop.close(ctx, ErrStopped)
	if session := s.current.Swap(nil); session != nil {
		err = errors.Join(err, s.options.Leave(ctx, session))
	}
	return err
}

// keep holds a session until ctx ends. One that is there already was left by
// a goroutine that panicked.
func (s *Sessions) keep(ctx context.Context) {
	pause := newPause()
	for ctx.Err() == nil {
		session := s.current.Load()
		if session == nil {
			session = s.open(ctx, pause.NextBackOff)
			if session == nil {
				continue
			}
			s.options.Renewed(session) // before anything can run under it
			s.current.Store(session)
			s.turn()
			s.log.Info("session opened", zap.String("session", session.ID()), zap.Duration("ttl", session.TTL()))
		}
		opened := time.Now()
		s.options.Up(session)
		if s.hold(ctx, session) {
			return
		}
		s.lose(session)
		if time.Since(opened) > healthy {
			pause.Reset()
		}
	}
}

// open tries once, and rests if that fails.
func (s *Sessions) open(ctx context.Context, pause func() time.Duration) *registry.Session {
	session, err := s.options.Open(ctx)
	if err == nil {
		s.failed.Store(nil)
		s.opening.Note(nil)
		return session
	}
	if ctx.Err() == nil {
		s.failed.Store(&err)
		s.opening.Note(err)
		rest(ctx, pause())
	}
	return nil
}

// hold returns true when ctx has ended, and false when the session has.
func (s *Sessions) hold(ctx context.Context, session *registry.Session) bool {
	for {
		select {
		case <-ctx.Done():
			return true
		case <-session.Done():
			return false
		case <-session.Renewed():
			s.options.Renewed(session)
		}
	}
}

// lose does not revoke what is left of the session in etcd: the time until its
// TTL is over is what handlers have to notice that their contexts ended.
func (s *Sessions) lose(session *registry.Session) {
	err := session.Err()
	s.options.Lost(session, err)
	s.lost.Store(&err)
	s.current.CompareAndSwap(session, nil)
	s.turn()
	s.log.Warn("session lost, another one is opened", zap.String("session", session.ID()),
		zap.String("why", trouble.Words(err)), zap.Error(err))
	if !errors.Is(err, lease.ErrClosed) {
		session.Abandon()
	}
}

// loopActor starts a loop and fails when it does.
type loopActor struct {
	loop *loop
	body func(context.Context)
}

// Receive implements actor.Actor.
func (a *loopActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.loop.actor.set(c)
		a.loop.ensure(a.body)
	case loopDied:
		panic(m.err)
	}
}
