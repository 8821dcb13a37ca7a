package supervisor_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

type drove = actors.Drove

func poke() *actors.Poke { return &actors.Poke{} }

// newRanchOfItsOwn has an etcd that the test may stop.
func newRanchOfItsOwn(t *testing.T) (*ranch, *etcdtest.Server) {
	t.Helper()
	server := etcdtest.New(t)
	reg, err := registry.Open(t.Context(), server.Client(t), registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	r := newRanch(t)
	r.registry = reg
	return r, server
}

// gone waits until the actor has ended.
func (r *ranch) gone(pid *actor.PID) {
	r.t.Helper()
	soon(r.t, pid.Id+" ends", func() bool {
		_, there := r.system.ProcessRegistry.GetLocal(pid.Id)
		return !there
	})
}

// host is a user's actor that has a node under it.
type host struct {
	node       func() *supervisor.Node
	starts     *atomic.Int64
	terminated *atomic.Int64
}

func (h *host) Receive(c actor.Context) {
	switch m := c.Message().(type) {
	case *actor.Started:
		h.starts.Add(1)
		c.Watch(c.SpawnPrefix(h.node().Props(), "herd"))
	case *actor.Terminated:
		h.terminated.Add(1)
	case error:
		panic(m)
	}
}

// strategy counts what reaches it.
type strategy struct{ failures atomic.Int64 }

func (s *strategy) HandleFailure(_ *actor.ActorSystem, me actor.Supervisor, who *actor.PID,
	_ *actor.RestartStatistics, _, _ any) {
	s.failures.Add(1)
	me.RestartChildren(who)
}

// host spawns h; last is the node that must have ended when it has.
func (r *ranch) host(h *host, s *strategy, last func() *supervisor.Node) *actor.PID {
	r.t.Helper()
	h.starts, h.terminated = new(atomic.Int64), new(atomic.Int64)
	pid := r.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return h }, actor.WithSupervisor(s),
		actor.WithGuardian(s)))
	r.t.Cleanup(func() {
		r.system.Root.Stop(pid)
		r.gone(pid)
		closed(r.t, "the node under the host ends", last().Done())
	})
	return pid
}

func TestNodeUnderUsersActor(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n, err := supervisor.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	s := &strategy{}
	h := &host{node: func() *supervisor.Node { return n }}
	pid := r.host(h, s, h.node)
	closed(t, "ready", n.Ready())
	r.process("p", "noop")
	r.completed("p")

	// It dies under the node: a hard stop, and claims are handed back.
	r.process("q", "lingering")
	<-lingering.entered
	r.system.Root.Stop(pid)
	closed(t, "done", n.Done())
	if !errors.Is(n.Err(), supervisor.ErrActorStopped) {
		t.Errorf("Err: %v, want ErrActorStopped", n.Err())
	}
	lingering.want(t, runner.ErrShutdown)
	r.wantHandedBack("q")
	if nodes := r.nodes(); len(nodes) != 0 {
		t.Errorf("the session is not over: %+v", nodes)
	}
	if got := s.failures.Load(); got != 0 {
		t.Errorf("%d failures reached the host's strategies", got)
	}
}

func TestHostThatIsToldStopsItsNode(t *testing.T) {
	r := newRanch(t)
	n, err := supervisor.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{node: func() *supervisor.Node { return n }}
	r.host(h, &strategy{}, h.node)
	closed(t, "ready", n.Ready())
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, "the host is told", func() bool { return h.terminated.Load() > 0 }) // as parent, and as watcher
}

// The host panics and is restarted, and spawns its node again: the same, or
// another one by the same name.
func TestHostThatIsRestartedSpawnsItsNodeAgain(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(map[bool]string{true: "the same", false: "another"}[same], func(t *testing.T) {
			r := newRanch(t)
			lingering := newLingering()
			r.handle("lingering", lingering.run)
			r.handle("noop", noop)
			var made atomic.Pointer[supervisor.Node]
			node := func() *supervisor.Node {
				if n := made.Load(); n != nil && same {
					return n
				}
				n, err := supervisor.New(r.config())
				if err != nil {
					panic(err)
				}
				made.Store(n)
				return n
			}
			s := &strategy{}
			h := &host{node: node}
			pid := r.host(h, s, made.Load)
			soon(t, "the node is made", func() bool { return made.Load() != nil })
			first := made.Load()
			ready, done := first.Ready(), first.Done()
			closed(t, "ready", ready)
			r.process("p", "lingering")
			<-lingering.entered

			r.system.Root.Send(pid, errors.New("the host's own fault"))
			closed(t, "the first life ends", done)
			soon(t, "the host is back", func() bool { return h.starts.Load() == 2 })
			second := made.Load()
			closed(t, "ready again", second.Ready())
			if got := <-lingering.entered; got != "p" {
				t.Errorf("the second life runs %s, want p", got)
			}
			if p := r.get("p"); p.Attempt != 2 || p.Errors != 0 || p.Adoptions != 0 {
				t.Errorf("p: %+v, want the second attempt after one that was handed back", p)
			}
			// What was made with the node is good for its next life.
			if _, err := second.Driver().Start(t.Context(), registry.Spec{ID: "q", Kind: "noop", Disposition: registry.Rerunnable}); err != nil {
				t.Fatal(err)
			}
			r.completed("q")
			if got := s.failures.Load(); got != 1 {
				t.Errorf("%d failures reached the host's strategies, want its own", got)
			}
		})
	}
}

// pair is a user's actor whose strategy restarts all of its children when one
// of them fails: the node, and one that fails when it is told to.
type pair struct {
	node    *supervisor.Node
	sibling atomic.Pointer[actor.PID]
}

func (p *pair) Receive(c actor.Context) {
	if _, ok := c.Message().(*actor.Started); !ok {
		return
	}
	c.Spawn(p.node.Props())
	p.sibling.Store(c.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if fault, ok := c.Message().(error); ok {
			panic(fault)
		}
	})))
}

func TestHostsStrategyMayRestartTheNode(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	n, err := supervisor.New(r.config())
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{node: n}
	restarts := actor.NewAllForOneStrategy(10, time.Minute, actor.DefaultDecider)
	pid := r.system.Root.Spawn(actor.PropsFromProducer(func() actor.Actor { return p }, actor.WithSupervisor(restarts)))
	t.Cleanup(func() { r.system.Root.Stop(pid); closed(t, "done", n.Done()) })
	closed(t, "ready", n.Ready())
	done := n.Done()
	r.system.Root.Send(p.sibling.Load(), errors.New("the sibling's fault"))
	begun := time.Now()
	closed(t, "the first life ends", done)
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the first life took %s to end", took)
	}
	soon(t, "the second life is ready", func() bool {
		select {
		case <-n.Ready():
			return n.Done() != done
		default:
			return false
		}
	})
	r.process("p", "noop")
	r.completed("p")
}

func TestNodeRunsOnceAtATime(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	n := r.start(r.config())
	address := n.PID().Id
	again := r.system.Root.Spawn(n.Props())
	r.gone(again)
	if got := n.PID().Id; got != address {
		t.Errorf("the node is at %s, want %s", got, address)
	}
	r.process("p", "noop")
	r.completed("p")
}

func TestActorsThatSomebodyStopsAreSpawnedAgain(t *testing.T) {
	r := newRanch(t)
	r.handle("noop", noop)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n := r.start(r.config())
	r.process("running", "lingering")
	<-lingering.entered
	for _, child := range []string{"runner", "attempts", "watcher", "session"} {
		pid := r.system.NewLocalPID(n.PID().Id + "/" + child)
		before, _ := r.system.ProcessRegistry.GetLocal(pid.Id)
		r.system.Root.Poison(pid) // as a remote host could
		soon(t, child+" is back", func() bool {
			now, there := r.system.ProcessRegistry.GetLocal(pid.Id)
			return there && now != before
		})
		id := "after-" + child
		r.process(id, "noop")
		r.completed(id)
	}
	if p := r.get("running"); p.Status != registry.StatusRunning || p.Attempt != 1 {
		t.Errorf("running is %s in attempt %d, want that nothing has happened to it", p.Status, p.Attempt)
	}
	if nodes := r.nodes(); len(nodes) != 1 {
		t.Errorf("roster %+v, want the one session", nodes)
	}
	if err := n.Stop(brief(t)); err != nil {
		t.Error(err)
	}
}

func TestPokeAsActorMessageIsAnswered(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	c := r.config()
	c.Poll = time.Second
	n := r.start(c)
	r.process("p", "lingering")
	<-lingering.entered
	answer, err := r.system.Root.RequestFuture(n.RunnerPID(), poke(), patience).Result()
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.(*drove); got.Reason != runner.Poke || got.Err != nil {
		t.Errorf("answer %+v, want a drive for the poke", got)
	}
	if err := n.Stop(brief(t)); err != nil {
		t.Error(err)
	}
}

func TestLostSessionCancelsAttemptsAndIsReplaced(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n := r.start(r.config())
	r.process("p", "lingering")
	<-lingering.entered
	// Somebody proves the node dead, wrongly.
	nodes := r.nodes()
	if err := r.registry.EndSession(t.Context(), nodes[0], "a test says so"); err != nil {
		t.Fatal(err)
	}
	if got := <-lingering.entered; got != "p" {
		t.Fatalf("entered %s, want p", got)
	}
	soon(t, "the first attempt has ended", func() bool {
		lingering.mu.Lock()
		defer lingering.mu.Unlock()
		return len(lingering.causes) == 1
	})
	lingering.want(t, runner.ErrLeaseLost)
	if p := r.get("p"); p.Attempt != 2 || p.Adoptions != 1 {
		t.Errorf("p: attempt %d, adoptions %d; want 2 and 1", p.Attempt, p.Adoptions)
	}
	want := []string{"*actors.NodeReady", "*actors.SessionLost", "*actors.NodeReady"}
	if got := r.told(); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	if err := n.Stop(brief(t)); err != nil {
		t.Error(err)
	}
}

func TestCancelReachesAttempt(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	n := r.start(r.config())
	r.process("p", "lingering")
	<-lingering.entered
	if ended, err := r.registry.Cancel(t.Context(), "p", registry.Request{Reason: "a test"}); err != nil || ended {
		t.Fatalf("cancel: %t, %v", ended, err)
	}
	p, err := r.registry.Wait(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	if p.Status != registry.StatusCancelled {
		t.Errorf("p is %s, want cancelled", p.Status)
	}
	lingering.want(t, runner.ErrCancelRequested)
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOtherNodesTakeOverAtOnce(t *testing.T) {
	r := newRanch(t)
	lingering := newLingering()
	r.handle("lingering", lingering.run)
	first := r.start(r.config())
	r.process("p", "lingering")
	<-lingering.entered
	c := r.config()
	c.Name, c.Node, c.TTL = "second", "second", time.Minute
	second := r.start(c)
	if err := first.Stop(brief(t)); err != nil {
		t.Fatal(err)
	}
	<-lingering.entered
	if p := r.get("p"); p.Claim == nil || p.Claim.Node != "second" {
		t.Errorf("p: %+v, want it claimed by second", p)
	}
	if err := second.Stop(brief(t)); err != nil {
		t.Error(err)
	}
}
