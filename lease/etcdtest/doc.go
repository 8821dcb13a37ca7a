// Package etcdtest gives tests a real etcd, embedded in the test process.
//
// [Client] and [Namespace] are for tests that only need an etcd: all tests of
// a package share one server, which starts with the first of them and is
// closed by [Main]. [New] is for a test that stops, restarts or starves its
// server.
//
// The servers listen on a unix socket and do not fsync, so a start takes a
// fraction of a second and a write tens of microseconds. Everything else is as
// in production: the lessor's real clock (the smallest TTL is 2 s), elections,
// quotas, watches. What survives Stop and Restart is what etcd wrote, not
// what a power cut would have left.
//
// It is for tests alone: it links the etcd server, which nothing else outside
// the daemon may.
package etcdtest
