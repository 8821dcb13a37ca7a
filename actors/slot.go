package actors

import "github.com/asynkron/protoactor-go/actor"

// slotActor is one slot. The attempt runs on a goroutine, so that the actor
// can be reached meanwhile.
type slotActor struct {
	slots  *Slots
	parent string // the id of the AttemptsActor
}

func slotProps(s *Slots, parent string) *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &slotActor{slots: s, parent: parent} }, guarded(s.log))
}

// Receive implements actor.Actor.
func (a *slotActor) Receive(c actor.Context) {
	m, ok := c.Message().(enter)
	if !ok {
		return
	}
	// No Context may be used in a goroutine: it belongs to the actor.
	to, me := &residence{system: c.ActorSystem(), id: a.parent}, c.Self().Id
	a.slots.enter(m.attempt, func() { to.send(vacated{me}) })
}
