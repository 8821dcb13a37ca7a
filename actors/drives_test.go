package actors

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/runner"
)

const poll = 400 * time.Millisecond

// handle is a RunHandle that notes its drives and does what it is told.
type handle struct {
	begun time.Time
	does  func(ctx context.Context, turn int) (runner.Drove, error) // may be nil

	mu     sync.Mutex
	drives []made
	on     int
	most   int // drives at a time
}

type made struct {
	reason runner.Reason
	after  time.Duration
}

func (h *handle) ClaimAndRunPending(ctx context.Context, reason runner.Reason) (runner.Drove, error) {
	h.mu.Lock()
	h.drives = append(h.drives, made{reason, time.Since(h.begun)})
	turn := len(h.drives)
	h.on++
	h.most = max(h.most, h.on)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.on--
		h.mu.Unlock()
	}()
	if h.does == nil {
		return runner.Drove{}, nil
	}
	return h.does(ctx, turn)
}

func (h *handle) made() []made {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.drives)
}

// want compares the drives that were made from the nth on, and no others.
func (h *handle) want(t *testing.T, from int, want ...made) {
	t.Helper()
	synctest.Wait()
	all := h.made()
	if got := all[min(from, len(all)):]; !slices.Equal(got, want) {
		t.Errorf("drives: got %v, want %v", got, want)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.most > 1 {
		t.Errorf("%d drives were on at a time", h.most)
	}
}

type bench struct {
	*handle
	drives *Drives
	poker  Poker
	pid    *actor.PID
	// messages that the actor got, by kind
	wakes, ends atomic.Int64
}

// newBench spawns a runner; the props may be changed first.
func newBench(t *testing.T, system *actor.ActorSystem, h *handle, opts ...actor.PropsOption) *bench {
	b := &bench{handle: h, poker: NewPoker()}
	h.begun = time.Now()
	b.drives = NewDrives(DrivesOptions{Handle: h, Poker: b.poker, Poll: poll})
	count := actor.WithReceiverMiddleware(func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
			switch e.Message.(type) {
			case wake:
				b.wakes.Add(1)
			case drove:
				b.ends.Add(1)
			}
			next(c, e)
		}
	})
	b.pid = spawn(t, system, "runner", b.drives.Props().Configure(append(opts, count)...))
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := b.drives.Stop(ended); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return b
}

// started has made its first drive already.
func started(t *testing.T, system *actor.ActorSystem, h *handle, opts ...actor.PropsOption) *bench {
	b := newBench(t, system, h, opts...)
	b.drives.Startup()
	synctest.Wait()
	return b
}

func TestDriveAtStartUpWithoutPoke(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := newBench(t, system, &handle{})
		time.Sleep(time.Second)
		b.want(t, 0) // nothing before there is a session
		b.drives.Startup()
		b.want(t, 0, made{"startup", time.Second})
	})
}

func TestDriveOnPokeAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{})
		time.Sleep(100 * time.Millisecond)
		b.poker.Poke()
		b.want(t, 1, made{"poke", 100 * time.Millisecond})
	})
}

func TestDriveEvery400msWithoutPokes(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{})
		time.Sleep(1300 * time.Millisecond)
		b.want(t, 0,
			made{"startup", 0},
			made{"poll", 400 * time.Millisecond}, // the first a full interval after start-up
			made{"poll", 800 * time.Millisecond},
			made{"poll", 1200 * time.Millisecond})
	})
}

func TestTicksDuringLongDriveAreNotMadeUp(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				time.Sleep(5 * time.Second)
			}
			return runner.Drove{}, nil
		}})
		time.Sleep(6300 * time.Millisecond)
		b.want(t, 0,
			made{"startup", 0},
			made{"poll", 400 * time.Millisecond},
			made{"poll", 5800 * time.Millisecond}, // an interval after the end of the last
			made{"poll", 6200 * time.Millisecond})
	})
}

func TestTicksOfAnybodyDuringDriveAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				time.Sleep(time.Second)
			}
			return runner.Drove{}, nil
		}})
		for range 100 {
			system.Root.Send(b.pid, Tick{})
		}
		time.Sleep(1100 * time.Millisecond)
		b.want(t, 1, made{"poll", 0})
	})
}

func TestMillionPokesDuringDriveLeadToOneMore(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				time.Sleep(time.Second)
			}
			return runner.Drove{}, nil
		}})
		b.poker.Poke()
		synctest.Wait() // the second drive is on
		b.wakes.Store(0)
		b.ends.Store(0)
		var pokers sync.WaitGroup
		for range 4 {
			pokers.Go(func() {
				for range 250_000 {
					b.poker.Poke()
				}
			})
		}
		pokers.Wait()
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if got := b.wakes.Load(); got != 1 {
			t.Errorf("a million pokes sent %d messages, want 1", got)
		}
		b.want(t, 1, made{"poke", 0}, made{"poke", time.Second})
	})
}

// A poke is not lost whenever in a drive it comes; the one that matters is the
// one after the list was read.
func TestPokeAfterListIsNotLost(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var b *bench
		b = started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				b.poker.Poke()
			}
			return runner.Drove{}, nil
		}})
		b.poker.Poke()
		b.want(t, 1, made{"poke", 0}, made{"poke", 0})
	})
}

func TestDriveServesPokesThatCameBeforeIt(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := newBench(t, system, &handle{})
		b.poker.Poke()
		b.drives.Startup()
		b.want(t, 0, made{"startup", 0}) // and no other for the poke
	})
}

func TestPokeBeforeNodeIsKept(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		poker := NewPoker()
		for range 3 {
			poker.Poke()
		}
		h := &handle{begun: time.Now()}
		d := NewDrives(DrivesOptions{Handle: h, Poker: poker, Poll: poll})
		d.begun.Store(true) // as if start-up were over, which would serve it too
		spawn(t, system, "runner", d.Props())
		h.want(t, 0, made{"poke", 0})
	})
}

func TestZeroPokerDoesNothing(*testing.T) { Poker{}.Poke() }

func TestNeverTwoDrivesAtOnceAcrossRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				time.Sleep(time.Second)
			}
			return runner.Drove{}, nil
		}}, actor.WithReceiverMiddleware(panicsAt("fall over")))
		b.poker.Poke()
		synctest.Wait() // the second drive is on
		system.Root.Send(b.pid, "fall over")
		b.poker.Poke()
		system.Root.Send(b.pid, &Poke{})
		time.Sleep(500 * time.Millisecond)
		b.want(t, 1, made{"poke", 0})
		time.Sleep(600 * time.Millisecond)
		b.want(t, 1, made{"poke", 0}, made{"poke", time.Second})
	})
}

// panicsAt makes an actor panic when it gets the message.
func panicsAt(message any) actor.ReceiverMiddleware {
	return func(next actor.ReceiverFunc) actor.ReceiverFunc {
		return func(c actor.ReceiverContext, e *actor.MessageEnvelope) {
			if e.Message == message {
				panic(message)
			}
			next(c, e)
		}
	}
}

func TestFailedDriveDoesNotEndLoop(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]func(ctx context.Context) error{
		"it fails":  func(context.Context) error { return broken },
		"it panics": func(context.Context) error { panic("broken") },
	}
	for name, fails := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
				b := started(t, system, &handle{does: func(ctx context.Context, turn int) (runner.Drove, error) {
					if turn == 2 {
						return runner.Drove{}, fails(ctx)
					}
					return runner.Drove{}, nil
				}})
				b.poker.Poke()
				synctest.Wait()
				b.poker.Poke()
				b.want(t, 1, made{"poke", 0}, made{"poke", 0})
				time.Sleep(500 * time.Millisecond)
				b.want(t, 3, made{"poll", 400 * time.Millisecond})
			})
		})
	}
}

func TestHangingDriveHasDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var cause error
		b := started(t, system, &handle{does: func(ctx context.Context, turn int) (runner.Drove, error) {
			if turn == 1 {
				<-ctx.Done()
				cause = context.Cause(ctx)
				return runner.Drove{}, cause
			}
			return runner.Drove{}, nil
		}})
		time.Sleep(31 * time.Second)
		b.want(t, 0, made{"startup", 0}, made{"poll", 30400 * time.Millisecond}, made{"poll", 30800 * time.Millisecond})
		if !errors.Is(cause, ErrDriveTimeout) {
			t.Errorf("the drive was cancelled with %v, want ErrDriveTimeout", cause)
		}
	})
}

func TestFailingDrivesAreLoggedWhenTheyBeginAndEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		logs, seen := observer.New(zapcore.InfoLevel)
		h := &handle{begun: time.Now(), does: func(_ context.Context, turn int) (runner.Drove, error) {
			switch {
			case turn < 10:
				return runner.Drove{}, errors.New("broken")
			case turn < 20:
				return runner.Drove{}, runner.ErrNoSession
			}
			return runner.Drove{}, nil
		}}
		d := NewDrives(DrivesOptions{Handle: h, Poker: NewPoker(), Poll: poll, Logger: zap.New(logs)})
		spawn(t, system, "runner", d.Props())
		d.Startup()
		time.Sleep(10 * time.Second)
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range seen.All() {
			got = append(got, e.Message)
		}
		want := []string{"a drive failed, the next are logged once one succeeds", "drives succeed again"}
		if !slices.Equal(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	})
}

func TestDriveWhenSomethingIsDue(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		begun := time.Now()
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 1 {
				return runner.Drove{Next: begun.Add(150 * time.Millisecond)}, nil
			}
			return runner.Drove{}, nil
		}})
		b.drives.Due(begun.Add(200 * time.Millisecond))
		time.Sleep(250 * time.Millisecond)
		// The second is for the drive at the first to find.
		b.want(t, 1, made{"poll", 150 * time.Millisecond})
		b.drives.Due(begun.Add(300 * time.Millisecond))
		time.Sleep(time.Second)
		b.want(t, 2,
			made{"poll", 300 * time.Millisecond},
			made{"poll", 700 * time.Millisecond},
			made{"poll", 1100 * time.Millisecond})
	})
}

// Ticks before a due time don't make it forgotten, as when it was heard of by
// the watch and is farther than a drive looks.
func TestFarDueTimeOutlivesTicks(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{})
		b.drives.Due(time.Now().Add(10*time.Minute + 150*time.Millisecond))
		b.drives.Due(time.Now().Add(20 * time.Minute))
		time.Sleep(10*time.Minute + 100*time.Millisecond)
		n := len(b.made())
		time.Sleep(100 * time.Millisecond)
		b.want(t, n, made{"poll", 10*time.Minute + 150*time.Millisecond})
	})
}

func TestFailedDriveIsTriedAgainBeforeLong(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		h := &handle{begun: time.Now(), does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn < 3 {
				return runner.Drove{}, errors.New("broken")
			}
			return runner.Drove{}, nil
		}}
		d := NewDrives(DrivesOptions{Handle: h, Poker: NewPoker(), Poll: 10 * time.Second})
		spawn(t, system, "runner", d.Props())
		d.Startup()
		time.Sleep(9 * time.Second)
		h.want(t, 0, made{"startup", 0}, made{"poll", 400 * time.Millisecond}, made{"poll", 800 * time.Millisecond})
		if err := d.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPastDueTimeDoesNotSpin(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(context.Context, int) (runner.Drove, error) {
			return runner.Drove{Next: time.Now()}, nil
		}})
		time.Sleep(99 * time.Millisecond)
		if got := len(b.made()); got != 20 {
			t.Errorf("%d drives in 99 ms, want 20", got)
		}
	})
}

func TestSlotThatBecomesFreePokesWhileStarved(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			return runner.Drove{Starved: turn == 2}, nil
		}})
		b.drives.SlotFreed()
		b.want(t, 1) // nobody waits for it
		b.poker.Poke()
		synctest.Wait()
		b.drives.SlotFreed()
		b.want(t, 1, made{"poke", 0}, made{"poke", 0})
		b.drives.SlotFreed()
		b.want(t, 3)
	})
}

// A slot that becomes free after the drive has asked how many are, and before
// it is known to be starved.
func TestSlotThatBecomesFreeDuringStarvedDrivePokes(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var b *bench
		b = started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				b.drives.SlotFreed()
			}
			return runner.Drove{Starved: turn == 2}, nil
		}})
		b.poker.Poke()
		b.want(t, 1, made{"poke", 0}, made{"poke", 0})
	})
}

func TestPokeMessageIsAnsweredByTheDriveThatBeganAfterIt(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{does: func(_ context.Context, turn int) (runner.Drove, error) {
			if turn == 2 {
				time.Sleep(time.Second)
			}
			return runner.Drove{Claimed: turn}, nil
		}})
		b.poker.Poke()
		synctest.Wait() // the second drive is on
		begun := time.Now()
		answer, err := system.Root.RequestFuture(b.pid, &Poke{}, time.Minute).Result()
		if err != nil {
			t.Fatal(err)
		}
		if got := *answer.(*Drove); got != (Drove{Reason: "poke", Claimed: 3}) {
			t.Errorf("answer %+v, want that of the third drive", got)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("answered after %s, want 1s", took)
		}
	})
}

func TestPokeMessageToStoppedRunnerIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := newBench(t, system, &handle{}) // which never starts
		early := system.Root.RequestFuture(b.pid, &Poke{}, time.Minute)
		synctest.Wait()
		if err := b.drives.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		late := system.Root.RequestFuture(b.pid, &Poke{}, time.Minute)
		for _, f := range []*actor.Future{early, late} {
			answer, err := f.Result()
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.(*Drove); !errors.Is(got.Err, ErrStopped) {
				t.Errorf("answer %+v, want ErrStopped", got)
			}
		}
	})
}

func TestTicksDoNotPileUpWhileRunnerPauses(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{}, actor.WithReceiverMiddleware(panicsAt("fall over")),
			actor.WithGuardian(restartsAfter(9900*time.Millisecond)))
		system.Root.Send(b.pid, "fall over")
		time.Sleep(10 * time.Second)
		b.want(t, 1, made{"poll", 9900 * time.Millisecond})
	})
}

func TestTicksGoOnAfterOneThatWasLost(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		b := started(t, system, &handle{})
		system.Root.Stop(b.pid)
		time.Sleep(time.Second) // ticks are sent to nobody
		b.want(t, 1)
		spawn(t, system, "runner", b.drives.Props())
		time.Sleep(500 * time.Millisecond)
		b.want(t, 1, made{"poll", 1200 * time.Millisecond})
	})
}

// restartsAfter is a strategy that pauses.
type restartsAfter time.Duration

func (r restartsAfter) HandleFailure(_ *actor.ActorSystem, s actor.Supervisor, who *actor.PID,
	_ *actor.RestartStatistics, _, _ any) {
	time.AfterFunc(time.Duration(r), func() { s.RestartChildren(who) })
}

func TestStopLetsDriveEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var cancelled bool
		b := started(t, system, &handle{does: func(ctx context.Context, _ int) (runner.Drove, error) {
			time.Sleep(time.Second)
			cancelled = ctx.Err() != nil
			return runner.Drove{}, nil
		}})
		begun := time.Now()
		if err := b.drives.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != time.Second || cancelled {
			t.Errorf("Stop took %s, cancelled: %t; want 1s and false", took, cancelled)
		}
		b.poker.Poke()
		time.Sleep(time.Second)
		b.want(t, 1)
	})
}

func TestStopCancelsDriveWhenItsContextEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var cause error
		b := started(t, system, &handle{does: func(ctx context.Context, _ int) (runner.Drove, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return runner.Drove{}, cause
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := b.drives.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(cause, runner.ErrShutdown) {
			t.Errorf("the drive was cancelled with %v, want ErrShutdown", cause)
		}
	})
}

func TestStopReportsDriveThatIgnoresItsContext(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		release := make(chan struct{})
		b := started(t, system, &handle{does: func(context.Context, int) (runner.Drove, error) {
			<-release
			return runner.Drove{}, nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := b.drives.Stop(ctx); !errors.Is(err, ErrDriving) {
			t.Errorf("Stop: %v, want ErrDriving", err)
		}
		close(release)
	})
}
