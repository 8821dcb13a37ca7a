// Package runner decides what a node claims and runs handlers.
//
// A drive lists what is claimable, claims as much as there are free slots for
// and hands it to them. It never waits for a handler. An attempt is the run
// of one handler under one claim; what its end means for the process is a
// [verdict], a pure function of how it ended, which is then written to the
// registry under the claim.
//
// Nodes don't fight over processes: for each there is an order of those that
// can run it, which all of them know (see [Herd]). The first takes it at once,
// the others when they are idle and it did not for 200 ms.
//
// A handler's context is cancelled, with a cause, before the claim can pass
// to somebody else. Cancelled is not stopped: a handler that goes on is not
// stopped by anything here, but nothing that it returns is recorded any more,
// and [Attempt.Fence] lets systems outside etcd refuse it.
//
// The package knows nothing of actors: who drives, how often, and where
// attempts run is package actors'.
package runner
