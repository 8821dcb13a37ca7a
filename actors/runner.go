package actors

import (
	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/runner"
)

// Props makes the RunnerActor, which decides when a drive is made:
//
//	Poke, or the end of a drive   if one is owed and none is on: "poke"
//	Tick                          if none is on: "poll"
//
// and "startup" in place of either when there has been none since the node got
// its session.
func (d *Drives) Props() *actor.Props {
	return actor.PropsFromProducer(func() actor.Actor { return &runnerActor{d} }, guarded(d.log))
}

type runnerActor struct{ drives *Drives }

// Receive implements actor.Actor.
func (a *runnerActor) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		a.drives.arrive(c)
		a.driveIfOwed()
	case *actor.Stopped:
		a.drives.leave()
	case *Poke:
		a.drives.ask(c)
		a.drives.bell.owed.Store(true)
		a.driveIfOwed()
	case wake, drove:
		a.driveIfOwed()
	case tick:
		if a.drives.ticker.current(m.turn) {
			a.drives.drive(runner.Poll)
		}
	case Tick, *Tick:
		a.drives.drive(runner.Poll)
	}
}

func (a *runnerActor) driveIfOwed() {
	if a.drives.bell.owed.Load() || a.drives.startup.Load() {
		a.drives.drive(runner.Poke)
	}
}

// arrive makes this incarnation the one that is rung.
func (d *Drives) arrive(c actor.Context) {
	d.own = &residence{system: c.ActorSystem(), id: c.Self().Id}
	d.bell.runner.Store(d.own)
}

// leave keeps pokes from being sent to nobody. The next life of the node may
// have arrived before.
func (d *Drives) leave() { d.bell.runner.CompareAndSwap(d.own, nil) }
