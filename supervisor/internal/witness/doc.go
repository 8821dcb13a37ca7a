// Package witness is the small process beside a node that ends what the node has started when the node can't any more.
// It is the node's own program, started again under another name; package supervisor starts it and has the node's half
// of the conversation.
//
// It knows the process groups that a node has started and the local deadline of each of the node's sessions, and it
// acts on two events only: the node's end, seen on a pidfd that the node itself opened, so that a reused pid can't
// deceive it, and a deadline that passes, which is how a frozen node looks. Then it kills the groups concerned, as often
// as it takes, and confirms that nothing of them is left. After the node's end it exits, and not before the last
// process is gone: its exit is a part of the proof that the node is dead. A process that the kernel won't let die keeps
// it waiting, which is the honest answer.
//
// It takes over in an init function, as package gate does and for the same reason: it stays at 10 MiB, most of them
// shared with the node, instead of 17. That is also why its protocol is of plain lines: encoding/json and fmt would move
// this package behind much of what it wants to be in front of.
//
// When the node has died it then executes the wills that the node has left with it, one for each session: they say in
// etcd that the node is dead. For that it enters the whole program, by executing it once more in place, see package
// undertaker. That takes a tenth of a second, so a will may come with a letter: all that is to be sent to etcd, down to the
// last byte. It is posted first, and the will is executed only if etcd did not agree. A node that leaves revokes its will
// first, and one that is frozen is not dead.
//
// # Process 1
//
// The death of process 1 of a PID namespace takes all others along, so no witness could outlive a node that is process 1
// of its container. There the witness is process 1, and the node its child: see Precede. It also does what is asked of
// process 1: it passes signals on to the node, reaps orphans, and exits as the node does. Its death is everybody's, so
// whoever kills it, or the container, ends without a word: then the kernel and the TTL tell.
//
// # Limits
//
// A process that makes its own session or group leaves the command's group, and nobody follows it. When node and witness
// are killed at the same instant, the kernel kills the commands themselves (on Linux) but not their children. What a
// system can't do is said in its file, system_<name>.go.
package witness
