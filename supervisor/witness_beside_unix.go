//go:build linux || darwin

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// witnessPatience is how long a living witness may take for an answer. It does nothing but answer, so whatever takes
// longer is a machine without memory, or somebody who stopped it.
const witnessPatience = 5 * time.Second

// beside is one witness: once that process is gone, so is this. Its methods may be called by any goroutine.
//
// The process is this program, executed again, so it needs nothing to be installed; its package witness takes over
// before main. It runs in a session of its own, out of a terminal's reach, and ignores the signals by which people and
// init systems end programs. What ends a whole cgroup ends it too.
type beside struct {
	process  *os.Process // nil if it is not our child but our parent
	identity lease.Identity
	conn     *os.File
	charges  *charges
	outbox   *outbox
	logger   *zap.Logger

	leaving atomic.Bool   // close was called
	ready   chan struct{} // a doorbell, rung by run
	done    chan struct{} // closed by run, after err was set
	err     error
	fault   string // run only
	working sync.WaitGroup
}

func newBeside(c *charges, log *zap.Logger) *beside {
	return &beside{
		charges: c, outbox: newOutbox(), logger: log,
		ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// begin returns once the witness is ready. It is not told anything yet.
func (w *beside) begin(ctx context.Context) error {
	w.working.Go(w.run)
	w.working.Go(w.post)
	if err := w.greet(ctx); err != nil {
		return errors.Join(err, w.end())
	}
	return nil
}

// adopt takes up the conversation with the witness that has started this process, over that descriptor.
func (w *beside) adopt(socket string) error {
	fd, err := strconv.Atoi(socket)
	if err != nil {
		return fmt.Errorf("%s is %q, which is no descriptor", witness.SocketVariable, socket)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("%s: %w", witness.SocketVariable, err)
	}
	w.conn = os.NewFile(uintptr(fd), "witness")
	return nil
}

func (w *beside) spawn() error {
	program, err := witness.Executable()
	if err != nil {
		return err
	}
	ours, theirs, err := socketPair("witness")
	if err != nil {
		return err
	}
	defer theirs.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	defer null.Close()
	files := []*os.File{null, null, null, theirs}
	// Opened here and not there: the witness might look for us when we are gone, and find somebody else.
	pidfd := witness.OpenPidfd(os.Getpid())
	if pidfd >= 0 {
		self := os.NewFile(uintptr(pidfd), "pidfd")
		defer self.Close()
		files = append(files, self)
	}
	w.process, err = os.StartProcess(program, witness.Args(pidfd >= 0), &os.ProcAttr{
		Dir:   "/", // so that it keeps no file system from being unmounted
		Env:   witness.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	w.conn = ours
	return nil
}

// greet waits until the witness is ready. Not before has it set up the signals that it ignores.
func (w *beside) greet(ctx context.Context) error {
	select {
	case <-w.ready:
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(witnessPatience):
		return ErrWitnessSilent
	}
	pid := os.Getppid()
	if w.process != nil {
		pid = w.process.Pid
	}
	var err error
	w.identity, err = lease.Of(pid)
	return err
}

// close ends the witness, which first kills what still runs. If that won't die before ctx ends, close kills the witness
// itself and returns the cause. Closing a witness that is gone is no error.
func (w *beside) close(ctx context.Context) error {
	w.leaving.Store(true)
	w.outbox.add(witness.Line(witness.WordLeave))
	var err error
	select {
	case <-w.done:
	case <-ctx.Done():
		err = errors.Join(fmt.Errorf("supervisor: close the witness: %w", context.Cause(ctx)), w.end())
	}
	w.working.Wait()
	return err
}

// end kills the witness: it is our child, and run alone reaps it, so its pid can't be another's. A parent is hung up on.
func (w *beside) end() error {
	err := w.kill()
	w.working.Wait()
	return err
}

func (w *beside) kill() error {
	if w.process == nil {
		return w.conn.Close()
	}
	if err := w.process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// run hears the witness until it ends, and reaps it.
func (w *beside) run() {
	lines := bufio.NewScanner(w.conn)
	for lines.Scan() {
		w.heed(strings.Fields(lines.Text()))
	}
	if !w.leaving.Load() {
		// Its socket has ended or made no sense. Should it live, nobody can talk to it any more.
		_ = w.kill() // it fails if it is dead, and then all is well
	}
	var state *os.ProcessState
	var err error
	if w.process != nil {
		state, err = w.process.Wait()
	}
	switch {
	case err != nil:
		w.err = fmt.Errorf("%w: %w", ErrWitnessGone, err)
	case w.fault != "":
		w.err = fmt.Errorf("%w: %s", ErrWitnessGone, w.fault)
	case !w.leaving.Load():
		w.err = fmt.Errorf("%w: %v", ErrWitnessGone, state)
	}
	w.charges.leave(w.outbox)
	close(w.done)
	w.outbox.close()
	_ = w.conn.Close() // nothing can be lost in it any more
}

func (w *beside) heed(words []string) {
	if len(words) < 2 {
		return
	}
	number, _ := strconv.ParseInt(words[1], 10, 64) // 0, which no group has, if it is none
	switch words[0] {
	case witness.WordHello:
		if words[1] != witness.Version {
			w.fault = "it is of another version than this process"
			_ = w.kill() // it has nothing to do yet
			return
		}
		select {
		case w.ready <- struct{}{}:
		default:
		}
	case witness.WordAck:
		w.charges.answer(number, nil)
	case witness.WordRefused:
		w.charges.answer(number, fmt.Errorf("%w: %s", ErrWitnessRefused, strings.Join(words[2:], " ")))
	case witness.WordKilled:
		if c, ok := w.charges.find(number); ok {
			w.logger.Warn("the witness killed a command: its session's deadline had passed",
				zap.Int("pgid", c.pgid), zap.String("session", c.session))
		}
	case witness.WordFault:
		w.fault = strings.Join(words[1:], " ")
	}
}

// post sends what the outbox holds, so that nobody has to wait for a witness that does not read.
func (w *beside) post() {
	for {
		lines, open := w.outbox.take()
		if !open {
			return
		}
		// An error here means that the witness is gone, which run sees too.
		_, _ = w.conn.Write(lines)
	}
}

// socketPair returns two ends of a stream, neither of which is inherited. Ours can be read with deadlines, theirs
// blocks, as a new process expects.
func socketPair(name string) (ours, theirs *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), name)
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, theirs.Close(), unix.Close(fds[0]))
	}
	return os.NewFile(uintptr(fds[0]), name), theirs, nil
}
