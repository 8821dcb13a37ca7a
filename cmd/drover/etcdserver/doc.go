// Package etcdserver runs the etcd that drover brings along: one member, in
// this process, with its data in the data directory.
//
// # What it owns
//
// A data directory looks like this:
//
//	lock     held (flock) by the process that serves the directory; its content
//	         says who that is, in which state, and where it serves
//	sharers  held, together, by all who take over from the one that serves
//	etcd/    etcd's own data
//
// and while it is served there is a private directory with a few sockets under
// the temporary one, for the clients of this machine.
//
// # What it promises
//
//   - One process serves at a time. The lock is taken before anything of etcd
//     touches the directory (etcd itself would hang on another process's lock), and
//     given back after the last of it is closed. A killed process holds no lock, so
//     nothing has to be cleaned up by hand, and what it wrote into the file is not
//     believed.
//   - Any number may use it. [Join] serves, or uses what another one serves and
//     takes over when that one ends; its client stays connected throughout. [Start]
//     only serves: who comes second gets an [*InUseError] within two seconds.
//   - What was acknowledged is on disk: fsync stays on.
//   - A client command finds who serves, and whoever serves next, by [Visit].
//   - A holder that starts or stops is waited for, for 30 s. One that is frozen is
//     an error within two seconds, which names it.
//   - Stopping takes milliseconds, whatever streams other processes have open.
//   - A start that was killed at any moment does not keep the next one from
//     starting, the very first one included.
//   - Where etcd would end the process (a damaged log, a disk that fails), Start
//     returns a [*FatalError] or [Server.Err] delivers one.
//
// # What it does not
//
// It knows no authentication and no TLS: who reaches the TCP address or may open
// the socket may do everything. It is one member, never a cluster. A panic of
// etcd's that does not go through its logger still ends the process, as etcd
// runs goroutines of its own.
package etcdserver
