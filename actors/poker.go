package actors

import "sync/atomic"

// Poker wakes a node. It can be made before the node is, copied freely and
// used from any goroutine; a poke given before the node has started counts
// when it starts. The zero Poker does nothing.
type Poker struct{ bell *bell }

// NewPoker returns a Poker for a node that is made with it.
func NewPoker() Poker { return Poker{new(bell)} }

// Poke makes the node look at the queue now. It never blocks. Any number of
// pokes during a drive lead to one more drive.
func (p Poker) Poke() {
	if p.bell != nil {
		p.bell.ring()
	}
}

// bell is what outlives everything else of a node: the restarts of its
// runner, and the node when its host spawns it again.
type bell struct {
	// owed: a drive is owed to somebody. Set by pokes, cleared by each drive
	// before it lists.
	owed atomic.Bool
	// driving: a drive is on. Set by a RunnerActor, cleared by the drive's
	// goroutine. It stands here as two drives must never be on at once, not
	// even when the next life of a node begins while the last one ends.
	driving atomic.Bool

	runner atomic.Pointer[residence]
}

func (b *bell) ring() {
	if !b.owed.CompareAndSwap(false, true) {
		return // whoever set it has sent the message, or the runner looks when it starts
	}
	if r := b.runner.Load(); r != nil {
		r.send(wake{})
	}
}
