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
// Cancelling one that waits, in pending or timer, ends it at once. For one
// that is claimed a request is put beside it, which the holder answers; while
// a request stands the process can't go back to wait, so it is never lost.
//
// # What it does not do
//
// It runs nothing, wakes nobody and has no timers: package runner decides
// what to claim and when, and package actors listens to etcd. It never
// compacts or defragments etcd.
package registry
