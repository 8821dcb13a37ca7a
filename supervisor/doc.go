// Package supervisor is a node: one participant that claims processes and runs
// them, as a supervised tree of actors in one process of the operating system.
//
//	node (a strategy)   starts the others, restarts those that fail
//	├─ runner           when to drive
//	├─ attempts         the slots that processes run in
//	├─ watcher          what changes in etcd
//	└─ session          the right to claim anything
//
// [Start] spawns a node as a root of an actor system; [Node.Props] are for
// spawning it under an actor of the host's own. Either way no fault of the
// node's ends the host's process or reaches the host's strategies: actors that
// fail are restarted with growing pauses, those that somebody stopped are
// spawned again, and if the node's own actor fails, the node ends, and says why
// in [Node.Err] and with [actors.NodeEnded].
//
// # The end
//
//	Stop ─────────────▶ no more drives ─▶ attempts may end ─▶ ctx ends
//	                                              │               │
//	its actor stopped, ──────────────────────────────────────▶ ErrShutdown ─▶ claims are
//	restarted, or given up                        │                           handed back
//	                                              └──────▶ session ends ◀─────────┘
//
// All of it is done by a goroutine that is no actor. So when the host's actor
// above the node dies, claims are handed back all the same.
//
// # The witness
//
// The function [Witness] puts a small process beside this one, and
// [Config.Witness] makes a node use it. When this process dies, however that
// comes about, the witness kills the commands which the node had started, and
// then says in etcd that the node is dead: others take over at once instead of
// when the TTL is over, and what must not run twice is abandoned with that
// evidence. When this process is frozen past the deadline of its session, the
// witness kills the commands, and nothing else. If the witness dies, the node
// puts another one in its place.
//
//	func main() {
//		witness, err := supervisor.Witness(supervisor.WitnessOptions{})
//		...
//		node, err := supervisor.Start(ctx, system, supervisor.Config{..., Witness: witness})
package supervisor
