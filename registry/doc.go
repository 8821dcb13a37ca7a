// Package registry keeps the rows of processes in etcd and makes their legal
// transitions. It is the one package that knows how anything is laid out
// there. The rows that have not ended are the work queue.
//
// # What it promises
//
// Every transition is one etcd transaction, conditioned on what was read: a
// claim on the pending key and on the claimer's session, an outcome on the
// claim. So a process has one outcome at the most, whatever is paused, cut
// off, sent twice or answered late. A transition that was not answered is
// sent again until the answer is definite.
//
// A process that has not ended has exactly one place:
//
//	          start                     claim, adopt
//	(absent) ───────► pending ◄──┐  ──────────────────► claim ──► ended
//	   │                 ▲       │        requeue          │
//	   │ start, due      │ mature└─────────────────────────┤
//	   └──────────────► timer ◄────────────────────────────┘
//	                                requeue, due
//
// or is parked: external ones from the start, others once they were handed off,
// until whoever does them outside says how they ended. [Registry.Reopen] begins
// the next series of one that has ended.
//
// Cancelling one that waits, in pending or timer, ends it at once. For one
// that is claimed or parked a request is put beside it; while a request stands
// the process can't go back to wait, so it is never lost.
//
// # What recovery may do
//
// When the holder's session has ended, a claim is an orphan. [Registry.Adopt]
// decides by the disposition: rerunnable work is taken over, owner-bound work
// is never run again, and becomes abandoned on proof of the holder's death or
// by [Registry.Abandon]. The evidence stands on the row.
//
// # How it is sent
//
// Sessions say what they claim, and that they drain: [Registry.Survey] and
// [Registry.Follow] tell it, for nodes that share work out among themselves.
// Nothing here depends on how they do.
//
// Transitions that are made at the same time travel in one request, each a
// transaction of its own in it. [Registry.Wait], [Registry.List] and
// [Registry.Changes] are the ways to see what became of processes: by one
// watch for all who wait, in pages of one revision, and as a feed with a
// cursor.
//
// # What it does not do
//
// It runs nothing, wakes nobody and has no timers: package runner decides
// what to claim and when, and package actors listens to etcd. It never
// compacts or defragments etcd.
package registry
