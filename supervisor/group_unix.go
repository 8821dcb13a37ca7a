//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/drover-run/drover/supervisor/internal/gate"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// Group is a running command and all that it has started, as far as it stays in its process group. Its methods may be
// called by any goroutine.
//
// The group's number is its leader's pid, which the kernel gives to nobody else while the leader has not been reaped.
// So the order at the end is: the leader ends, and stays a zombie; the rest of the group is killed, and seen to be gone;
// the witness is told to forget the group; the leader is reaped. Whoever signals the group before that hits nobody else.
type Group struct {
	charges *charges
	logger  *zap.Logger
	conn    *os.File // our end of the gate's socket
	pid     int      // of the leader, and so of the group
	number  int64    // the witness's
	answer  <-chan error
	started chan error    // of capacity 1: set by live when all above are
	hurry   chan struct{} // a doorbell: killed was set
	done    chan struct{} // closed by live
	state   *os.ProcessState

	mu       sync.Mutex // guards all below
	ended    bool       // the leader has
	reaped   bool       // and the number may be another's
	stopping *time.Timer
	killed   bool
}

// Start runs a command alone in a process group that the witness watches. It returns when the command runs; that is
// when the system has executed its file. The group ends with its leader, with this process, and with its session. If
// ctx ends first the command has not run, and the cause is returned; afterwards ctx means nothing.
//
// If the witness has just died, Start waits for the next one. The errors are ErrWitnessGone, when there was none for 5
// seconds, ErrWitnessRefused and ErrWitnessSilent; *GateError if the command can't be executed; and others for want of
// processes, memory or descriptors.
func (l *WitnessLink) Start(ctx context.Context, c GroupCommand) (*Group, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	const tries = 3 // witnesses that die one after the other are not a matter of bad luck
	for try := 1; ; try++ {
		w, err := l.await(ctx)
		if err != nil {
			return nil, err
		}
		g, err := w.start(ctx, c)
		silent := errors.Is(err, ErrWitnessSilent)
		if silent {
			_ = w.end() // one that does not answer is none, and is replaced
		}
		if try == tries || !silent && !errors.Is(err, ErrWitnessGone) {
			return g, err
		}
	}
}

func (w *beside) start(ctx context.Context, c GroupCommand) (*Group, error) {
	ours, theirs, err := socketPair("gate")
	if err != nil {
		return nil, fmt.Errorf("start a gate: %w", err)
	}
	defer ours.Close()
	g := &Group{
		charges: w.charges,
		logger:  w.logger,
		conn:    ours,
		started: make(chan error, 1),
		hurry:   make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	go g.live(c, theirs)
	if err := <-g.started; err != nil {
		return nil, fmt.Errorf("start a gate: %w", err)
	}
	kill := context.AfterFunc(ctx, func() { g.Stop(0) })
	err = w.await(ctx, g.answer)
	// Once the order is given the command may have begun by the time that ctx ends. Then it is the caller's to stop it, in
	// the way in which a command is stopped.
	if !kill() {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = g.open(c)
	}
	if err != nil {
		g.Stop(0)
		<-g.done
		return nil, err
	}
	return g, nil
}

// open has the gate execute the command. It ends at the latest when the gate is killed.
func (g *Group) open(c GroupCommand) error {
	order := gate.Order{Path: c.Path, Dir: c.Dir, Args: c.Args, Env: c.Env}
	_, err := g.conn.Write(order.Encode())
	err = errors.Join(err, shutWrite(g.conn))
	answer, readErr := io.ReadAll(g.conn)
	switch entered, failed, errno := gate.DecodeAnswer(answer); {
	case failed == gate.Chdir:
		return &GateError{Op: "chdir", Path: c.Dir, Err: errno}
	case failed == gate.Exec:
		return &GateError{Op: "exec", Path: c.Path, Err: errno}
	case !entered:
		return fmt.Errorf("the gate ended before the command: %w", errors.Join(err, readErr, io.ErrUnexpectedEOF))
	}
	return nil
}

func shutWrite(socket *os.File) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	errControl := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, errControl)
}

// live owns the group's process from its start until it is reaped, on a thread of its own. The kernel counts as a
// process's parent the thread that forked it, and has it die with that one: so that thread must not end before. This
// one has nothing else to do but to wait for the process.
func (g *Group) live(c GroupCommand, theirs *os.File) {
	defer close(g.done)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process, err := startGate(c, theirs)
	_ = theirs.Close() // our copy of the gate's end, from which nobody reads
	if err != nil {
		g.started <- err
		return
	}
	g.pid = process.Pid
	leader, err := witness.Look(g.pid)
	if err != nil {
		// The witness will refuse what has no start time.
		g.logger.Warn("a command's process can't be looked at", zap.Int("pid", g.pid), zap.Error(err))
	}
	g.number, g.answer = g.charges.add(g.pid, leader.Start, c.Session)
	g.started <- nil

	if err := witness.WaitEnded(g.pid); err != nil {
		g.logger.Warn("a command's process was waited for by somebody else", zap.Int("pid", g.pid), zap.Error(err))
	}
	g.clear()
	g.charges.forget(g.number)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping != nil {
		g.stopping.Stop()
	}
	g.state, _ = process.Wait() // nil if somebody else has reaped it
	g.reaped = true
}

func startGate(c GroupCommand, conn *os.File) (*os.Process, error) {
	program, err := witness.Executable()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{c.Stdin, c.Stdout, c.Stderr, conn}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	return os.StartProcess(program, gate.Args(os.Getpid()), &os.ProcAttr{
		Env:   gate.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
}

// PID is the leader's process id, which is the group's too.
func (g *Group) PID() int { return g.pid }

// Done is closed when nothing of the group is left.
func (g *Group) Done() <-chan struct{} { return g.done }

// Wait returns how the command ended, once nothing of its group is left. A process that the kernel won't let die keeps
// it waiting, as does one that belongs to a user whom this process may not signal. The state is nil if somebody else in
// this process has waited for the command.
func (g *Group) Wait() *os.ProcessState {
	<-g.done
	return g.state
}

// Stop ends the group: with SIGTERM, and with SIGKILL for what is left after grace, or at once if that is 0. It does
// not wait. The whole grace belongs to all members: when the leader ends first, the others still have the rest of it.
// A second Stop can only hasten the end, with 0. It returns false if the command had ended by itself.
func (g *Group) Stop(grace time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	running := !g.ended
	switch {
	case g.reaped:
	case grace <= 0:
		g.killed = true
		g.signal(unix.SIGKILL)
		select {
		case g.hurry <- struct{}{}:
		default:
		}
	case g.stopping == nil:
		g.stopping = time.AfterFunc(grace, func() { g.Stop(0) })
		g.signal(unix.SIGTERM)
		g.signal(unix.SIGCONT) // one that is stopped could not hear it
	}
	return running
}

// signal is called with mu held and before the leader was reaped. Whether it helped is seen from who is left.
func (g *Group) signal(s syscall.Signal) { _ = unix.Kill(-g.pid, s) }
