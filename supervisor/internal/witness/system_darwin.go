package witness

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// macOS can't do the following, and this is what it means:
//
//   - No pidfd: the end of the socket is the node's end. Nobody else holds the other side, and the kernel closes it only
//     after the last thread has gone.
//   - No signal to a group but by its number: see the comment on group for what remains.
//   - No timer that ends a poll on time after a suspend: a poll ends at least once a second instead.
//   - No way to start this program but by its path: do not replace the file under a running node.

// Executable is this program.
func Executable() (string, error) { return os.Executable() }

// Now is a clock that goes on while the machine sleeps. It must be the clock of lease.Boottime; that package can't be
// imported here, because it brings etcd along.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // there is no reason to fail
	}
	return time.Duration(now.Nano())
}

// OpenPidfd returns -1.
func OpenPidfd(int) int { return -1 }

func openPidfd(int) int       { return -1 }
func killGroupOf(int) error   { return unix.ENOSYS }
func nameProcess(name string) {}

// WaitEnded returns once the child pid has ended. It does not reap it. (waitid would also return when it is stopped.)
func WaitEnded(pid int) error {
	queue, err := unix.Kqueue()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(queue) }()
	unix.CloseOnExec(queue)
	var change unix.Kevent_t
	unix.SetKevent(&change, pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	change.Fflags = unix.NOTE_EXIT
	for {
		n, err := unix.Kevent(queue, []unix.Kevent_t{change}, make([]unix.Kevent_t, 1), nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ESRCH), n > 0:
			return nil // ESRCH: it is a zombie, since only we could have reaped it
		case err != nil:
			return err
		}
	}
}

// alarm has nothing to offer but a poll's timeout.
type alarm struct{ fd int }

func newAlarm() alarm { return alarm{fd: -1} }

func (alarm) set(at time.Duration) time.Duration {
	if at == 0 {
		return -1
	}
	return min(untilDeadline(at), time.Second)
}

// Look asks for one process. The error is unix.ESRCH when there is none.
func Look(pid int) (Process, error) {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	switch {
	case err != nil:
		return Process{}, err
	case int(p.Proc.P_pid) != pid:
		return Process{}, unix.ESRCH
	}
	return toProcess(p), nil
}

func eachProcess(visit func(Process)) error {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	for i := range all {
		visit(toProcess(&all[i]))
	}
	return err
}

func toProcess(p *unix.KinfoProc) Process {
	const zombie = 5 // SZOMB of sys/proc.h
	return Process{
		PID:    int(p.Proc.P_pid),
		Parent: int(p.Eproc.Ppid),
		Group:  int(p.Eproc.Pgid),
		Start:  uint64(p.Proc.P_starttime.Nano()),
		Dead:   p.Proc.P_stat == zombie,
	}
}

// stash puts data where whoever is executed in this process's place finds it: into a pipe, so no more than that holds.
func stash(data []byte) (fd int, err error) {
	var pair [2]int
	if err := unix.Pipe(pair[:]); err != nil {
		return -1, err
	}
	if err = unix.SetNonblock(pair[1], true); err == nil {
		err = writeAll(pair[1], data)
	}
	_ = unix.Close(pair[1])
	return pair[0], err
}
