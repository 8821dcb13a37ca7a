package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

// program is a running drover. It ends with its test, however that ends.
type program struct {
	t      *testing.T
	cmd    *exec.Cmd
	output syncBuffer // both streams
	exited chan struct{}
	err    error // of Wait; to be read after exited
	// replaced: another one goes on in its place, so that only its end is worth to be told.
	replaced bool
}

// syncBuffer is a buffer that is written while it is read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// launch starts drover and leaves it running.
func launch(t *testing.T, args ...string) *program {
	t.Helper()
	return launchCommand(t, exec.Command(binary, args...))
}

func launchCommand(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, cmd: cmd, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	reaper, err := theReaper()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = reaper.mind(cmd.Process.Pid) // it only matters when all else fails
	go func() {
		defer close(p.exited)
		p.err = p.cmd.Wait()
		_ = reaper.forget(cmd.Process.Pid) // as above
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), p.said())
		}
	})
	return p
}

// said is what it printed, or its end.
func (p *program) said() string {
	all := p.output.String()
	if p.replaced {
		all = all[max(0, len(all)-1<<10):]
	}
	return all
}

// kill is SIGKILL: no goodbye.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exitCode waits for the end.
func (p *program) exitCode() int {
	p.t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(time.Minute):
		p.t.Fatalf("drover did not end within a minute:\n%s", p.output.String())
		return -1
	}
}

// says waits until the program has printed this.
func (p *program) says(text string) {
	p.t.Helper()
	eventually(p.t, "drover to say "+text, func() bool {
		select {
		case <-p.exited:
			p.t.Fatalf("drover ended before it said %q:\n%s", text, p.output.String())
		default:
		}
		return strings.Contains(p.output.String(), text)
	})
}

// drover runs the program to its end.
func drover(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("drover %s did not end:\n%s%s", strings.Join(args, " "), out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// processes is drover list or get with -o json.
func processes(t *testing.T, args ...string) []registry.Process {
	t.Helper()
	out, errs, code := drover(t, "", append(args, "-o", "json")...)
	if code != 0 {
		t.Fatalf("drover %s: exit code %d: %s", strings.Join(args, " "), code, errs)
	}
	var all []registry.Process
	lines := bufio.NewReader(strings.NewReader(out))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all
		}
		var p registry.Process
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, p)
	}
}

// eventually asks until it is so. A minute is for the slowest machine; what is
// waited for takes far less.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("waited a minute for %s", what)
		case <-tick.C:
		}
	}
}

// survivors are the living processes of the system that have this in their
// environment.
func survivors(t *testing.T, variable string) []string {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Skipf("what still runs is looked up in /proc: %v", err)
	}
	var found []string
	for _, dir := range dirs {
		env, err := os.ReadFile("/proc/" + dir.Name() + "/environ")
		if err != nil {
			continue // not a process, or gone
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if string(v) == variable {
				cmdline, _ := os.ReadFile("/proc/" + dir.Name() + "/cmdline") // gone by now is fine
				found = append(found, dir.Name()+" "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
			}
		}
	}
	return found
}
