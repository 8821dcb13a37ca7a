//go:build linux || darwin

package witness

import (
	"errors"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// watcher is the witness: one thread, one loop, all state.
type watcher struct {
	conn    int   // the socket to the node; -1 once it has ended
	node    int   // a pidfd of the node; -1 for none: then the socket's end is the node's end
	alarm   alarm // wakes the loop at a deadline
	in, out []byte

	deadlines map[string]time.Duration // by session
	groups    map[int64]*group         // by the node's number
	ending    bool                     // the node is gone or leaves: nothing may be left
	pause     time.Duration            // until what is doomed is looked at again
}

const (
	minPause = time.Millisecond
	maxPause = 100 * time.Millisecond
)

func watch(pidfd bool) (code int) {
	// Whoever means the node, a terminal or an init system, is not to end what proves the node's end.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGALRM,
		unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)
	nameProcess(name)
	w := &watcher{conn: connFD, node: -1, alarm: newAlarm(), deadlines: map[string]time.Duration{}, groups: map[int64]*group{}}
	if pidfd {
		w.node = nodeFD
	}
	if err := unix.SetNonblock(w.conn, true); err != nil {
		return 2 // started by hand
	}
	w.tell(WordHello, Version)
	defer func() {
		if fault := recover(); fault != nil {
			w.confess(fault)
			code = 2
		}
	}()
	w.run()
	return 0
}

// confess tells the node of a fault of ours. The groups live on: the node learns of it at once, and decides.
func (w *watcher) confess(fault any) {
	text := "panic"
	switch v := fault.(type) {
	case error:
		text = v.Error()
	case string:
		text = v
	}
	w.tell(WordFault, text)
	w.flush()
}

// run returns when the node has ended and nothing is left of what it started.
func (w *watcher) run() {
	for {
		w.flush()
		nodeEnded := w.wait()
		// What the node wrote before it ended is heard first: a group that it told of last is ended like the others.
		w.listen()
		w.flush() // who asked is not to wait for a census
		if nodeEnded || w.conn < 0 && w.node < 0 {
			w.ending = true
		}
		w.doom(Now())
		w.sweep()
		if w.ending && len(w.groups) == 0 {
			return
		}
	}
}

// wait returns when there is something to do, and whether the node has ended.
func (w *watcher) wait() (nodeEnded bool) {
	fds := make([]unix.PollFd, 0, 3)
	if w.conn >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(w.conn), Events: unix.POLLIN})
		if len(w.out) > 0 {
			fds[0].Events |= unix.POLLOUT
		}
	}
	// Once seen, the node's end would only keep us from pausing.
	if w.node >= 0 && !w.ending {
		fds = append(fds, unix.PollFd{Fd: int32(w.node), Events: unix.POLLIN})
	}
	timeout := w.alarm.set(w.nextDeadline())
	if w.alarm.fd >= 0 {
		fds = append(fds, unix.PollFd{Fd: int32(w.alarm.fd), Events: unix.POLLIN})
	}
	if w.dooms() {
		timeout = w.pause
	}
	if _, err := unix.Poll(fds, milliseconds(timeout)); err != nil {
		return false // interrupted: the loop looks at everything anyway
	}
	for _, fd := range fds {
		nodeEnded = nodeEnded || w.node >= 0 && fd.Fd == int32(w.node) && fd.Revents != 0
	}
	return nodeEnded
}

// milliseconds rounds up, so that a deadline has passed when the poll returns. Negative stays: for ever.
func milliseconds(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

// untilDeadline is negative for none.
func untilDeadline(at time.Duration) time.Duration {
	if at == 0 {
		return -1
	}
	return max(at-Now(), 0)
}

// listen hears all that the node has said.
func (w *watcher) listen() {
	buf := make([]byte, 4<<10)
	for w.conn >= 0 {
		n, err := unix.Read(w.conn, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil || n == 0:
			_ = unix.Close(w.conn)
			w.conn, w.out = -1, nil
			return
		}
		w.in = append(w.in, buf[:n]...)
		for {
			words, rest, whole := cutLine(w.in)
			if !whole {
				break
			}
			w.in = rest
			w.heed(words)
		}
	}
}

// tell never blocks: a frozen node reads nothing.
func (w *watcher) tell(words ...string) {
	if w.conn >= 0 {
		w.out = append(w.out, Line(words...)...)
	}
}

func (w *watcher) flush() {
	for w.conn >= 0 && len(w.out) > 0 {
		n, err := unix.Write(w.conn, w.out)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			w.out = nil // the socket's end is noticed when it is read
		default:
			w.out = w.out[n:]
		}
	}
}
