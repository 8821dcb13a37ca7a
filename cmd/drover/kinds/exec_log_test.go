package kinds

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/registry"
)

func TestLogNamesAreSafe(t *testing.T) {
	long := repeat("ü", 127)
	for id, want := range map[string]string{
		"nightly":                          "nightly",
		"thumbs/42":                        "thumbs%2F42",
		"..":                               "%2E.",
		".":                                "%2E",
		"../../etc":                        "%2E.%2F..%2Fetc",
		"50%":                              "50%25",
		"%2F":                              "%252F",
		"a b\\c:ü":                         "a b\\c:ü",
		long:                               repeat("ü", 83) + "%-",
		repeat("/", 67):                    repeat("%2F", 55) + "%-",
		repeat("a", 165) + repeat("/", 40): repeat("a", 165) + "%-",
	} {
		got := LogName(id)
		if len(id) > 60 {
			got = got[:len(got)-32] // without the hash
		}
		if got != want {
			t.Errorf("%.40q: %q, want %q", id, got, want)
		}
	}
	if a, b := LogName(long), LogName(long+"x"); a == b || len(a) > 200 || !utf8.ValidString(a) {
		t.Errorf("%q and %q", a, b)
	}
}

func logOf(t *testing.T, dir string, p registry.Process) (stdout, stderr string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "1.*.stdout"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v; want one log of %s", found, err, p.ID)
	}
	out, err1 := os.ReadFile(found[0])
	errs, err2 := os.ReadFile(StderrLog(found[0]))
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return string(out), string(errs)
}

func TestExecKeepsTheWholeStreams(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	b := newBench(t, ExecOptions{LogDir: dir})
	p := b.run(t.Context(), "exec", `{"argv":["sh","-c","head -c 300000 /dev/zero; printf \"\\377\" >&2; exit 1"]}`)
	stdout, stderr := logOf(t, dir, p)
	if stdout != repeat("\x00", 300_000) || stderr != "\xff" {
		t.Errorf("%d bytes, and %q", len(stdout), stderr)
	}
	if len(p.History) != 1 || !strings.HasPrefix(p.History[0].Log, dir+"/") || !strings.HasSuffix(p.History[0].Log, ".stdout") {
		t.Errorf("history %+v", p.History)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Dir(p.History[0].Log): 0o700, p.History[0].Log: 0o600, StderrLog(p.History[0].Log): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestExecRunsOnWithoutALog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.InfoLevel)
	b := newBench(t, ExecOptions{LogDir: file, Logger: zap.New(core)})
	p := b.run(t.Context(), "exec", `{"argv":["echo","hi"]}`)
	if p.Status != registry.StatusCompleted || !strings.Contains(string(p.Output), `"stdout":"hi\n"`) || p.History[0].Log != "" {
		t.Errorf("%s, output %s, history %+v", p.Status, p.Output, p.History)
	}
	if logged.FilterMessage("the log of a command can't be kept").Len() != 1 {
		t.Errorf("logged %v", logged.All())
	}
}

// /dev/full answers every write as a disk does that is full.
func TestFullDiskEndsTheLogAndNotTheCommand(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("needs /dev/full: %v", err)
	}
	other, err := os.Create(filepath.Join(t.TempDir(), "other"))
	if err != nil {
		t.Fatal(err)
	}
	core, logged := observer.New(zap.InfoLevel)
	l := &execLog{stdout: full, stderr: other, log: zap.New(core)}
	c := shell(t, `echo one; sleep 0.05; echo two; echo err >&2`)
	c.Stdout, c.Stderr = tee{l.writer(full)}, tee{l.writer(other)}
	output, err := c.Run(t.Context())
	if err != nil || output.Stdout != "one\ntwo\n" {
		t.Errorf("output %+v, error %v", output, err)
	}
	if logged.Len() != 1 || !l.place("n1").Incomplete {
		t.Errorf("logged %v, place %+v", logged.All(), l.place("n1"))
	}
	l.close()
}

func TestTeeGoesOnWithoutTheWriterThatFails(t *testing.T) {
	var kept strings.Builder
	bad := &failingWriter{}
	w := tee{nil, bad, &kept}
	for range 2 {
		if n, err := w.Write([]byte("ab")); n != 2 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if kept.String() != "abab" || bad.writes != 1 {
		t.Errorf("%q, %d writes to the bad one", kept.String(), bad.writes)
	}
}
