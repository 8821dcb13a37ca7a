package actors

import (
	"context"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// slotActor is one slot. The attempt runs on a goroutine, so that the actor
// can be reached meanwhile: by a handler that is an actor, and is spawned
// under it.
type slotActor struct {
	slots  *Slots
	parent string // the id of the AttemptsActor
	stall  *stall
	acts   map[string]*act // by the id of the actor
}

// stall is a slot actor as the goroutine of its attempt knows it. No Context
// may be used there: it belongs to the actor.
type stall struct {
	residence
	log  *zap.Logger
	gone chan struct{} // closed when the actor spawns nothing any more
}

type stallKey struct{}

// within tells a handler which slot it is in, if any.
func (s *stall) within(ctx context.Context) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, stallKey{}, s)
}

func slotProps(s *Slots, parent string) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor {
		return &slotActor{slots: s, parent: parent, acts: map[string]*act{}}
	}, guarded(s.log))
}

// Receive implements actor.Actor.
func (a *slotActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.stall = &stall{
			residence: residence{system: c.ActorSystem(), id: c.Self().Id},
			log:       a.slots.log, gone: make(chan struct{}),
		}
	case enter:
		if a.stall == nil {
			return // it is put back when this slot has ended
		}
		to, me := &residence{system: c.ActorSystem(), id: a.parent}, c.Self().Id
		a.slots.enter(m.attempt, a.stall, func() { to.send(vacated{me}) })
	case perform:
		a.spawn(c, m.act)
	case *actor.Terminated:
		if act := a.acts[m.Who.Id]; act != nil {
			act.end()
			delete(a.acts, m.Who.Id)
		}
	case *actor.Stopping, *actor.Restarting:
		// Its children are told to stop next: no other may come after that.
		close(a.stall.gone)
		a.stall = nil
	}
}

// spawn begins an act under this slot, under a name that is known also if the
// spawn panics.
func (a *slotActor) spawn(c actor.Context, p *act) {
	defer close(p.begun)
	if a.stall == nil {
		p.fail(ErrNoAnswer)
		return
	}
	name := c.ActorSystem().ProcessRegistry.NextId()
	err := recovered(func() {
		pid, err := c.SpawnNamed(p.props(a.slots.log), name)
		if err != nil {
			p.fail(err)
			return
		}
		p.pid = pid
	})
	if err != nil {
		p.fail(err)
	}
	if p.pid == nil {
		// What was registered before somebody's code panicked is nobody's.
		c.ActorSystem().ProcessRegistry.Remove(c.ActorSystem().NewLocalPID(c.Self().Id + "/" + name))
		return
	}
	a.acts[p.pid.Id] = p
	c.RequestWithCustomSender(p.pid, p.attempt, p.mailbox)
}

// HandleFailure implements actor.SupervisorStrategy for the actor of the
// attempt: it is stopped, and the attempt has failed. A restart would run it
// again under the same claim.
func (a *slotActor) HandleFailure(_ *actor.ActorSystem, me actor.Supervisor, who *actor.PID,
	_ *actor.RestartStatistics, reason, _ any) {
	if act := a.acts[who.Id]; act != nil {
		act.fail(reason)
	}
	me.StopChildren(who)
}
