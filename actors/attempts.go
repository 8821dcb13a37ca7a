package actors

import (
	"slices"

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
	return actor.PropsFromProducer(func() actor.Actor {
		return &attemptsActor{slots: s, live: map[string]*attempt{}}
	}, guarded(s.log))
}

type attemptsActor struct {
	slots *Slots
	// live are the slots that this actor has, by id, with the attempt that
	// each was given last. A word of another slot is that of one which has
	// ended, or of an earlier actor's: what it was given would never begin.
	live map[string]*attempt
	idle []*actor.PID
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
		if _, ok := a.live[m.slot]; ok {
			a.idle = append(a.idle, actor.NewPID(c.Self().Address, m.slot))
		}
	case *actor.Terminated:
		a.forget(m.Who.Id)
		a.assign(c) // what it was given may have been put back
	case *actor.Stopped:
		for slot := range a.live {
			a.forget(slot) // for the next actor
		}
	}
}

func (a *attemptsActor) assign(c actor.Context) {
	for {
		next := a.slots.take()
		if next == nil {
			return
		}
		slot := a.slot(c)
		a.live[slot.Id] = next
		c.Send(slot, enter{next})
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

// forget is for a slot that has ended. An attempt that it was given and did
// not begin waits for another one.
func (a *attemptsActor) forget(slot string) {
	if given := a.live[slot]; given != nil {
		a.slots.putBack(given)
	}
	delete(a.live, slot)
	a.idle = slices.DeleteFunc(a.idle, func(pid *actor.PID) bool { return pid.Id == slot })
}

// HandleFailure implements actor.SupervisorStrategy for the slots: one that
// fails is stopped, which does nothing to the attempt that runs in it.
func (a *attemptsActor) HandleFailure(_ *actor.ActorSystem, me actor.Supervisor, slot *actor.PID,
	_ *actor.RestartStatistics, reason, _ any) {
	a.slots.log.Error("a slot failed", zap.Stringer("actor", slot), zap.Any("reason", reason))
	me.StopChildren(slot)
}
