package supervisor

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// wellAgain is how long after its restart an actor counts as failing: if it
// fails at once again it is no use saying in between that all is well.
const wellAgain = 5 * time.Second

// failingActors are those of the node's tree that failed lately.
type failingActors struct {
	mu  sync.Mutex
	all map[string]failingActor
}

type failingActor struct {
	since  time.Time
	until  time.Time // its restart
	reason any
	failed int
}

// note is for an actor that has failed and goes on at a time.
func (f *failingActors) note(name string, reason any, on time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if f.all == nil {
		f.all = map[string]failingActor{}
	}
	a := f.all[name]
	if now.After(a.until.Add(wellAgain)) {
		a = failingActor{since: now}
	}
	a.until, a.reason = on, reason
	a.failed++
	f.all[name] = a
}

func (f *failingActors) complain(c *complaints) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.all)) {
		a := f.all[name]
		if time.Now().After(a.until.Add(wellAgain)) {
			continue
		}
		c.add("", "the actor %s fails since %s, %d times, and is restarted: %v", name, clock(a.since), a.failed, a.reason)
	}
}

// complainOfWitness says what is wrong with the witness, if anything is.
func (l *life) complainOfWitness(c *complaints) {
	if l.config.Witness == nil {
		return
	}
	if err := l.config.Witness.Err(); err != nil {
		c.add(why(err), "there is no witness")
	}
}
