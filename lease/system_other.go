//go:build !linux

package lease

import "errors"

// What other systems than Linux cannot do here:
//
//   - Prove that a process has ended. Gone is always false, so that a session
//     ends by being closed or by its TTL, and an owner-bound process is
//     abandoned by request. A wrong proof would run work twice, and so a
//     system gets its own file only when its answers are as certain.
//   - Notice a suspend (except Darwin: boottime_darwin.go). Boottime is the
//     monotonic clock of this process, and is of no use to another one. A
//     machine that wakes up believes in its session for what was left of it,
//     until the first renewal or transaction is refused. The guard holds all
//     the while; only work outside etcd can overlap with an adopter's.

func kernel() (boot, namespace string) { return "", "" }

func startTime(int) (uint64, error) {
	return 0, errors.New("start times are not known on this system")
}

func (i Identity) ended() (evidence string, gone bool) { return "", false }
