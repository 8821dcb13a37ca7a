package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
)

var (
	// ErrActorStopped is why a node ended whose actor was stopped or
	// restarted by somebody else, such as the actor above it.
	ErrActorStopped = errors.New("the node's actor was stopped")

	// ErrStopped is why a node does not begin after Stop.
	ErrStopped = errors.New("the node was stopped")

	// ErrRunning is why a node does not begin a second time while it runs.
	ErrRunning = errors.New("the node runs already")
)

// Node is one participant: a tree of actors that claims and runs processes. It
// is made by [New] and comes to life when its Props are spawned.
//
// It may be spawned again once it has ended, or begun to end, other than by
// Stop: that is what becomes of it when the actor above it is restarted. It
// has another session then, and Ready, Done and Err are those of its latest
// life, while Poker and Driver stay good.
type Node struct {
	config Config
	poker  actors.Poker

	mu      sync.Mutex
	stopped bool
	life    *life
}

// New makes a node and starts nothing: its Poker and its Driver work already,
// and what they were used for counts when it starts. The error names all
// faults of the Config.
func New(c Config) (*Node, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("make a node: %w", err)
	}
	n := &Node{config: c, poker: actors.NewPoker()}
	var err error
	if n.life, err = newLife(c, n.poker); err != nil {
		return nil, fmt.Errorf("make a node: %w", err)
	}
	return n, nil
}

// Start makes a node, spawns it as a root of the actor system, and returns
// when it is ready: when it holds a session. If ctx ends before, or the actor's
// name is taken, the node is closed again. What runs later is not bounded by
// ctx; call Stop.
//
// etcd's being away is not an error: Start waits for it until ctx ends.
func Start(ctx context.Context, system *actor.ActorSystem, c Config) (*Node, error) {
	n, err := New(c)
	if err != nil {
		return nil, err
	}
	name := n.config.Name
	if _, err := system.Root.SpawnNamed(n.Props().Configure(actor.WithGuardian(onlyStops)), name); err != nil {
		return nil, fmt.Errorf("start node %s as actor %s: %w", n.config.Node, name, err)
	}
	select {
	case <-n.Ready():
		return n, nil
	case <-n.Done():
		err = n.Err()
	case <-ctx.Done():
		err = context.Cause(ctx)
		if why := n.current().sessions.Err(); why != nil {
			err = fmt.Errorf("%w: %w", err, why)
		}
		_ = n.Stop(ctx) // there is nothing that it could have failed to hand back
	}
	return nil, fmt.Errorf("start node %s: %w", n.config.Node, err)
}

// Props are for spawning the node under an actor of yours, which is then told
// of its end by Terminated, as of any child's. No fault of the node's reaches
// that actor's supervision.
func (n *Node) Props() *actor.Props {
	return actor.PropsFromProducer(
		func() actor.Actor { return &tree{node: n} },
		// The address is known before Spawn returns.
		actor.WithOnInit(func(c actor.Context) { c.Actor().(*tree).begin(c) }),
	)
}

// begin gives a new actor the life that it is to lead.
func (n *Node) begin(at place) (*life, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped {
		return nil, ErrStopped
	}
	if n.life.begin(at) {
		return n.life, nil
	}
	if !n.life.ending() {
		return nil, ErrRunning
	}
	next, err := newLife(n.config, n.poker)
	if err != nil {
		return nil, err
	}
	n.life = next
	next.begin(at)
	return next, nil
}

func (n *Node) current() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// PID is the present address of the node's actor; nil before it is spawned. It
// is a new one at each call, as it changes when the host starts Proto.Actor's
// remote.
func (n *Node) PID() *actor.PID { return n.pid("") }

// RunnerPID is the address of the actor that takes [actors.Poke]; nil before
// the node is spawned.
func (n *Node) RunnerPID() *actor.PID { return n.pid("/" + runnerName) }

func (n *Node) pid(below string) *actor.PID {
	at, ok := n.current().place()
	if !ok {
		return nil
	}
	return at.system.NewLocalPID(at.id + below)
}

// Poker wakes the node, in all its lives.
func (n *Node) Poker() actors.Poker { return n.poker }

// Driver starts processes and pokes this node for them.
func (n *Node) Driver() Driver { return NewDriver(n.config.Registry, n.poker) }

// Ready is closed once the node holds a session. (It may lose it later, and
// opens another one.)
func (n *Node) Ready() <-chan struct{} { return n.current().ready }

// Done is closed when the node is wholly closed: its claims are handed back and
// its session is over, as far as that could be done.
func (n *Node) Done() <-chan struct{} { return n.current().done }

// Err says why the node ended, once Done is closed: nil if it was stopped and
// left nothing behind, [ErrActorStopped], a [*StuckError] or others. It is nil
// before.
func (n *Node) Err() error { return n.current().result() }

// Unreadable counts the keys that the node has come upon and could not read:
// what drover did not write, and what a newer one did. Each was logged once and
// left as it is; registry.Registry.Check lists them.
func (n *Node) Unreadable() int { return n.current().runner.Unreadable() }

// Claims counts the claims that the node has tried to make, adoptions included,
// and those of them that it lost to others, or to a change of what they were
// conditioned on: a cancel, a queue that was paused.
func (n *Node) Claims() (tried, lost int64) { return n.current().runner.Claims() }

// Stop ends the node. No process is claimed any more; those that run have
// until ctx ends; then their contexts are cancelled with
// [runner.ErrShutdown], and once their handlers have returned, their claims are
// handed back for others to run. At last the session is ended. Stop returns
// when all that is done, or when it can't be: within
// [Config.ShutdownTimeout] after the end of ctx.
//
// Handlers that do not return are named in a [*StuckError]. Other errors are
// of etcd, for what others will take over when the session expires.
//
// It may be called more than once, at the same time, and before the node is
// spawned, which then ends at once. The first ctx to end counts.
func (n *Node) Stop(ctx context.Context) error {
	n.mu.Lock()
	n.stopped = true
	l := n.life
	n.mu.Unlock()
	l.end(nil, false)
	select {
	case <-l.done:
	case <-ctx.Done():
		l.end(nil, true)
		<-l.done
	}
	return l.leftover
}
