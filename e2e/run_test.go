package e2e

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRunExitsAsItsCommandDoes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string // on standard error
	}{
		{"success", []string{"--", "true"}, 0, ""},
		{"failure", []string{"--", "sh", "-c", "echo no >&2; exit 7"}, 7, "no\n"},
		{"by SIGTERM", []string{"--", "sh", "-c", "kill -TERM $$"}, 143, "drover: signal: terminated\n"},
		{"by SIGKILL", []string{"--", "sh", "-c", "kill -KILL $$"}, 137, "drover: signal: killed\n"},
		{"not found", []string{"--", "no-such-command"}, 127, "drover: no-such-command: command not found in PATH: file does not exist\n"},
		{"not executable", []string{"--", "/etc/passwd"}, 126, "drover: exec \"/etc/passwd\": permission denied\n"},
		{"second attempt", []string{"--max-attempts", "2", "--backoff", "1ms", "--", "sh", "-c", "exit $((2 - DROVER_ATTEMPT))"}, 0, ""},
		{"no directory", []string{"--dir", "/no/such/dir", "--", "true"}, 125, "drover: the command's directory: chdir \"/no/such/dir\": no such file or directory\n"},
		{"no command", nil, 125, "drover: name the command after --, such as: -- make release (see --help)\n"},
		{"unknown flag", []string{"--frob", "--", "true"}, 125, "drover: unknown flag: --frob (see --help)\n"},
		{"bad setting", []string{"--request-timeout", "0", "--", "true"}, 125, "drover: --request-timeout 0: it must be a time such as 30s or 1h30m, more than 0 and at most 876000h (see --help)\n"},
		{"empty id", []string{"--id", "", "--", "true"}, 125, "drover: --id \"\": it must be 1 to 255 bytes of text, not blank, and without control characters (see --help)\n"},
	} {
		out, errs, code := drover(t, "", append([]string{"run", "--data-dir", dir}, tt.args...)...)
		if code != tt.code || out != "" || errs != tt.says {
			t.Errorf("%s: exit code %d, want %d; %q, %q", tt.name, code, tt.code, out, errs)
		}
	}
}

func TestRunShowsOutputAsItComes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, "run", "--data-dir", dir, "--env", "GO="+filepath.Join(dir, "go"), "--",
		"sh", "-c", `echo one; while [ ! -e "$GO" ]; do sleep 0.05; done; echo two >&2`)
	p.says("one\n")
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 0 || p.output.String() != "one\ntwo\n" {
		t.Errorf("exit code %d, %q", code, p.output.String())
	}
}

func TestRunPassesEveryByte(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	content := make([]byte, 10<<20)
	if _, err := random.Read(content); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bytes")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := drover(t, "", "run", "--data-dir", dir, "--", "sh", "-c", `cat "$1"; printf '\377' >&2`, "sh", file)
	if code != 0 || errs != "\xff" || !bytes.Equal([]byte(out), content) {
		t.Errorf("exit code %d, %d bytes of %d, %q", code, len(out), len(content), errs)
	}
}

func TestRunIsTheCommandOfThisShell(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "run", "--id", "ü/1", "--", "sh", "-c", `pwd; echo "$SECRET $DROVER_PROCESS_ID $DROVER_ATTEMPT"`)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "SECRET=only here")
	out, err := cmd.Output()
	if err != nil || string(out) != dir+"\nonly here ü/1 1\n" {
		t.Errorf("%v, %q", err, out)
	}
	err = filepath.Walk(filepath.Join(dir, "drover-data"), func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte("SECRET=only here")) {
			t.Errorf("the environment was stored in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// again is a command that leaves its group's pid behind, and complains if what a former attempt started is alive.
const again = `if [ -e "$DIR/pid" ] && kill -0 -- "-$(cat "$DIR/pid")" 2>/dev/null; then echo "the old one lives"; exit 99; fi
echo $$ >"$DIR/pid"
echo "attempt $DROVER_ATTEMPT"
if [ "$DROVER_ATTEMPT" -gt 1 ]; then exit 5; fi
trap "" TERM
(sleep 1000 & wait) & wait`

func TestRunGoesOnAfterItWasKilled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		signal syscall.Signal
		code   int
		errors int
	}{{syscall.SIGKILL, -1, 0}, {syscall.SIGTERM, 143, 0}, {syscall.SIGHUP, 129, 0}} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			args := []string{"run", "--data-dir", dir, "--id", "same", "--env", "DIR=" + dir, "--", "sh", "-c", again}
			p := launch(t, args...)
			p.says("attempt 1\n")
			eventually(t, "the whole group", func() bool { return len(survivors(t, "DIR="+dir)) == 3 })
			p.signal(tt.signal)
			if code := p.exitCode(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if tt.signal != syscall.SIGKILL { // then there was time to see it end
				if s := survivors(t, "DIR="+dir); len(s) != 0 {
					t.Errorf("left running: %q", s)
				}
			}
			begin := time.Now()
			out, errs, code := drover(t, "", args...)
			if code != 5 || out != "attempt 2\n" || errs != "" {
				t.Errorf("exit code %d, %q, %q; want it to go on and exit as its command did", code, out, errs)
			}
			// The session of the killed one lives for 10 s more: a wait for its end is not allowed.
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("it took %s to go on", took)
			}
			if s := survivors(t, "DIR="+dir); len(s) != 0 {
				t.Errorf("left running: %q", s)
			}
		})
	}
}

func TestRunOfAnEndedProcessPrintsAndRunsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"run", "--data-dir", dir, "--id", "once", "--env", "DIR=" + dir, "--",
		"sh", "-c", `echo ran >>"$DIR/journal"; echo out; echo err >&2; exit 7`}
	for range 2 {
		out, errs, code := drover(t, "", args...)
		if code != 7 || out != "out\n" || errs != "err\n" {
			t.Errorf("exit code %d, %q, %q", code, out, errs)
		}
	}
	if journal, err := os.ReadFile(filepath.Join(dir, "journal")); err != nil || string(journal) != "ran\n" {
		t.Errorf("%v, %q: want it to run once", err, journal)
	}
	out, errs, code := drover(t, "", "run", "--data-dir", dir, "--id", "once", "--", "true")
	if code != 125 || out != "" || !strings.Contains(errs, "another process has this id") {
		t.Errorf("another command: exit code %d, %q, %q; want a conflict, 125", code, out, errs)
	}
	oneLine(t, errs)
}

func TestRunIsCancelledByInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{"run", "--data-dir", dir, "--id", "same", "--env", "DIR=" + dir, "--", "sh", "-c", "echo begun; sleep 1000 & wait"}
	p := launch(t, args...)
	p.says("begun\n")
	p.signal(syscall.SIGINT)
	if code := p.exitCode(); code != 130 || p.output.String() != "begun\n" {
		t.Errorf("exit code %d, %q", code, p.output.String())
	}
	if s := survivors(t, "DIR="+dir); len(s) != 0 {
		t.Errorf("left running: %q", s)
	}
	if out, errs, code := drover(t, "", args...); code != 130 || out != "begun\n" || errs != "" {
		t.Errorf("again: exit code %d, %q, %q; want it to stay cancelled, with what it had printed", code, out, errs)
	}
}

func TestRunEndsACommandThatIgnoresInterrupt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, "run", "--data-dir", dir, "--env", "DIR="+dir, "--", "sh", "-c", `trap "" INT TERM; echo begun; while :; do sleep 1000; done`)
	p.says("begun\n")
	p.signal(syscall.SIGINT)
	if code := p.exitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if s := survivors(t, "DIR="+dir); len(s) != 0 {
		t.Errorf("left running: %q", s)
	}
}

func TestRunWithEndpointsNeedsNoDataDirectory(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	dir := filepath.Join(t.TempDir(), "unused")
	if r := c.do("run", "--data-dir", dir, "--id", "r", "--", "sh", "-c", "echo hi; exit 3"); r != (result{"hi\n", "", 3}) {
		t.Errorf("run: %+v", r)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it made a data directory")
	}
	o := c.object("get", "r")
	// SHA-256 of "r" begins with this.
	if o["queue"] != "run.454349e422f05297191ead13e21d3db5" || o["max_attempts"] != 1.0 {
		t.Errorf("it is in queue %v, with %v attempts", o["queue"], o["max_attempts"])
	}
}

func TestServeInTheDataDirectoryOfARunNamesIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, "run", "--data-dir", dir, "--", "sh", "-c", "echo begun; sleep 1000")
	p.says("begun\n")
	begin := time.Now()
	_, errs, code := drover(t, "", "serve", "--data-dir", dir, "--etcd-listen", "127.0.0.1:0")
	if code != 1 || !strings.Contains(errs, "is in use by process "+pid(p)) {
		t.Errorf("exit code %d, want 1; %q", code, errs)
	}
	oneLine(t, errs)
	if took := time.Since(begin); took > 10*time.Second { // 2 s, and as much again as a busy machine takes
		t.Errorf("it took %s to say so", took)
	}
}
