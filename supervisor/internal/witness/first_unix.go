//go:build linux || darwin

package witness

import (
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SocketVariable tells a node, by its environment, which descriptor is the socket to the witness that has started it.
const SocketVariable = "DROVER_WITNESS_SOCKET"

// Precede makes this process, which is to be process 1 of a PID namespace, a witness, and a child of it the node, with
// these arguments and the present environment. The death of process 1 takes all others of the namespace along, so no
// witness of it could outlive it. It returns only if that can't be done.
func Precede(args []string) error {
	program, err := Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(program, append([]string{name, first}, args...), os.Environ())
}

// child is the node of a witness that is its parent.
type child struct {
	pid    int
	reaped atomic.Bool
	code   chan int // of capacity 1: as a shell reports it
}

// forwarded are the signals that mean the node, whoever gets them.
func forwarded() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2}
}

// atop is a witness that starts the node itself, passes signals on to it, reaps whatever is left to process 1, and exits
// as the node does.
func atop(args []string) (code int) {
	runtime.GOMAXPROCS(1)
	// All are asked for before there is a child whose end could be missed.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, append(forwarded(), unix.SIGWINCH, unix.SIGCONT, unix.SIGCHLD)...)
	signal.Ignore(unix.SIGALRM, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	c := &child{code: make(chan int, 1)}
	conn, err := c.start(args)
	if err != nil {
		//nolint:forbidigo // this is in front of main
		_, _ = os.Stderr.WriteString("drover: the node can't be started: " + err.Error() + "\n")
		return exitFault
	}
	go c.tend(signals)
	_ = os.Chdir("/") // so that it keeps no file system from being unmounted
	w := newWatcher(conn)
	w.child, w.node = c, openPidfd(c.pid)
	return w.watch()
}

// start starts the node in a process group of its own, which has the terminal if there is one: what is typed there then
// reaches the node once, and not by way of this process too.
func (c *child) start(args []string) (conn int, err error) {
	program, err := Executable()
	if err != nil {
		return -1, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(pair[0])
	unix.CloseOnExec(pair[1])
	_, err = unix.IoctlGetInt(0, unix.TIOCGPGRP)
	c.pid, err = syscall.ForkExec(program, args, &syscall.ProcAttr{
		Env:   append(os.Environ(), SocketVariable+"="+strconv.Itoa(connFD)),
		Files: []uintptr{0, 1, 2, uintptr(pair[1])},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Foreground: err == nil},
	})
	_ = unix.Close(pair[1])
	return pair[0], err
}

// tend passes signals on and reaps, until the process ends.
func (c *child) tend(signals <-chan os.Signal) {
	for s := range signals {
		if s == unix.SIGCHLD {
			c.reap()
		} else if number, ok := s.(syscall.Signal); ok && !c.reaped.Load() {
			_ = unix.Kill(c.pid, number) // it is ours, dead or alive, until it is reaped here
		}
	}
}

// reap takes all who have ended: signals of one kind that come together are one.
func (c *child) reap() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil || pid <= 0:
			return
		case pid == c.pid:
			c.reaped.Store(true)
			const bySignal = 128
			if status.Signaled() {
				c.code <- bySignal + int(status.Signal())
			} else {
				c.code <- status.ExitStatus()
			}
		}
	}
}

// endAll kills whatever is left in the PID namespace, which ends with process 1 anyway: commands that made sessions of
// their own are to be gone before others are told that the node is dead.
func (c *child) endAll() {
	for begun := Now(); unix.Kill(-1, unix.SIGKILL) == nil && Now()-begun < time.Second; {
		time.Sleep(minPause) //nolint:forbidigo // nothing tells of the end of who is no child
	}
}

// exitCode waits until the node, which has ended, is reaped.
func (c *child) exitCode() int { return <-c.code }
