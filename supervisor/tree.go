package supervisor

import (
	"fmt"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"

	"github.com/drover-run/drover/actors"
)

// The names of a node's children.
const (
	runnerName   = "runner"
	attemptsName = "attempts"
	watcherName  = "watcher"
	sessionName  = "session"
)

// tree is the node's actor: it spawns the others and supervises them. It does
// nothing else; the end of a node is the closer's, see life.close.
type tree struct {
	node     *Node
	life     *life
	refused  error // why it has none
	children map[string]*child
}

// retire tells the actor of a life that it is over.
type retire struct{ life *life }

// IgnoreDeadLetterLogging marks the message for Proto.Actor: the actor may
// have been stopped by somebody else.
func (retire) IgnoreDeadLetterLogging() {}

// begin is called by Spawn, or at the start of an actor that was restarted,
// and never panics into either.
func (t *tree) begin(c actor.Context) {
	defer func() {
		if value := recover(); value != nil {
			t.refused = fmt.Errorf("panic: %v", value)
		}
	}()
	t.life, t.refused = t.node.begin(place{system: c.ActorSystem(), id: c.Self().Id})
}

// Receive implements actor.Actor. A fault here ends the node: it must not
// reach the actor above, whose strategy is not ours.
func (t *tree) Receive(c actor.Context) {
	defer func() { t.survive(recover(), c.ActorSystem(), c.Self()) }()
	switch m := c.Message().(type) {
	case *actor.Started:
		t.start(c)
	case *actor.Stopping:
		t.end(ErrActorStopped)
	case *actor.Restarting:
		t.end(ErrActorStopped)
		t.gone()
		// The next incarnation leads another life. Until it begins, this one
		// gets messages, which must not end what is to come.
		t.life, t.children = nil, nil
	case *actor.Stopped:
		t.gone()
	case *actor.Terminated:
		t.terminated(c, m.Who)
	case restart:
		t.restart(c, m)
	case retire:
		if m.life == t.life {
			c.Stop(c.Self())
		}
	case *actors.Start, actors.Start, *actors.Await, actors.Await:
		t.desk().Receive(c)
	}
}

// desk is nil, and refuses, before a life begins.
func (t *tree) desk() *actors.Desk {
	if t.life == nil {
		return nil
	}
	return t.life.desk
}

// survive gets what recover returned. What is left of the tree stops with its
// actor.
func (t *tree) survive(value any, system *actor.ActorSystem, self *actor.PID) {
	if value == nil {
		return
	}
	failure := actors.Recovered(value)
	t.node.config.Logger.Error("the node's actor failed, the node ends",
		zap.Error(failure), zap.ByteString("stack", failure.Stack))
	t.giveUp(system, self, failure)
}

// giveUp ends the node and stops its actor.
func (t *tree) giveUp(system *actor.ActorSystem, self *actor.PID, reason error) {
	t.end(reason)
	system.Root.Stop(system.NewLocalPID(self.Id))
}

func (t *tree) end(reason error) {
	if t.life != nil {
		t.life.end(reason, true)
	}
}

func (t *tree) gone() {
	for _, ch := range t.children {
		ch.disarm()
	}
	if t.life != nil {
		t.life.markGone()
	}
}

func (t *tree) start(c actor.Context) {
	if t.life == nil && t.refused == nil {
		t.begin(c) // restarted: this actor was not made by Spawn
	}
	if t.refused != nil {
		t.node.config.Logger.Error("a node can't begin", zap.String("node", t.node.config.Node),
			zap.String("actor", c.Self().Id), zap.Error(t.refused))
		c.Stop(c.Self())
		return
	}
	t.children = map[string]*child{}
	for _, ch := range []*child{
		{name: runnerName, props: t.life.drives.Props},
		{name: attemptsName, props: t.life.slots.Props, resume: true},
		{name: watcherName, props: t.life.watch.Props},
		{name: sessionName, props: t.life.sessions.Props}, // what it opens leads to a drive
	} {
		ch.pause = newPause()
		t.children[ch.name] = ch
		t.spawn(c, ch)
	}
}

func (t *tree) spawn(c actor.Context, ch *child) {
	pid, err := c.SpawnNamed(ch.props(), ch.name)
	if err != nil {
		t.giveUp(c.ActorSystem(), c.Self(), fmt.Errorf("spawn %s: %w", ch.name, err))
		return
	}
	ch.pid = pid
}

// terminated spawns a child again that somebody else has stopped.
func (t *tree) terminated(c actor.Context, who *actor.PID) {
	ch := t.child(who)
	if ch == nil || t.life.ending() {
		return
	}
	t.life.log.Warn("an actor of the node was stopped, it is spawned again", zap.String("actor", ch.name))
	ch.disarm()
	t.spawn(c, ch)
}

func (t *tree) child(pid *actor.PID) *child {
	for _, ch := range t.children {
		if ch.pid != nil && ch.pid.Id == pid.Id {
			return ch
		}
	}
	return nil
}
