package actors

import (
	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
)

// Props makes the AttemptsActor, which gives each attempt to a slot actor: an
// idle one, or a new one. (A new actor for each attempt was measured at two to
// seven times the cost.)
//
// Its supervisor is to resume it when it fails: a restart would stop every
// slot.
func (s *Slots) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &attemptsActor{slots: s} }, guarded(s.log))
}

type attemptsActor struct {
	slots *Slots
	idle  []*actor.PID
}

// Receive implements actor.Actor.
func (a *attemptsActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.slots.actor.set(c)
		a.assign(c)
	case handed:
		a.assign(c)
	case vacated:
		a.idle = append(a.idle, actor.NewPID(c.Self().Address, m.slot))
	case *actor.Terminated:
		a.forget(m.Who)
		a.assign(c) // what it was given may have been put back
	}
}

func (a *attemptsActor) assign(c actor.Context) {
	for {
		next := a.slots.take()
		if next == nil {
			return
		}
		c.Send(a.slot(c), enter{next})
	}
}

func (a *attemptsActor) slot(c actor.Context) *actor.PID {
	if n := len(a.idle); n > 0 {
		slot := a.idle[n-1]
		a.idle = a.idle[:n-1]
		return slot
	}
	return c.Spawn(slotProps(a.slots, c.Self().Id))
}

func (a *attemptsActor) forget(slot *actor.PID) {
	for i, pid := range a.idle {
		if pid.Id == slot.Id {
			a.idle = append(a.idle[:i], a.idle[i+1:]...)
			return
		}
	}
}

// HandleFailure implements actor.SupervisorStrategy for the slots: one that
// fails is stopped, which does nothing to the attempt that runs in it.
func (a *attemptsActor) HandleFailure(_ *actor.ActorSystem, me actor.Supervisor, slot *actor.PID,
	_ *actor.RestartStatistics, reason, message any) {
	a.slots.log.Error("a slot failed", zap.Stringer("actor", slot), zap.Any("reason", reason))
	if m, ok := actor.UnwrapEnvelopeMessage(message).(enter); ok {
		a.slots.putBack(m.attempt)
	}
	me.StopChildren(slot)
}
