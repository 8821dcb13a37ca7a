package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// reaperVariable makes this test binary a reaper.
const reaperVariable = "E2E_REAPER"

// reaper is a process beside the tests that ends what they started if they can't: a test that ran out of time ends with
// the whole test binary, and no cleanup is run.
type reaper struct {
	mu    sync.Mutex
	pipe  io.WriteCloser // what it reads; its end is that of the tests
	child *exec.Cmd
}

// theReaper is started with the first program.
var theReaper = sync.OnceValues(newReaper)

func newReaper() (*reaper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &reaper{child: exec.Command(self)}
	r.child.Env = append(os.Environ(), reaperVariable+"=1")
	r.child.Stderr = os.Stderr
	if r.pipe, err = r.child.StdinPipe(); err != nil {
		return nil, err
	}
	return r, r.child.Start()
}

// mind makes the reaper end a process of ours, if we don't call forget before, which is to be as soon as it was waited
// for: its number may then be another's.
func (r *reaper) mind(pid int) error   { return r.tell("+", pid) }
func (r *reaper) forget(pid int) error { return r.tell("-", pid) }

func (r *reaper) tell(what string, pid int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.pipe, "%s%d\n", what, pid)
	return err
}

// reaperMain is the reaper's main.
func reaperMain() {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT) // of a terminal: they are for the tests
	minded := map[int]bool{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		what, number := lines.Text()[:1], lines.Text()[1:]
		if pid, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
			minded[pid] = what == "+"
		}
	}
	for pid, still := range minded {
		if still {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
		}
	}
}

func TestReaperEndsWhatTestsLeave(t *testing.T) {
	t.Parallel()
	r, err := newReaper()
	if err != nil {
		t.Fatal(err)
	}
	left, done := exec.Command("sleep", "1000"), exec.Command("sleep", "1000")
	for _, cmd := range []*exec.Cmd{left, done} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := r.mind(cmd.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.forget(done.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if err := r.pipe.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.child.Wait(); err != nil {
		t.Fatal(err)
	}
	_ = left.Wait() // the signal tells
	if status, ok := left.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("what was left ended as %v", left.ProcessState)
	}
	if err := done.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("what was not minded any more: %v", err)
	}
	_ = done.Process.Kill() // it is ours
	_ = done.Wait()
}
