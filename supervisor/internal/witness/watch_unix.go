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
	wills     map[string]will          // by session
	child     *child                   // the node, if it is a child of this process; else nil
	dead      bool                     // the node is: nothing may be left
	leaving   bool                     // the node leaves: likewise
	pause     time.Duration            // until what is doomed is looked at again
}

const (
	minPause = time.Millisecond
	maxPause = 100 * time.Millisecond
)

// exitFault is the exit code of a witness that had to give up.
const exitFault = 2

// beside watches the process that has started this one.
func beside(pidfd bool) (code int) {
	// Whoever means the node, a terminal or an init system, is not to end what proves the node's end.
	signal.Ignore(append(forwarded(), unix.SIGALRM, unix.SIGPIPE, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU)...)
	w := newWatcher(connFD)
	if pidfd {
		w.node = nodeFD
	}
	return w.watch()
}

func newWatcher(conn int) *watcher {
	return &watcher{
		conn: conn, node: -1, alarm: newAlarm(),
		deadlines: map[string]time.Duration{}, groups: map[int64]*group{}, wills: map[string]will{},
	}
}

// watch returns the exit code once there is nothing to watch any more; or never, if there is something to be said in
// etcd then.
func (w *watcher) watch() (code int) {
	nameProcess(name)
	if err := unix.SetNonblock(w.conn, true); err != nil {
		return exitFault // started by hand
	}
	w.tell(WordHello, Version)
	defer func() {
		if fault := recover(); fault != nil {
			w.confess(fault)
			code = exitFault
			if w.child != nil {
				// As process 1 it would take the node along. This way the node starts another witness beside itself.
				w.hangUp()
				code = w.child.exitCode()
			}
		}
	}()
	w.run()
	if w.child != nil {
		code = w.child.exitCode()
	}
	if w.dead && len(w.wills) > 0 {
		if w.child != nil && unix.Getpid() == 1 {
			w.child.endAll()
		}
		w.postLetters(time.Now())
		w.executeWills(code)
	}
	return code
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
			w.dead = true
		}
		w.doom(Now())
		w.sweep()
		if w.ending() && len(w.groups) == 0 {
			if w.dead || w.child == nil {
				return
			}
			w.hangUp() // whoever waits for the end of the conversation is not to wait for that of the node
		}
	}
}

// ending: nothing of what the node has started may be left.
func (w *watcher) ending() bool { return w.dead || w.leaving }

func (w *watcher) hangUp() {
	if w.conn >= 0 {
		_ = unix.Close(w.conn)
		w.conn, w.out = -1, nil
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
	if w.node >= 0 && !w.dead {
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
			w.hangUp()
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
