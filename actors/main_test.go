package actors

import (
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newSystem makes an actor system that is silent, and whose dead letters leave
// no goroutine behind that would outlive a bubble.
func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithDeadLetterThrottleInterval(time.Millisecond),
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.NewTextHandler(io.Discard, nil))
		}),
	)
}

// inBubble runs a test on a clock of its own, with an actor system that is
// stopped at the end.
func inBubble(t *testing.T, test func(t *testing.T, system *actor.ActorSystem)) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(time.Minute) }) // what was stopped, or throttled, ends
		test(t, newSystem())
	})
}

// spawn spawns a root that restarts at once when it fails, and is stopped with
// the test.
func spawn(t *testing.T, system *actor.ActorSystem, name string, props *actor.Props) *actor.PID {
	t.Helper()
	pid, err := system.Root.SpawnNamed(props, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { system.Root.Stop(pid) })
	return pid
}
