package actors

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/asynkron/protoactor-go/actor"
)

// slotsOf notes the slot actors that a field spawns.
type slotsOf struct {
	mu   sync.Mutex
	pids []*actor.PID
}

func (s *slotsOf) option() actor.PropsOption {
	return actor.WithSpawnMiddleware(func(next actor.SpawnFunc) actor.SpawnFunc {
		return func(system *actor.ActorSystem, id string, p *actor.Props, c actor.SpawnerContext) (*actor.PID, error) {
			pid, err := next(system, id, p, c)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pids = append(s.pids, pid)
			return pid, err
		}
	})
}

// Anybody with its address may stop an actor, also from another system.
func TestSlotThatWasStoppedIsNotUsedAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var slots slotsOf
		f := newField(t, system, 1, slots.option())
		f.hand("a")
		system.Root.Stop(slots.pids[0])
		synctest.Wait()
		f.end("a") // its slot's word comes from nobody
		f.wantFree(t, 1)
		f.hand("b")
		f.end("b")
		if f.ran["b"] != 1 {
			t.Errorf("b ran %d times, want once", f.ran["b"])
		}
		f.wantFree(t, 1)
	})
}

func TestAttemptOfSlotThatWasStoppedGetsAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		var slots slotsOf
		f := newField(t, system, 1, slots.option())
		f.hand("a")
		f.end("a")
		// Stopped, but not heard of: what comes next is given to it.
		system.Root.Stop(slots.pids[0])
		f.hand("b")
		f.end("b")
		if f.ran["b"] != 1 {
			t.Errorf("b ran %d times, want once", f.ran["b"])
		}
		f.wantFree(t, 1)
	})
}
