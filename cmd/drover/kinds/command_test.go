package kinds

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
)

func TestCommandKeepsItsStreams(t *testing.T) {
	c := shell(t, `echo out; echo err >&2; cat`)
	c.Stdin = "in\xff"
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	output, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (ExecOutput{Stdout: "out\nin\uFFFD", Stderr: "err\n"}); output != want {
		t.Errorf("output %+v, want %+v", output, want)
	}
	if stdout.String() != "out\nin\xff" || stderr.String() != "err\n" {
		t.Errorf("the writers got %q and %q, want every byte", stdout.String(), stderr.String())
	}
}

func TestCommandWithoutInputReadsNothing(t *testing.T) {
	output, err := shell(t, `cat; echo end`).Run(t.Context())
	if err != nil || output.Stdout != "end\n" {
		t.Errorf("output %+v, error %v", output, err)
	}
}

func TestCommandNeedNotReadItsInput(t *testing.T) {
	c := shell(t, `exec 0<&-; echo end`)
	c.Stdin = repeat("x", 1<<20)
	output, err := c.Run(t.Context())
	if err != nil || output.Stdout != "end\n" {
		t.Errorf("output %+v, error %v", output, err)
	}
}

func TestCommandThatFailsTellsHow(t *testing.T) {
	output, err := shell(t, `echo half; echo no such luck >&2; exit 3`).Run(t.Context())
	wantExit(t, output, err, 3, "exit status 3: no such luck")
	if output.Stdout != "half\n" {
		t.Errorf("stdout %q", output.Stdout)
	}
	output, err = shell(t, `kill -SEGV $$`).Run(t.Context())
	wantExit(t, output, err, 139, "signal: segmentation fault")
}

func TestErrorHoldsTheLastKiBOfStandardError(t *testing.T) {
	c := shell(t, `printf %01000d 0 >&2; printf '%01000d\n' 1 >&2; exit 1`)
	output, err := c.Run(t.Context())
	wantExit(t, output, err, 1, "exit status 1: "+repeat("0", 1022)+"1")
	if len(output.Stderr) != 2001 {
		t.Errorf("%d bytes of stderr in the output, want 2001", len(output.Stderr))
	}
}

func TestCommandThatCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	file("plain", "#!/bin/sh\n", 0o644)
	file("orphan", "#!/missing/interpreter\n", 0o755)
	file("text", "hello", 0o755)
	tests := map[string]struct {
		argv []string
		dir  string
		code int
		says string
	}{
		"not in PATH":               {[]string{"no-such-command"}, "", 127, "no-such-command: command not found in PATH"},
		"no such file":              {[]string{dir + "/missing"}, "", 127, "no such file"},
		"below a file":              {[]string{dir + "/plain/x"}, "", 127, "not a directory"},
		"not executable":            {[]string{"./plain"}, dir, 126, "permission denied"},
		"not executable, in PATH":   {[]string{"plain"}, "", 126, "plain: it is in PATH, but can't be executed"},
		"a directory":               {[]string{dir}, "", 126, "permission denied"},
		"a missing interpreter":     {[]string{"./orphan"}, dir, 126, "its interpreter is missing"},
		"no program":                {[]string{"./text"}, dir, 126, "exec format error (a script needs a first line"},
		"arguments beyond measure":  {[]string{"sh", repeat("x", 8<<20)}, "", 126, "argument list too long"},
		"no such directory":         {[]string{"sh"}, dir + "/missing", 125, "the command's directory: chdir"},
		"a file for a directory":    {[]string{"sh"}, dir + "/plain", 125, "not a directory"},
		"relative to its directory": {[]string{"bin/x"}, dir, 127, "no such file"},
	}
	w := newWitness(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := &Command{Witness: w, Argv: tt.argv, Dir: tt.dir, Env: []string{"PATH=" + dir + ":/usr/bin:/bin"}}
			output, err := c.Run(t.Context())
			start, ok := errors.AsType[*StartError](err)
			if !ok || start.ExitCode != tt.code || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want a StartError with %d that says %q", err, tt.code, tt.says)
			}
			if output != (ExecOutput{ExitCode: tt.code}) {
				t.Errorf("output %+v", output)
			}
		})
	}
}

func TestCommandsFailingForAMomentIsNoStartError(t *testing.T) {
	busy := filepath.Join(t.TempDir(), "busy")
	f, err := os.OpenFile(busy, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("#!/bin/sh\n"); err != nil {
		t.Fatal(err)
	}
	c := &Command{Witness: newWitness(t), Argv: []string{busy}}
	_, err = c.Run(t.Context())
	if _, never := errors.AsType[*StartError](err); never || !errors.Is(err, syscall.ETXTBSY) {
		t.Errorf("error %v, want ETXTBSY and no StartError", err)
	}
}

func TestLookupSearchesThePathOfTheCommand(t *testing.T) {
	dir := t.TempDir()
	for _, folder := range []string{"a", "b", "c"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for file, mode := range map[string]os.FileMode{"a/x": 0o644, "b/x": 0o755, "c/x": 0o755, "a/y": 0o644, "z": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, file), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "a", "z"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		name, path string
		want       string
		err        error
	}{
		"the first that can be executed": {"x", dir + "/a:" + dir + "/b:" + dir + "/c", dir + "/b/x", nil},
		"none that can be":               {"y", dir + "/a:" + dir + "/b", "", os.ErrPermission},
		"none":                           {"w", dir + "/a:" + dir + "/b", "", os.ErrNotExist},
		"relative, from its directory":   {"x", "b", "b/x", nil},
		"empty is its directory":         {"z", dir + "/b:", "z", nil},
		"not a directory":                {"z", dir + "/a:" + dir, dir + "/z", nil},
		"a path is not looked up":        {"./x", dir + "/b", "./x", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := lookup(tt.name, []string{"A=1", "PATH=" + tt.path}, dir)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("lookup: %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	if got, err := lookup("sh", nil, ""); err != nil || got == "" {
		t.Errorf("without PATH: %q, %v", got, err)
	}
}

func TestCancelledCommandMayTidyUp(t *testing.T) {
	c := shell(t, `trap "echo tidied; exit 0" TERM; echo; while :; do sleep 0.01; done`)
	c.Grace = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newSignalWriter()
	c.Stdout = w
	go func() { <-w.ready; cancel(io.ErrNoProgress) }()
	output, err := c.Run(ctx)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want the context's cause although it exited with 0", err)
	}
	if output.Stdout != "\ntidied\n" || output.ExitCode != 0 {
		t.Errorf("output %+v", output)
	}
}

func TestCommandThatIsDoneInSpiteOfItHasSucceeded(t *testing.T) {
	for done, want := range map[bool]error{true: nil, false: io.ErrNoProgress} {
		c := shell(t, `trap "" TERM; echo; sleep 0.2; echo done`)
		c.Grace = time.Hour
		c.Undone = func(cause error) bool { return !done && errors.Is(cause, io.ErrNoProgress) }
		ctx, cancel := context.WithCancelCause(t.Context())
		w := newSignalWriter()
		c.Stdout = w
		go func() { <-w.ready; cancel(io.ErrNoProgress) }()
		output, err := c.Run(ctx)
		if !errors.Is(err, want) || output.Stdout != "\ndone\n" {
			t.Errorf("undone is %v: error %v, output %+v", !done, err, output)
		}
	}
}

func TestCancelledCommandIsKilledAfterItsGrace(t *testing.T) {
	c := shell(t, `trap "" TERM; echo; sleep 1000 & sleep 1000`)
	c.Grace = 50 * time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newSignalWriter()
	c.Stdout = w
	go func() { <-w.ready; cancel(io.ErrNoProgress) }()
	output, err := c.Run(ctx)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want the context's cause", err)
	}
	wantExitCode(t, output, 137)
}

func wantExitCode(t *testing.T, output ExecOutput, want int) {
	t.Helper()
	if output.ExitCode != want {
		t.Errorf("exit code %d, want %d", output.ExitCode, want)
	}
}

func TestHardCauseLeavesNoGrace(t *testing.T) {
	c := shell(t, `trap "" TERM; echo; sleep 1000`)
	c.Grace = time.Hour
	c.Hard = func(cause error) bool { return errors.Is(cause, io.ErrNoProgress) }
	ctx, cancel := context.WithCancelCause(t.Context())
	w := newSignalWriter()
	c.Stdout = w
	go func() { <-w.ready; cancel(io.ErrNoProgress) }()
	output, err := c.Run(ctx)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("error %v, want the context's cause", err)
	}
	wantExitCode(t, output, 137)
}

func TestCommandOfAFrozenNodeIsSeenAsKilled(t *testing.T) {
	c := shell(t, `sleep 1000`)
	c.Session = "s"
	c.Witness.Deadline("s", lease.Boottime()+time.Hour)
	w := newSignalWriter()
	c.Stdout = w
	c.Argv[2] = `echo; sleep 1000`
	go func() { <-w.ready; c.Witness.Deadline("s", lease.Boottime()) }()
	output, err := c.Run(t.Context())
	wantExit(t, output, err, 137, "signal: killed")
}

// Whoever holds the pipe does not hold the attempt: neither one that the group's end takes along, nor one that has left
// the group, which nobody follows.
func TestRunDoesNotWaitForWhoeverHoldsThePipes(t *testing.T) {
	output, err := shell(t, `trap "" TERM HUP; sleep 1000 & echo done`).Run(t.Context())
	if err != nil || output.Stdout != "done\n" {
		t.Errorf("output %+v, error %v", output, err)
	}

	if _, err := lookup("setsid", []string{"PATH=/usr/bin:/bin"}, ""); err != nil {
		t.Skip("needs setsid(1)")
	}
	file := filepath.Join(t.TempDir(), "pid")
	holder := `setsid sh -c 'echo $$ >` + file + `; exec sleep 1000' & while ! test -s ` + file + `; do sleep 0.01; done; echo done`
	output, err = shell(t, holder).Run(t.Context())
	text, readErr := os.ReadFile(file)
	pid, convErr := strconv.Atoi(strings.TrimSpace(string(text)))
	if readErr != nil || convErr != nil {
		t.Fatal(readErr, convErr)
	}
	if killErr := syscall.Kill(pid, syscall.SIGKILL); killErr != nil {
		t.Errorf("Run waited for a process that has left the group: %v", killErr)
	}
	if err != nil || output.Stdout != "done\n" {
		t.Errorf("output %+v, error %v", output, err)
	}

	writer := `setsid sh -c 'while :; do echo y; done' & sleep 0.1; echo done`
	output, err = shell(t, writer).Run(t.Context())
	if err != nil || !strings.Contains(output.Stdout, "done\n") {
		t.Errorf("output of %d bytes, error %v", len(output.Stdout), err)
	}
}

// The group is gone, a process that left it holds the pipe, and all that the group wrote is still in there.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	if _, err := write.WriteString(repeat("x", 60000) + "end"); err != nil {
		t.Fatal(err)
	}
	if err := read.SetDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	var tee bytes.Buffer
	s := stream{pipe: read, tail: tail{max: 4}, tee: &tee}
	s.copy()
	if tee.Len() != 60003 || string(s.tail.bytes()) != "xend" {
		t.Errorf("%d bytes, the last of them %q; want 60003 and %q", tee.Len(), s.tail.bytes(), "xend")
	}
}

func TestHugeOutputTakesBoundedMemory(t *testing.T) {
	c := shell(t, `head -c 200000000 /dev/zero; echo end; head -c 3000000 /dev/zero | tr "\0" x >&2`)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	output, err := c.Run(t.Context())
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("allocated %d bytes, want less than 4 MiB", grown)
	}
	if size := len(output.Encode()); size > DefaultMaxOutput || size < DefaultMaxOutput-6 {
		t.Errorf("the encoded output has %d bytes, want nearly %d", size, DefaultMaxOutput)
	}
	if !output.Truncated || !strings.HasSuffix(output.Stdout, "\x00end\n") || !strings.HasSuffix(output.Stderr, "xxx") {
		t.Errorf("truncated %v, ends %q and %q", output.Truncated, output.Stdout[len(output.Stdout)-5:], output.Stderr[len(output.Stderr)-3:])
	}
}

type failingWriter struct{ writes int }

func (w *failingWriter) Write([]byte) (int, error) { w.writes++; return 0, io.ErrClosedPipe }

func TestWriterThatFailsGetsNoMore(t *testing.T) {
	c := shell(t, `echo one; sleep 0.05; echo two`)
	w := &failingWriter{}
	c.Stdout = w
	output, err := c.Run(t.Context())
	if err != nil || output.Stdout != "one\ntwo\n" {
		t.Errorf("output %+v, error %v", output, err)
	}
	if w.writes != 1 {
		t.Errorf("it was called %d times", w.writes)
	}
}

func TestCommandsStreamsBlock(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	c := shell(t, `for fd in 0 1 2; do grep flags /proc/self/fdinfo/$fd; done`)
	c.Stdin = "in"
	output, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(output.Stdout), "\n") {
		if len(line) >= 4 && (line[len(line)-4]-'0')&4 != 0 { // O_NONBLOCK is 04000
			t.Errorf("%s: a stream does not block, which few programs expect", line)
		}
	}
}

func TestManyCommandsAtOnceKeepTheirStreamsApart(t *testing.T) {
	w := newWitness(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			c := &Command{Witness: w, Argv: []string{"sh", "-c", `sleep 1000 & cat; echo "$0" >&2; exit "$0"`, itoa(i)}, Stdin: repeat(itoa(i)+"\n", 1000)}
			output, err := c.Run(t.Context())
			if i > 0 {
				wantExit(t, output, err, i, "exit status "+itoa(i)+": "+itoa(i))
			} else if err != nil {
				t.Error(err)
			}
			if output.Stdout != c.Stdin || output.Stderr != itoa(i)+"\n" {
				t.Errorf("command %d: output %.40q, %.40q", i, output.Stdout, output.Stderr)
			}
		})
	}
	all.Wait()
}
