package witness

import (
	"errors"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Linux can do all that the witness needs: pidfds since 5.3, signals to a group through one since 6.9, timers that
// count suspended time. It needs /proc.

// Executable is this program, also when its file has been replaced or removed.
func Executable() (string, error) { return "/proc/self/exe", nil }

// Now is CLOCK_BOOTTIME, which goes on while the machine is suspended. It must be the clock of lease.Boottime; that
// package can't be imported here, because it brings etcd along.
func Now() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic(err) // since 2.6.39 there is no reason to fail
	}
	return time.Duration(now.Nano())
}

// OpenPidfd returns a pidfd, or -1 on kernels and in sandboxes that know none.
func OpenPidfd(pid int) int { return openPidfd(pid) }

func openPidfd(pid int) int {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1
	}
	return fd
}

func killGroupOf(leader int) error {
	return unix.PidfdSendSignal(leader, unix.SIGKILL, nil, unix.PIDFD_SIGNAL_PROCESS_GROUP)
}

// nameProcess: without it ps shows "exe".
func nameProcess(name string) {
	text, err := unix.ByteSliceFromString(name)
	if err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&text[0])), 0, 0, 0)
		runtime.KeepAlive(text)
	}
}

// WaitEnded returns once the child pid has ended. It does not reap it.
func WaitEnded(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// alarm is a timer on the clock of Now: a poll's timeout would stand still during suspend.
type alarm struct {
	fd int // -1 if there is no timer: then set's answer has to do
	at time.Duration
}

func newAlarm() alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		fd = -1
	}
	return alarm{fd: fd}
}

// set makes the descriptor readable at that time (0: never), and no longer because of an earlier one. It returns how
// long a poll may last at the most; negative is for ever.
func (a *alarm) set(at time.Duration) time.Duration {
	if a.fd < 0 {
		return untilDeadline(at)
	}
	if at != a.at {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(at))}
		if err := unix.TimerfdSettime(a.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
			return untilDeadline(at)
		}
		a.at = at
	}
	return -1
}

// stash puts data where whoever is executed in this process's place finds it.
func stash(data []byte) (fd int, err error) {
	fd, err = unix.MemfdCreate("drover-wills", 0)
	if err != nil {
		return -1, err
	}
	if err = writeAll(fd, data); err == nil {
		_, err = unix.Seek(fd, 0, 0)
	}
	return fd, err
}
