package actors

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

func TestLoopOutlivesItsActorAndRestartsWithIt(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var l loop
		var starts atomic.Int64
		fail := make(chan struct{})
		body := func(ctx context.Context) {
			starts.Add(1)
			select {
			case <-ctx.Done():
			case <-fail:
				panic("a fault")
			}
		}
		want := func(n int64, when string) {
			t.Helper()
			synctest.Wait()
			if got := starts.Load(); got != n {
				t.Errorf("the loop was started %d times %s, want %d", got, when, n)
			}
		}
		props := actor.PropsFromProducer(func() actor.Actor { return &loopActor{&l, body} },
			actor.WithReceiverMiddleware(panicsAt("fall over")))
		pid := spawn(t, system, "looper", props)
		want(1, "at first")
		system.Root.Send(pid, "fall over")
		want(1, "after a restart of its actor")
		fail <- struct{}{}
		want(2, "after its panic")
		system.Root.Stop(pid)
		want(2, "after its actor was stopped")
		fail <- struct{}{} // while there is no actor
		want(2, "without an actor")
		spawn(t, system, "looper", props)
		want(3, "with another actor")
		if err := l.close(t.Context(), ErrStopped); err != nil {
			t.Fatal(err)
		}
		l.ensure(body)
		want(3, "after it was closed")
	})
}

func TestCloseOfLoopThatHangsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l loop
		release := make(chan struct{})
		l.ensure(func(context.Context) { <-release })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.close(ctx, ErrStopped); err == nil {
			t.Error("close: nil, want the context's error")
		}
		close(release)
	})
}
