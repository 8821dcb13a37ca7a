package supervisor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/actors"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// puppet is a node without etcd, in a bubble, whose children fail on command.
type puppet struct {
	*Node
	system *actor.ActorSystem
	logs   *observer.ObservedLogs

	mu       sync.Mutex
	drives   []runner.Reason
	prunings int
	faults   map[string]any // message type name, or text -> panic, by child
	starts   map[string][]time.Time
	last     map[string]string // the last message of each child
}

func newPuppet(t *testing.T) *puppet {
	core, logs := observer.New(zap.WarnLevel)
	p := &puppet{logs: logs, faults: map[string]any{}, starts: map[string][]time.Time{}, last: map[string]string{}}
	p.system = actor.NewActorSystem(
		actor.WithDeadLetterThrottleInterval(time.Millisecond),
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.NewTextHandler(io.Discard, nil))
		}),
	)
	c := Config{RunHandle: p, Logger: zap.New(core), Mux: runner.NewMux(), Node: "puppet"}.withDefaults()
	p.Node = &Node{config: c, poker: actors.NewPoker()}
	p.Node.life = p.newLife()
	t.Cleanup(func() {
		_ = p.Stop(t.Context())
		time.Sleep(time.Hour) // what was stopped, or throttled, ends
	})
	return p
}

func (p *puppet) newLife() *life {
	l := &life{
		config: p.config, log: p.config.Logger,
		ready: make(chan struct{}), done: make(chan struct{}), actorGone: make(chan struct{}),
	}
	l.markReady = sync.OnceFunc(func() { close(l.ready) })
	l.markGone = sync.OnceFunc(func() { close(l.actorGone) })
	l.slots = actors.NewSlots(actors.SlotsOptions{
		Max: 2, Freed: func() {}, Logger: l.log,
		Run: func(ctx context.Context, _ *registry.Claim) runner.Report { <-ctx.Done(); return runner.Report{} },
	})
	l.drives = actors.NewDrives(actors.DrivesOptions{Handle: p, Poker: p.poker, Poll: time.Hour, Logger: l.log})
	l.sessions = actors.NewSessions(actors.SessionsOptions{
		Open: func(ctx context.Context) (*registry.Session, error) { <-ctx.Done(); return nil, ctx.Err() },
	})
	l.watch = actors.NewWatch(actors.WatchOptions{
		Follow: func(ctx context.Context, _ registry.Events) error { <-ctx.Done(); return nil },
		Slots:  l.slots,
	})
	l.desk = actors.NewDesk(actors.DeskOptions{})
	l.witnessed = &witnessed{detach: func() {}, ended: make(chan struct{})}
	look := func(context.Context) (registry.Space, error) { return registry.Space{}, nil }
	l.upkeep = newUpkeep(look, func(context.Context, registry.Space) (int, bool, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.prunings++
		return 0, false, nil
	}, l.log)
	l.drives.Startup()
	return l
}

func (p *puppet) ClaimAndRunPending(_ context.Context, reason runner.Reason) (runner.Drove, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drives = append(p.drives, reason)
	return runner.Drove{}, nil
}

func (p *puppet) made() []runner.Reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.drives)
}

// props put the puppet's strings between the actors and their messages.
func (p *puppet) props() *actor.Props {
	return p.Props().Configure(actor.WithSpawnMiddleware(func(next actor.SpawnFunc) actor.SpawnFunc {
		return func(system *actor.ActorSystem, id string, props *actor.Props, parent actor.SpawnerContext) (*actor.PID, error) {
			child := id[strings.LastIndex(id, "/")+1:]
			return next(system, id, props.Configure(actor.WithReceiverMiddleware(p.strings(child))), parent)
		}
	}))
}

func (p *puppet) strings(child string) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
			name := "message"
			switch m := e.Message.(type) {
			case *actor.Started:
				name = "started"
			case *actor.Stopping:
				name = "stopping"
			case *actor.Stopped:
				name = "stopped"
			case *actor.Restarting:
				name = "restarting"
			case string:
				name = m
			}
			p.mu.Lock()
			p.last[child] = name
			if name == "started" {
				p.starts[child] = append(p.starts[child], time.Now())
			}
			fault := p.faults[child+" "+name]
			p.mu.Unlock()
			if fault != nil || name == "fail" {
				panic("as told: " + child + " " + name)
			}
			next(c, e)
		}
	}
}

func (p *puppet) fails(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[what] = true
}

func (p *puppet) tell(child string, message any) {
	p.system.Root.Send(p.system.NewLocalPID(p.PID().Id+"/"+child), message)
	synctest.Wait()
}

func (p *puppet) startsOf(child string) []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.starts[child])
}

func (p *puppet) spawn(t *testing.T) {
	t.Helper()
	if _, err := p.system.Root.SpawnNamed(p.props().Configure(actor.WithGuardian(onlyStops)), "drover"); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func (p *puppet) there(child string) bool {
	_, there := p.system.ProcessRegistry.GetLocal("drover/" + child)
	return there
}

func TestNodePrunesWhileItLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		prunings := func() int {
			time.Sleep(5 * time.Minute)
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.prunings
		}
		if got := prunings(); got != 0 {
			t.Errorf("it pruned %d times before it was spawned", got)
		}
		p.spawn(t)
		before := prunings()
		if before < 4 || before > 7 {
			t.Errorf("it pruned %d times in 5 minutes", before)
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := prunings(); got != before {
			t.Errorf("it pruned %d times after its end", got-before)
		}
	})
}

func TestFailingActorIsRestartedWithGrowingDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		var delays []time.Duration
		for range 12 {
			failed, before := time.Now(), len(p.startsOf("runner"))
			p.tell("runner", "fail")
			for len(p.startsOf("runner")) == before {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			delays = append(delays, time.Since(failed))
			// Pokes work again.
			drives := len(p.made())
			p.poker.Poke()
			synctest.Wait()
			if got := len(p.made()); got != drives+1 {
				t.Fatalf("%d drives after the poke, want %d", got, drives+1)
			}
		}
		base := 100 * time.Millisecond
		var different bool
		for i, delay := range delays {
			if delay < base/2 || delay > base+base/2+2*time.Millisecond {
				t.Errorf("delay %d is %s, want %s give or take a half", i, delay, base)
			}
			different = different || delay.Round(time.Millisecond) != base
			base = min(2*base, 30*time.Second)
		}
		if !different {
			t.Error("the delays are not jittered")
		}
		// A healthy minute after its restart.
		time.Sleep(61 * time.Second)
		failed, before := time.Now(), len(p.startsOf("runner"))
		p.tell("runner", "fail")
		for len(p.startsOf("runner")) == before {
			time.Sleep(time.Millisecond)
			synctest.Wait()
		}
		if delay := time.Since(failed); delay > 160*time.Millisecond {
			t.Errorf("delay after a healthy minute is %s, want 100ms give or take a half", delay)
		}
	})
}

func TestPokeDuringPauseCountsAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		before := len(p.made())
		p.tell("runner", "fail")
		for range 1000 {
			p.poker.Poke()
		}
		synctest.Wait()
		if got := len(p.made()); got != before {
			t.Errorf("%d drives while the runner pauses, want %d", got, before)
		}
		time.Sleep(time.Second)
		if got := len(p.made()); got != before+1 {
			t.Errorf("%d drives after its pause, want %d", got, before+1)
		}
	})
}

func TestRestartThatWasPendingAtStopDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		begun := time.Now()
		for _, child := range []string{"runner", "watcher", "session"} {
			p.tell(child, "fail")
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("Stop took %s", took)
		}
		time.Sleep(time.Hour)
		for _, child := range []string{"runner", "watcher", "session", "attempts"} {
			if p.there(child) || len(p.startsOf(child)) != 1 {
				t.Errorf("%s came back", child)
			}
		}
	})
}

func TestRestartThatIsDueWhileAttemptsMayEndDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		p.life.slots.Hand(&registry.Claim{ID: "p"})
		p.tell("runner", "fail")
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		if err := p.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != time.Hour {
			t.Errorf("Stop took %s, want the hour that p was given", took)
		}
		if got := len(p.startsOf("runner")); got != 1 {
			t.Errorf("the runner has started %d times, want once", got)
		}
	})
}

// A drive that hung, and goes on after all.
func TestClaimThatIsHandedAfterStopIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		if err := p.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.life.slots.Hand(&registry.Claim{ID: "p"})
		synctest.Wait() // it runs until its context ends
		if got := p.life.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v run", got)
		}
	})
}

func TestPanicAtTheEndNeitherResurrectsNorHangs(t *testing.T) {
	for _, at := range []string{"stopping", "stopped", "restarting"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPuppet(t)
				p.spawn(t)
				children := []string{"runner", "attempts", "watcher", "session"}
				for _, child := range children {
					p.fails(child + " " + at)
				}
				if at == "restarting" {
					p.tell("runner", "fail")
					time.Sleep(time.Second)
					if got := len(p.startsOf("runner")); got != 2 {
						t.Fatalf("the runner has started %d times, want 2", got)
					}
					drives := len(p.made())
					p.poker.Poke()
					synctest.Wait()
					if got := len(p.made()); got != drives+1 {
						t.Errorf("%d drives after the poke, want %d", got, drives+1)
					}
				}
				begun := time.Now()
				if err := p.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("Stop took %s", took)
				}
				for _, child := range children {
					if p.there(child) {
						t.Errorf("%s is still there", child)
					}
				}
			})
		})
	}
}

func TestAttemptsAreResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		p.life.slots.Hand(&registry.Claim{ID: "p"})
		synctest.Wait()
		p.tell("attempts", "fail")
		p.life.slots.Hand(&registry.Claim{ID: "q"})
		synctest.Wait()
		if got := len(p.startsOf("attempts")); got != 1 {
			t.Errorf("attempts has started %d times, want 1", got)
		}
		if got := p.life.slots.Free(); got != 0 {
			t.Errorf("%d slots are free, want that both run", got)
		}
		p.life.slots.Cancel(errors.New("the test ends"))
		synctest.Wait()
		if got := p.life.slots.Free(); got != 2 {
			t.Errorf("%d slots are free, want 2: both were entered", got)
		}
	})
}

func TestFaultOfTheNodesActorEndsTheNodeAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		p.life.slots.Hand(&registry.Claim{ID: "p"})
		var ended []error
		p.system.EventStream.Subscribe(func(event any) {
			if e, ok := event.(*actors.NodeEnded); ok {
				ended = append(ended, e.Err)
			}
		})
		// It gets a Terminated without a pid, which its code does not expect.
		p.system.Root.Send(p.PID(), &actor.Terminated{})
		<-p.Done()
		if _, ok := errors.AsType[*runner.PanicError](p.Err()); !ok {
			t.Errorf("Err: %v, want the panic", p.Err())
		}
		if len(ended) != 1 || ended[0] == nil {
			t.Errorf("NodeEnded with %v, want the panic", ended)
		}
		if got := p.life.slots.Wait(t.Context()); got != nil {
			t.Errorf("%v still run", got)
		}
		if p.there("runner") {
			t.Error("its children are still there")
		}
	})
}

func TestSubscriberThatPanicsDoesNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.system.EventStream.Subscribe(func(event any) {
			if _, ok := event.(*actors.NodeEnded); ok {
				panic("a subscriber's fault")
			}
		})
		p.spawn(t)
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRunnerThatPanicsOnEveryMessageIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPuppet(t)
		p.spawn(t)
		fails := func() bool {
			return slices.ContainsFunc(p.Health().Problems, func(problem string) bool {
				return strings.HasPrefix(problem, "the actor runner fails since ")
			})
		}
		if fails() {
			t.Error("it fails before it has")
		}
		p.fails("runner message")
		for range 20 {
			p.poker.Poke()
			p.tell("runner", actors.Tick{})
			if !fails() {
				t.Fatalf("health %+v", p.Health())
			}
			time.Sleep(4 * time.Second)
		}
		if there := p.there("attempts") && p.there("watcher") && p.there("session"); !there {
			t.Error("it has taken others of the tree with it")
		}
		p.mu.Lock()
		clear(p.faults)
		p.mu.Unlock()
		time.Sleep(time.Minute) // the longest pause, and a while
		if fails() {
			t.Errorf("a minute after the last fault: %+v", p.Health())
		}
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
