//go:build linux || darwin

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/supervisor/internal/witness"
)

func fmtInt(n int) string { return strconv.Itoa(n) }

// output runs a command and returns what it wrote to its standard output.
func output(t *testing.T, w *WitnessLink, c GroupCommand) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c.Stdout = write
	g := startGroup(t, w, c)
	_ = write.Close()
	text, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if state := g.Wait(); !state.Success() {
		t.Fatalf("the command ended with %v", state)
	}
	return string(text)
}

func TestGateBecomesTheCommand(t *testing.T) {
	w := startWitness(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := shell("", `echo $$ $0 $1 "$2"; pwd`)
	c.Args = append(c.Args, "zero", "one", "bytes \xff\n and lines")
	c.Dir = dir
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c.Stdout = write
	g := startGroup(t, w, c)
	_ = write.Close()
	text, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmtInt(g.PID()) + " zero one bytes \xff\n and lines\n" + dir + "\n"; string(text) != want {
		t.Errorf("the command wrote %q, want %q", text, want)
	}

	got := output(t, w, GroupCommand{Path: "/usr/bin/env", Args: []string{"env"}, Env: []string{"A=1", "ODD.name=\xfe"}})
	if want := "A=1\nODD.name=\xfe\n"; got != want {
		t.Errorf("the command's environment is %q, want %q", got, want)
	}
}

func TestCommandInheritsNothingOfTheGate(t *testing.T) {
	w := startWitness(t)
	got := output(t, w, shell("", `for fd in /dev/fd/*; do echo ${fd##*/}; done; ulimit -n`))
	want, err := shellAlone(`for fd in /dev/fd/*; do echo ${fd##*/}; done; ulimit -n`)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("descriptors and their limit behind the gate:\n%swithout it:\n%s", got, want)
	}
}

// shellAlone runs a script as TestCommandInheritsNothingOfTheGate does, but without a gate.
func shellAlone(script string) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.Output()
	return string(out), err
}

func TestGateReportsWhyItCannotBecomeTheCommand(t *testing.T) {
	w := startWitness(t)
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		c    GroupCommand
		want GateError
	}{
		"no such file": {
			GroupCommand{Path: dir + "/missing", Args: []string{"missing"}},
			GateError{Op: "exec", Path: dir + "/missing", Err: syscall.ENOENT},
		},
		"not executable": {
			GroupCommand{Path: file("plain", "#!/bin/sh\n", 0o644), Args: []string{"plain"}},
			GateError{Op: "exec", Path: dir + "/plain", Err: syscall.EACCES},
		},
		"no program": {
			GroupCommand{Path: file("text", "hello", 0o755), Args: []string{"text"}},
			GateError{Op: "exec", Path: dir + "/text", Err: syscall.ENOEXEC},
		},
		"a script without interpreter": {
			GroupCommand{Path: file("script", "#!/missing/interpreter\n", 0o755), Args: []string{"script"}},
			GateError{Op: "exec", Path: dir + "/script", Err: syscall.ENOENT},
		},
		"no such directory": {
			GroupCommand{Path: "/bin/sh", Args: []string{"sh"}, Dir: dir + "/missing"},
			GateError{Op: "chdir", Path: dir + "/missing", Err: syscall.ENOENT},
		},
		"a NUL": {
			GroupCommand{Path: "/bin/sh", Args: []string{"sh", "a\x00b"}},
			GateError{Op: "exec", Path: "/bin/sh", Err: syscall.EINVAL},
		},
		"too long": {
			GroupCommand{Path: "/bin/sh", Args: []string{"sh", strings.Repeat("x", 8<<20)}},
			GateError{Op: "exec", Path: "/bin/sh", Err: syscall.E2BIG},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := w.Start(t.Context(), tt.c)
			var gate *GateError
			if !errors.As(err, &gate) || *gate != tt.want {
				t.Errorf("Start: %v, want %v", err, &tt.want)
			}
			if g != nil {
				t.Error("Start returned a group and an error")
			}
		})
	}
}

func TestGroupDiesWithItsLeader(t *testing.T) {
	w := startWitness(t)
	g := startGroup(t, w, shell("", `trap "" TERM HUP; sleep 1000 & sleep 1000 & exit 3`))
	if got := g.Wait().ExitCode(); got != 3 {
		t.Errorf("exit code %d, want 3", got)
	}
	if left := living(t, g.PID()); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if g.Stop(0) {
		t.Error("Stop says that it ended a command that had ended by itself")
	}
}

// ready waits until a script has written a line, with its traps set.
func ready(t *testing.T, w *WitnessLink, script string) *Group {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = read.Close() })
	c := shell("", script)
	c.Stdout = write
	g := startGroup(t, w, c)
	_ = write.Close()
	if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestStopLetsTheCommandEndByItself(t *testing.T) {
	w := startWitness(t)
	g := ready(t, w, `trap "exit 7" TERM; echo; while :; do sleep 0.01; done`)
	if !g.Stop(time.Hour) {
		t.Error("Stop says that the command had ended by itself")
	}
	if got := g.Wait().ExitCode(); got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
}

func TestStopReachesACommandThatIsStopped(t *testing.T) {
	w := startWitness(t)
	g := ready(t, w, `trap "exit 7" TERM; echo; while :; do sleep 0.01; done`)
	if err := syscall.Kill(-g.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	g.Stop(time.Hour)
	if got := g.Wait().ExitCode(); got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
}

func TestStopKillsWhatIgnoresIt(t *testing.T) {
	w := startWitness(t)
	g := ready(t, w, `trap "" TERM; echo; sleep 1000 & wait; sleep 1000`)
	g.Stop(50 * time.Millisecond)
	if got := g.Wait().String(); got != "signal: killed" {
		t.Errorf("the command ended with %q, want %q", got, "signal: killed")
	}
}

func TestStopGivesTheGraceToAllMembers(t *testing.T) {
	w := startWitness(t)
	marker := filepath.Join(t.TempDir(), "tidied")
	// The shell is gone with the signal; its child still has to tidy up.
	g := ready(t, w, `(trap "sleep 0.2; touch `+marker+`; exit" TERM; echo; while :; do sleep 0.01; done) & wait`)
	g.Stop(time.Hour)
	g.Wait()
	if !exists(t, marker) {
		t.Error("a member was killed within the grace because the leader had ended")
	}
}

func TestStopIsHastenedByAnother(t *testing.T) {
	w := startWitness(t)
	g := ready(t, w, `trap "" TERM; echo; sleep 1000 & wait; sleep 1000`)
	g.Stop(time.Hour)
	g.Stop(0)
	g.Wait()

	g = ready(t, w, `(trap "" TERM; echo; sleep 1000) & wait`) // the leader dies of the first Stop
	g.Stop(time.Hour)
	eventually(t, "the leader has ended", func() bool { return !alive(g.PID()) })
	g.Stop(0)
	g.Wait()
}

func TestStartLeavesNothingWhenItsContextHasEnded(t *testing.T) {
	w := startWitness(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("changed my mind")
	cancel(cause)
	if _, err := w.Start(ctx, shell("", "sleep 1000")); !errors.Is(err, cause) {
		t.Errorf("Start: %v, want its context's cause", err)
	}
}

func TestFiftyCommandsAtOnce(t *testing.T) {
	w := startWitness(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			g, err := w.Start(t.Context(), shell("", "sleep 0.05 & wait; sleep 1000 & exit "+fmtInt(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if got := g.Wait().ExitCode(); got != i {
				t.Errorf("exit code %d, want %d", got, i)
			}
			if left := living(t, g.PID()); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	all.Wait()
	w.charges.mu.Lock()
	defer w.charges.mu.Unlock()
	if len(w.charges.groups) != 0 {
		t.Errorf("%d groups were never forgotten", len(w.charges.groups))
	}
}

// gatesOf lists the living gates that a process has started: children in a group of their own.
func gatesOf(t *testing.T, parent int) (pids []int) {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("needs /proc")
	}
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		p, err := witness.Look(pid)
		cmdline, _ := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err == nil && p.Parent == parent && strings.HasPrefix(string(cmdline), "drover-gate\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func TestGateStaysShutWhenNodeDiesBeforeTheAnswer(t *testing.T) {
	n := startNode(t)
	if err := syscall.Kill(n.witness, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	marker := filepath.Join(t.TempDir(), "ran")
	n.say("start - touch %s; sleep 1000", marker)
	var gates []int
	eventually(t, "the gate waits", func() bool { gates = gatesOf(t, n.cmd.Process.Pid); return len(gates) == 1 })
	killGroupAtEnd(t, gates[0])

	n.signal(syscall.SIGKILL)
	_ = n.exit()
	eventually(t, "the gate is gone", func() bool { return !alive(gates[0]) })
	if err := syscall.Kill(n.witness, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the witness exits", func() bool { return !alive(n.witness) })
	if exists(t, marker) {
		t.Error("the command ran")
	}
}
