package actors

import (
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// Tick makes a RunnerActor drive, with the reason "poll", unless a drive is
// on. It sends them to itself; there is no need to send one.
type Tick struct{}

// Drove answers a Poke whose sender is on the same actor system, after a drive
// that began when the Poke was there has ended.
type Drove struct {
	Reason  runner.Reason
	Claimed int   // processes that were handed to slots of this node
	Err     error // why the drive failed; ErrStopped if none is made any more
}

// NodeReady is published on the actor system's EventStream whenever a node has
// opened a session: first when it is ready, then after each session that was
// lost.
type NodeReady struct {
	Node    string
	Session string
}

// SessionLost is published when a node has lost its session. Its attempts were
// cancelled; it opens another one.
type SessionLost struct {
	Node    string
	Session string
	Err     error
}

// ProcessEnded is published when a node has ended a process, after the outcome
// was written, if its Config asks for it. Processes that other nodes end, or
// that are ended from outside while nobody runs them, are not told of; watch
// the registry for those.
type ProcessEnded struct {
	Node    string
	Session string
	ID      string
	Kind    string
	Queue   string
	Attempt int
	Fence   int64
	Outcome registry.Outcome
}

// NodeEnded is published when a node is wholly closed. Err is why it ended,
// nil after a stop that left nothing behind.
type NodeEnded struct {
	Node string
	Err  error
}

// The rest is between the actors of this package. They are wake-ups: whoever
// gets one looks at the state. They may be lost, so nobody need read of it in
// a log.
type (
	wake     struct{}                   // to a runner: something is owed
	tick     struct{ turn int }         // to a runner: the ticker's
	drove    struct{}                   // to a runner: a drive has ended
	handed   struct{}                   // to attempts: a claim waits for a slot
	enter    struct{ attempt *attempt } // to a slot
	vacated  struct{ slot string }      // to attempts: the slot can be used again
	perform  struct{ act *act }         // to a slot: spawn the actor of an attempt
	loopDied struct{ err error }        // to the actor that started a loop
)

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (wake) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (tick) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (drove) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (handed) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (enter) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (vacated) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (loopDied) IgnoreDeadLetterLogging() {}

// IgnoreDeadLetterLogging marks the message for Proto.Actor.
func (perform) IgnoreDeadLetterLogging() {}
