// Package etcdserver runs the etcd that drover brings along: one member, in
// this process, with its data in the data directory.
//
// # What it owns
//
// A data directory looks like this:
//
//	lock    held (flock) by the process that serves the directory; its content
//	        says who that is, in which state, and where it serves
//	etcd/   etcd's own data
//
// and while it is served there is a private directory with a few sockets under
// the temporary one, for the clients of this machine.
//
// # What it promises
//
//   - One process at a time. The lock is taken before anything of etcd touches
//     the directory (etcd itself would hang on another process's lock), and given
//     back after the last of it is closed. Who comes second gets an [*InUseError]
//     within two seconds. A killed process holds no lock, so nothing has to be
//     cleaned up by hand, and what it wrote into the file is not believed.
//   - What was acknowledged is on disk: fsync stays on.
//   - A client command finds a serving process by [Living].
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
