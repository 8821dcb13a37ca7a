//go:build linux || darwin

package supervisor

import (
	"bufio"
	"context"
	"fmt"
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

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

// The test binary is a small node when this variable is set: one that can be killed and stopped.
const nodeVariable = "DROVER_TEST_NODE"

func init() {
	if os.Getenv(nodeVariable) != "" {
		if err := serveNode(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// serveNode does what the lines on its standard input say:
//
//	deadline SESSION DURATION   from now on
//	refuse-record -             answered by "refusing -", and by "unrecorded PID" once the next witness was to be recorded
//	start SESSION SCRIPT        answered by "started PGID", later "ended PGID STATE", or by "refused ERROR"
func serveNode(in io.Reader, out io.Writer) error {
	ctx := context.Background()
	w, err := Witness(WitnessOptions{})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Fprintf(out, format+"\n", args...)
	}
	say("witness %d", w.Identity().PID)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 3)
		switch words[0] {
		case "deadline":
			d, err := time.ParseDuration(words[2])
			if err != nil {
				return err
			}
			w.Deadline(words[1], lease.Boottime()+d)
		case "refuse-record":
			var once sync.Once
			w.attach(func(_ context.Context, identity lease.Identity) error {
				once.Do(func() { say("unrecorded %d", identity.PID) })
				return errNoRecord
			})
			say("refusing -")
		case "start":
			go func() {
				g, err := w.Start(ctx, shell(words[1], words[2]))
				if err != nil {
					say("refused %v", err)
					return
				}
				say("started %d", g.PID())
				say("ended %d %v", g.PID(), g.Wait())
			}()
		}
	}
	return w.Close(ctx)
}

func shell(session, script string) GroupCommand {
	return GroupCommand{Session: session, Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}}
}

// testNode is another process with a witness, seen from the test.
type testNode struct {
	t       *testing.T
	cmd     *exec.Cmd
	in      io.Writer
	lines   *bufio.Scanner
	witness int
	exit    func() error // waits
}

func startNode(t *testing.T) *testNode {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{t: t, cmd: exec.Command(program)}
	n.cmd.Env = append(os.Environ(), nodeVariable+"=1")
	n.cmd.Stderr = os.Stderr
	if n.in, err = n.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.lines = bufio.NewScanner(out)
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.exit = sync.OnceValue(n.cmd.Wait)
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill()
		_ = n.exit()
	})
	n.witness = n.hearNumber("witness")
	killAtEnd(t, n.witness)
	return n
}

// killAtEnd makes sure that the process does not outlive the test, even a failed one.
func killAtEnd(t *testing.T, pid int) {
	p, err := witness.Look(pid)
	if err != nil {
		return
	}
	t.Cleanup(func() {
		if now, err := witness.Look(pid); err == nil && now.Start == p.Start {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

func killGroupAtEnd(t *testing.T, pgid int) {
	t.Cleanup(func() {
		if len(living(t, pgid)) > 0 {
			_ = syscall.Kill(-pgid, syscall.SIGKILL)
		}
	})
}

func (n *testNode) say(format string, args ...any) {
	n.t.Helper()
	if _, err := fmt.Fprintf(n.in, format+"\n", args...); err != nil {
		n.t.Fatal(err)
	}
}

// hear returns what the node's next line says after a word.
func (n *testNode) hear(word string) string {
	n.t.Helper()
	if !n.lines.Scan() {
		n.t.Fatalf("the node ended; waited for %q", word)
	}
	rest, ok := strings.CutPrefix(n.lines.Text(), word+" ")
	if !ok {
		n.t.Fatalf("the node says %q; waited for %q", n.lines.Text(), word)
	}
	return rest
}

func (n *testNode) hearNumber(word string) int {
	n.t.Helper()
	number, err := strconv.Atoi(n.hear(word))
	if err != nil {
		n.t.Fatal(err)
	}
	return number
}

// start runs a script of which at least `processes` processes are alive when start returns.
func (n *testNode) start(session, script string, processes int) (pgid int) {
	n.t.Helper()
	n.say("start %s %s", session, script)
	pgid = n.hearNumber("started")
	killGroupAtEnd(n.t, pgid)
	eventually(n.t, fmt.Sprintf("group %d has %d processes", pgid, processes), func() bool { return len(living(n.t, pgid)) >= processes })
	return pgid
}

func (n *testNode) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// living lists the processes of a group that run.
func living(t *testing.T, pgid int) (pids []int) {
	t.Helper()
	members, err := witness.Members(pgid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range members {
		if !p.Dead {
			pids = append(pids, p.PID)
		}
	}
	return pids
}

func alive(pid int) bool {
	p, err := witness.Look(pid)
	return err == nil && !p.Dead
}

// eventually asks until the answer is yes, for 20 s at the most.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticks := time.NewTicker(2 * time.Millisecond)
	defer ticks.Stop()
	for !holds() {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			t.Fatalf("in vain: %s", what)
		}
	}
}

func startWitness(t *testing.T) *WitnessLink {
	t.Helper()
	w, err := Witness(WitnessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	killAtEnd(t, w.Identity().PID)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func startGroup(t *testing.T, w *WitnessLink, c GroupCommand) *Group {
	t.Helper()
	g, err := w.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Stop(0); g.Wait() })
	return g
}

func exists(t *testing.T, path string) bool {
	t.Helper()
	found, err := filepath.Glob(path)
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}
