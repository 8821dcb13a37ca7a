// Package actors is what of a node runs as actors: who decides when a drive is
// made, where attempts run, and who keeps the session and the watch.
//
//	runner     RunnerActor    Poke, Tick -> one drive at a time
//	attempts   AttemptsActor  one SlotActor for each slot, reused
//	session    SessionActor   opens a session, and the next one when it is lost
//	watcher    WatcherActor   pending/, timer/, session/, request/, poke/ -> pokes and cancels
//
// # What is outside the actors
//
// An actor can be restarted at any message, and one that was stopped is
// spawned again. So what must survive stands outside of them, in a [Drives], a
// [Slots], a [Sessions], a [Watch] or a [Desk], and the actors' Props capture it. A
// Receive changes state and sends; all work is done in goroutines that belong
// to that state, not to the actor, and go on while it is restarted. Whatever
// reaches an actor as a message is only a wake-up: nothing depends on its
// arrival that is not found again when the actor starts.
//
// # Pokes
//
// There is one flag, owed. A poke sets it, and only the poke that set it sends
// a message. Every drive clears it before it lists. So any number of pokes
// during a drive lead to exactly one more, and what was poked for after the
// list was read is never lost.
//
// # Slots
//
// An attempt that waits for another process gives its slot back meanwhile, see
// [runner.Await], and takes one again before it goes on. Whoever wants its slot
// back comes before what is claimed. A claim may come too late for that, as a
// drive counts slots before it claims: then it waits, and begins when there is
// room. So there are never more at work than slots, and a parent never waits
// for a child that it keeps from running.
//
// # Handlers that are actors
//
// With [HandlerFromProps], each attempt has an actor of its own:
//
//	attempts ─ slot ─ the user's actor ─ its children
//
// which is given an [*Attempt], answers it, and has terminated, with its
// children, before the outcome is written.
//
// # What is not promised
//
// That a handler stops when its context is cancelled, or a
// [runner.RunHandle] when its drive's is: Go can't stop a goroutine. Its slot,
// or the turn to drive, stays taken until it returns.
package actors
