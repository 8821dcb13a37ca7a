package actors

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
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
}

// NewSessions makes the keeper of a node's sessions; its actor starts it.
func NewSessions(o SessionsOptions) *Sessions {
	if o.Renewed == nil {
		o.Renewed = func(*registry.Session) {}
	}
	return &Sessions{options: o, log: orNop(o.Logger).Named("session")}
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
		return session
	}
	if ctx.Err() == nil {
		s.failed.Store(&err)
		s.log.Warn("no session could be opened, trying again", zap.Error(err))
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
	s.current.CompareAndSwap(session, nil)
	s.log.Warn("session lost", zap.String("session", session.ID()), zap.Error(err))
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
