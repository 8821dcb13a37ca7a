// Package lease owns a node's session: one etcd lease, the one key that lives
// on it, and the knowledge of how long both can be trusted.
//
// # What a session is
//
// [Open] grants a lease and, in one transaction, puts the session's key on it
// and the node's record on no lease. From then on the session renews the lease
// until [Session.Close]. Everything that the node does for a claim carries
// [Session.Guard], two conditions under which etcd itself refuses what an
// ended session sends:
//
//	CreateRevision(session key) = mine   not deleted, and not put again after that
//	LeaseValue(session key)     = mine   not detached by a plain put
//
//	          Grant, Txn                 Close, Abandon
//	Open ───────────────────▶ alive ───────────────────▶ closed (ErrClosed)
//	                          │   ▲
//	                          └───┘ renewed: Deadline moves, Renewed rings
//	                          │
//	                          │ the deadline passed without an answer
//	                          │ etcd: the lease is gone
//	                          │ etcd: the key is gone, put again, or detached
//	                          │ etcd: another cluster, or a history that went back
//	                          ▼
//	                        lost (ErrLost)
//
// Both ends are final: a session that was lost is never found again, even if a
// late answer says that its lease was renewed. A node opens another one.
//
// # The local deadline
//
// The guard protects etcd. It does not protect the world outside: a node that
// cannot reach etcd must stop by itself, and before etcd passes its claims on.
// So a session ends at
//
//	the time before the last successful renewal was sent + TTL - margin
//
// Etcd counts the TTL from when it handles the renewal, which is later than
// that, so the session is over here before it is over there, while the
// operating system lets this process run and clock rates agree within the
// margin. The margin is a tenth of the TTL, and 200 ms at least. It is not for
// the clocks, whose rates differ by less than a thousandth; it is the time in
// which a timer fires late, contexts are cancelled and handlers hear of it.
//
// The deadline stands on two clocks, and the earlier counts. Go's monotonic
// clock stops while the machine is suspended, and CLOCK_BOOTTIME does not.
// [Session.Alive] reads both, so a process that was frozen gets the right
// answer before any timer has had the time to fire.
//
// # Why not concurrency.Session
//
// The session of etcd's client swallows the answers to its renewals. Neither
// when they were asked nor what they said can be had, and its Done closes when
// the client gives the lease up, after etcd may have expired it. It does not
// notice at all that its key was deleted or detached. Here each renewal is one
// KeepAliveOnce with a timeout of its own, timed before it is sent. KeepAliveOnce
// repeats its request when etcd says "unavailable"; the time that counts stays
// that before the first of them, which can only be too early. A read of the
// key, under the guard, follows each renewal.
//
// # Death
//
// A lapsed lease says nothing about the process that held it. [Identity] names
// a process so that another one on the same machine can ask the kernel whether
// it has ended: see [Identity.Gone].
//
// # What is not promised
//
// That work has stopped when Done closes: it was told to. And nothing is
// promised about a process that is frozen between asking Alive and acting on
// the answer; for that there are the guard and the fence.
package lease
