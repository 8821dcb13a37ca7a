//go:build linux || darwin

package witness

import (
	"errors"

	"golang.org/x/sys/unix"
)

// group is a process group that the witness watches.
//
// Its number, the pgid, is its leader's pid. The kernel gives that number to nobody else while the leader has not been
// reaped or any member is left. The node reaps a leader only after the group was confirmed to be gone and the witness
// was told to forget it. When the node is dead, however, init reaps the leader, and once the last member has gone too,
// another process may get the number and lead a group of that name. Two things keep us from killing that one:
//
//   - Linux since 6.9 signals a group through a pidfd of its leader, reaped or not: it reaches this group or nobody.
//   - Elsewhere a census comes before each blow. If the leader's pid now belongs to a process with another start time,
//     the group is gone. If it is nobody's, then those listed under the pgid are ours, since they kept the number from
//     being given away. What remains is a reuse within the microseconds between the census and the blow.
type group struct {
	number  int64
	pgid    int
	start   uint64 // of the leader
	session string
	pidfd   int // of the leader; -1 where there is none
	doomed  bool
	late    bool // doomed by its session's deadline
	empty   int  // censuses in a row that found nobody
}

// open reports false if the leader is not the process that the node meant. A zombie still is.
func (g *group) open() bool {
	g.pidfd = openPidfd(g.pgid)
	leader, err := Look(g.pgid)
	if err != nil || leader.Start != g.start || leader.Group != g.pgid {
		g.close()
		return false
	}
	return true
}

func (g *group) close() {
	if g.pidfd >= 0 {
		_ = unix.Close(g.pidfd)
		g.pidfd = -1
	}
}

// strike kills all members if that can be done without the risk of meeting others.
func (g *group) strike() (sent, gone bool) {
	if g.pidfd < 0 {
		return false, false
	}
	switch err := killGroupOf(g.pidfd); {
	case err == nil, errors.Is(err, unix.EPERM): // EPERM: there is a member, and it is another user's
		return true, false
	case errors.Is(err, unix.ESRCH):
		return true, true
	default: // an older kernel
		return false, false
	}
}

// gone judges the group by who is in it now, zombies included, and kills if nobody has done that exactly.
func (g *group) gone(members []Process, struck bool) bool {
	alive := false
	for _, p := range members {
		if p.PID == g.pgid && p.Start != g.start {
			return true
		}
		alive = alive || !p.Dead
	}
	if alive {
		g.empty = 0
		if !struck {
			_ = unix.Kill(-g.pgid, unix.SIGKILL) // whatever it says, the next census knows better
		}
		return false
	}
	g.empty++
	// Without a blow before it, a census can miss a child that was being born.
	return struck || g.empty >= 2
}
