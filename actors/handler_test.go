package actors

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// theatre runs a handler in slots, and keeps what it returned.
type theatre struct {
	slots *Slots
	pids  slotsOf
	top   *actor.PID

	mu       sync.Mutex
	returned []returned
}

type returned struct {
	output any
	err    error
	after  time.Duration
}

func newTheatre(t *testing.T, system *actor.ActorSystem, props *actor.Props) *theatre {
	h := HandlerFromProps(props)
	th := &theatre{}
	begun := time.Now()
	th.slots = NewSlots(SlotsOptions{Max: 4, Freed: func() {}, Run: func(ctx context.Context, _ *registry.Claim) runner.Report {
		output, err := h.Handle(ctx, new(runner.Attempt))
		th.mu.Lock()
		defer th.mu.Unlock()
		th.returned = append(th.returned, returned{output, err, time.Since(begun)})
		return runner.Report{}
	}})
	th.top = spawn(t, system, "attempts", th.slots.Props().Configure(th.pids.option()))
	t.Cleanup(func() { th.slots.Cancel(runner.ErrShutdown) })
	synctest.Wait()
	return th
}

func (th *theatre) hand(id string) {
	th.slots.Hand(&registry.Claim{ID: id, Fence: 1})
	synctest.Wait()
}

// last is what the handler returned last.
func (th *theatre) last(t *testing.T, n int) returned {
	t.Helper()
	synctest.Wait()
	th.mu.Lock()
	defer th.mu.Unlock()
	if len(th.returned) != n {
		t.Fatalf("the handler returned %d times, want %d", len(th.returned), n)
	}
	if n == 0 {
		return returned{}
	}
	return th.returned[n-1]
}

// heard keeps what actors were sent.
type heard struct {
	mu   sync.Mutex
	what []string
}

func (h *heard) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.what = append(h.what, what)
}

func (h *heard) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.what, want) {
		t.Errorf("heard %q, want %q", h.what, want)
	}
}

// on makes props of what an actor does at an Attempt, and notes the rest.
func (h *heard) on(attempt func(c actor.Context, a *Attempt)) *actor.Props {
	return actor.PropsFromFunc(func(c actor.Context) {
		switch m := c.Message().(type) {
		case *Attempt:
			h.note("attempt")
			attempt(c, m)
		case *Cancelled:
			h.note("cancelled: " + m.Cause.Error())
		case *actor.Stopping:
			h.note("stopping")
		case *actor.Stopped:
			h.note("stopped")
		case *actor.Restarting:
			h.note("restarting")
		}
	})
}

func TestActorAnswersForTheHandler(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		answer any
		output any
		err    error
	}{
		"a value":        {answer: 42, output: 42},
		"nothing":        {},
		"an error":       {answer: broken, err: broken},
		"a wrapped one":  {answer: runner.Fail(broken), err: broken},
		"a value by ptr": {answer: &Tick{}, output: &Tick{}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
				var h heard
				th := newTheatre(t, system, h.on(func(c actor.Context, _ *Attempt) {
					c.Respond(test.answer)
					c.Respond("another answer")
				}))
				th.hand("p")
				got := th.last(t, 1)
				if ptr, ok := got.output.(*Tick); ok {
					got.output = &Tick{}
					if ptr != test.answer {
						t.Error("it is another value")
					}
					test.output = got.output
				}
				if got.output != test.output || !errors.Is(got.err, test.err) {
					t.Errorf("the handler returned %v, %v; want %v, %v", got.output, got.err, test.output, test.err)
				}
				h.want(t, "attempt", "stopping", "stopped")
			})
		})
	}
}

func TestAnswerMayComeLaterAndFromAnotherActor(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(c actor.Context, _ *Attempt) {
			c.Forward(c.Spawn(actor.PropsFromFunc(func(c actor.Context) {
				if _, ok := c.Message().(*Attempt); ok {
					to := c.Sender()
					time.AfterFunc(time.Second, func() { system.Root.Send(to, "from a child") })
				}
			})))
		}))
		th.hand("p")
		time.Sleep(2 * time.Second)
		if got := th.last(t, 1); got.output != "from a child" || got.after != time.Second {
			t.Errorf("the handler returned %+v, want the child's answer after 1s", got)
		}
	})
}

func TestPanicOfActorIsTheAttemptsError(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(actor.Context, *Attempt) { fallOver() }))
		th.hand("p")
		got := th.last(t, 1)
		panicked, ok := errors.AsType[*runner.PanicError](got.err)
		if !ok || panicked.Value != "fell over" || !strings.Contains(string(panicked.Stack), "fallOver") {
			t.Errorf("the handler returned %v, want a PanicError with the stack", got.err)
		}
		h.want(t, "attempt", "stopping", "stopped") // never restarted
		th.hand("q")
		th.last(t, 2) // the slot is as good as before
	})
}

func fallOver() { panic("fell over") }

func TestChildThatEscalatesIsTheAttemptsError(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		escalates := actor.NewOneForOneStrategy(0, 0, func(any) actor.Directive { return actor.EscalateDirective })
		props := h.on(func(c actor.Context, _ *Attempt) {
			c.Send(c.Spawn(actor.PropsFromFunc(func(c actor.Context) {
				if c.Message() == "go" {
					panic("a child's fault")
				}
			})), "go")
		}).Configure(actor.WithSupervisor(escalates))
		th := newTheatre(t, system, props)
		th.hand("p")
		if got := th.last(t, 1); got.err == nil || got.err.Error() != "panic: a child's fault" {
			t.Errorf("the handler returned %v, want the child's fault", got.err)
		}
	})
}

func TestActorThatCannotBeMadeIsTheAttemptsError(t *testing.T) {
	never := func() actor.Actor { return actor.ReceiveFunc(func(actor.Context) {}) }
	for name, props := range map[string]*actor.Props{
		"producer": actor.PropsFromProducer(func() actor.Actor { panic("no actor") }),
		"init":     actor.PropsFromProducer(never, actor.WithOnInit(func(actor.Context) { panic("no actor") })),
		"spawn": actor.PropsFromProducer(never, actor.WithSpawnFunc(
			func(*actor.ActorSystem, string, *actor.Props, actor.SpawnerContext) (*actor.PID, error) {
				return nil, errors.New("panic: no actor")
			})),
		"start": actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				panic("no actor")
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
				before := len(processes(system))
				th := newTheatre(t, system, props)
				th.hand("p")
				if got := th.last(t, 1); got.err == nil || got.err.Error() != "panic: no actor" {
					t.Errorf("the handler returned %v, want why there is no actor", got.err)
				}
				if after := processes(system); len(after) != before+2 { // attempts and a slot
					t.Errorf("left are %v", after)
				}
			})
		})
	}
}

// processes are the ids of everything in an actor system.
func processes(system *actor.ActorSystem) (ids []string) {
	for _, bucket := range system.ProcessRegistry.LocalPIDs.LocalPIDs {
		ids = append(ids, bucket.Keys()...)
	}
	return ids
}

func TestActorThatStopsWithoutAnswerIsAnError(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(c actor.Context, _ *Attempt) { c.Stop(c.Self()) }))
		th.hand("p")
		if got := th.last(t, 1); !errors.Is(got.err, ErrNoAnswer) {
			t.Errorf("the handler returned %v, want ErrNoAnswer", got.err)
		}
	})
}

func TestCancelReachesActorAsMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		props := actor.PropsFromProducer(func() actor.Actor {
			var asker *actor.PID
			return actor.ReceiveFunc(func(c actor.Context) {
				switch m := c.Message().(type) {
				case *Attempt:
					asker = c.Sender()
				case *Cancelled:
					c.Send(asker, "done in spite of: "+m.Cause.Error())
				}
			})
		})
		th := newTheatre(t, system, props)
		th.hand("p")
		th.slots.SessionLost(nil)
		if got := th.last(t, 1); got.output != "done in spite of: lease lost" {
			t.Errorf("the handler returned %+v", got)
		}
		th.hand("q")
		th.slots.Requested("q", &registry.Request{Revision: 2})
		if got := th.last(t, 2); got.output != "done in spite of: cancel requested" {
			t.Errorf("the handler returned %+v", got)
		}
	})
}

func TestActorThatIgnoresCancelIsStopped(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(actor.Context, *Attempt) {}))
		th.hand("p")
		th.slots.Requested("p", &registry.Request{Revision: 2})
		time.Sleep(4 * time.Second)
		h.want(t, "attempt", "cancelled: cancel requested")
		time.Sleep(2 * time.Second)
		h.want(t, "attempt", "cancelled: cancel requested", "stopping", "stopped")
		if got := th.last(t, 1); !errors.Is(got.err, runner.ErrCancelRequested) || got.after != 5*time.Second {
			t.Errorf("the handler returned %+v, want the cause after 5s", got)
		}
	})
}

// The claim is given up when the handler returns.
func TestChildrenOfActorEndBeforeTheHandlerReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(c actor.Context, _ *Attempt) {
			c.Spawn(actor.PropsFromFunc(func(c actor.Context) {
				if _, ok := c.Message().(*actor.Stopping); ok {
					time.Sleep(12 * time.Second) // longer than Proto.Actor's own StopFuture waits
					h.note("child stopped")
				}
			}))
			c.Respond("answer")
		}))
		th.hand("p")
		th.last(t, 0)
		time.Sleep(13 * time.Second)
		if got := th.last(t, 1); got.output != "answer" || got.after != 12*time.Second {
			t.Errorf("the handler returned %+v, want the answer after 12s", got)
		}
		h.want(t, "attempt", "stopping", "child stopped", "stopped")
	})
}

// In Proto.Actor, a panic there resurrects an actor, or nobody hears that it
// has terminated.
func TestActorThatPanicsWhileItEndsEnds(t *testing.T) {
	for _, at := range []any{&actor.Stopping{}, &actor.Stopped{}, &actor.Terminated{}} {
		inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
			th := newTheatre(t, system, actor.PropsFromFunc(func(c actor.Context) {
				switch c.Message().(type) {
				case *Attempt:
					c.Spawn(actor.PropsFromFunc(func(actor.Context) {}))
					c.Respond("answer")
				case *actor.Stopping:
					if _, ok := at.(*actor.Stopping); ok {
						panic("at the end")
					}
				case *actor.Stopped:
					if _, ok := at.(*actor.Stopped); ok {
						panic("at the end")
					}
				case *actor.Terminated:
					if _, ok := at.(*actor.Terminated); ok {
						panic("at the end")
					}
				}
			}))
			th.hand("p")
			if got := th.last(t, 1); got.output != "answer" {
				t.Errorf("a panic at %T: the handler returned %+v", at, got)
			}
		})
	}
}

func TestActorDiesWithItsSlot(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		th := newTheatre(t, system, h.on(func(actor.Context, *Attempt) {}))
		th.hand("p")
		system.Root.Stop(th.pids.pids[0])
		if got := th.last(t, 1); !errors.Is(got.err, ErrNoAnswer) {
			t.Errorf("the handler returned %v, want ErrNoAnswer", got.err)
		}
		h.want(t, "attempt", "stopping", "stopped")
		th.hand("q") // in a slot of its own
		system.Root.Stop(th.top)
		if got := th.last(t, 2); !errors.Is(got.err, ErrNoAnswer) {
			t.Errorf("the handler returned %v, want ErrNoAnswer", got.err)
		}
	})
}

// What comes to a slot that stops already would never be stopped.
func TestStoppingSlotSpawnsNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		release := make(chan struct{})
		var first *stall
		slow := actor.PropsFromFunc(func(c actor.Context) {
			switch m := c.Message().(type) {
			case *Attempt:
				first = m.Context.Value(stallKey{}).(*stall)
			case *actor.Stopping:
				<-release
			}
		})
		th := newTheatre(t, system, slow)
		th.hand("p")
		system.Root.Stop(th.pids.pids[0])
		synctest.Wait() // it waits for its child
		ctx := first.within(t.Context())
		if _, err := HandlerFromProps(slow).Handle(ctx, new(runner.Attempt)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("Handle in a slot that stops: %v, want ErrNoAnswer", err)
		}
		p := newAct(first, slow, &Attempt{})
		first.send(perform{p})
		synctest.Wait()
		if p.pid != nil || !errors.Is(p.failure(), ErrNoAnswer) {
			t.Errorf("it spawned %v, %v; want ErrNoAnswer", p.pid, p.failure())
		}
		p.close()
		close(release)
		th.last(t, 1)
		if _, err := HandlerFromProps(slow).Handle(ctx, new(runner.Attempt)); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("Handle in a slot that has stopped: %v, want ErrNoAnswer", err)
		}
	})
}

func TestHandlerFromPropsNeedsASlot(t *testing.T) {
	h := HandlerFromProps(actor.PropsFromFunc(func(actor.Context) {}))
	if _, err := h.Handle(t.Context(), new(runner.Attempt)); !errors.Is(err, ErrNoSlot) {
		t.Errorf("Handle: %v, want ErrNoSlot", err)
	}
}

func TestHandlerLeavesNothingBehind(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var h heard
		props := h.on(func(c actor.Context, _ *Attempt) { c.Respond(nil) }).Configure(
			actor.WithGuardian(actor.DefaultSupervisorStrategy())) // of the user's own use of it
		th := newTheatre(t, system, props)
		th.hand("a")
		before := processes(system)
		for range 100 {
			th.hand("p")
		}
		if after := processes(system); len(after) != len(before) {
			t.Errorf("left are %v, want %v", after, before)
		}
		if got := th.last(t, 101); got.err != nil {
			t.Error(got.err)
		}
	})
}
