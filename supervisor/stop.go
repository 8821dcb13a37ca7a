package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/runner"
)

const (
	// maxGrace is how long handlers have to return once their contexts ended.
	// It is more than commands get between SIGTERM and SIGKILL.
	maxGrace = 10 * time.Second
	// drainTimeout is for telling other nodes that this one takes nothing more.
	drainTimeout = 500 * time.Millisecond
	// lastLook is for attempts that wait for an answer of etcd, and give up
	// when the session has ended.
	lastLook = 500 * time.Millisecond
	// actorTimeout is for the node's actor to end when all else has, and for
	// subscribers of its events.
	actorTimeout = 3 * time.Second
)

// end begins the end of the node, or hurries it: hard means that attempts get
// no more time. The reason of who comes first counts.
func (l *life) end(reason error, hard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hurry == nil {
		patience, hurry := context.WithCancel(context.Background())
		l.reason, l.hurry = reason, hurry
		go l.close(patience)
	}
	if hard {
		l.hurry()
	}
}

// close is the closer. It is no actor, so that it works also when the actors
// are gone: then patience has ended before it begins.
func (l *life) close(patience context.Context) {
	l.slots.Close()
	l.drain() // before anything is handed back
	unhurried := context.AfterFunc(patience, func() {
		l.slots.Cancel(runner.ErrShutdown)
		l.slots.Flush()
	})
	var failed []error
	failed = append(failed, l.drives.Stop(patience))
	running := l.slots.Wait(patience)
	if len(running) > 0 {
		running = l.waitFor(min(l.config.ShutdownTimeout*2/3, maxGrace))
	}
	failed = append(failed, l.leave())
	if len(running) > 0 {
		running = l.waitFor(lastLook)
	}
	if len(running) > 0 {
		l.log.Warn("handlers ignore that their contexts ended", zap.Strings("processes", running))
		failed = append(failed, &StuckError{Processes: running})
	}
	failed = append(failed, l.stopActor())
	l.leftover = errors.Join(failed...)
	l.announceEnd()
	close(l.done)
	if unhurried() {
		l.end(nil, true) // nothing is left to hurry: it frees the context
	}
}

// drain tells other nodes not to leave to this one what would be its own to
// take, such as what it hands back. If they are not told, they take it a moment
// later.
func (l *life) drain() {
	if l.runner != nil { // as in tests of the tree alone
		l.runner.Stop()
	}
	session := l.sessions.Current()
	if session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), min(drainTimeout, l.config.ShutdownTimeout/4))
	defer cancel()
	if err := l.config.Registry.Drain(ctx, session); err != nil {
		l.log.Info("other nodes were not told that this one stops", zap.Error(err))
	}
}

func (l *life) waitFor(d time.Duration) (running []string) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return l.slots.Wait(ctx)
}

// leave ends the watch, which heard of requests to cancel until now, what was
// asked by messages, and at last the session: outcomes were written under it
// until now.
func (l *life) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), l.config.ShutdownTimeout/3)
	defer cancel()
	err := errors.Join(l.watch.Stop(ctx), l.desk.Stop(ctx), l.upkeep.stop(ctx), l.sessions.Leave(ctx))
	l.witnessed.end()
	return err
}

// stopActor asks the actor to stop, by a message: at its address there may be
// another incarnation by now, with a life of its own.
func (l *life) stopActor() error {
	at, ok := l.place()
	if !ok {
		return nil
	}
	at.system.Root.Send(at.system.NewLocalPID(at.id), retire{l})
	select {
	case <-l.actorGone:
		return nil
	case <-time.After(actorTimeout):
		return fmt.Errorf("the actor %s does not end", at.id)
	}
}

func (l *life) announceEnd() {
	l.mu.Lock()
	events, reason := l.events, l.reason
	l.mu.Unlock()
	if events == nil {
		return
	}
	err := errors.Join(reason, l.leftover)
	if err != nil {
		l.log.Warn("the node has ended", zap.Error(err))
	}
	events.Publish(&actors.NodeEnded{Node: l.config.Node, Err: err})
	ctx, cancel := context.WithTimeout(context.Background(), actorTimeout)
	defer cancel()
	events.Flush(ctx)
}
