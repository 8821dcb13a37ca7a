package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// journal is what attempts say of themselves in a file outside etcd, a line at a time, each on the disk before the
// attempt goes on. A lock for each process of drover's tells whether two attempts run at one time: the kernel holds it
// for as long as anything of an attempt lives.
type journal struct{ dir string }

// entry is a line of the journal.
type entry struct {
	What    string    `json:"what"` // begin, end, or overlap: at its begin another attempt held the lock
	ID      string    `json:"id"`
	Attempt int       `json:"attempt"`
	Fence   int64     `json:"fence"`
	Node    string    `json:"node"`
	PID     int       `json:"pid"`
	At      time.Time `json:"at"`
	How     string    `json:"how"` // exec or go; of an end: done, failed, or stopped, when its context was cancelled
}

func newJournal(t testing.TB) *journal {
	t.Helper()
	j := &journal{dir: t.TempDir()}
	if err := os.WriteFile(j.script(), []byte(attemptScript), 0o700); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *journal) file() string   { return filepath.Join(j.dir, "journal") }
func (j *journal) script() string { return filepath.Join(j.dir, "attempt") }

// lock is the file whose lock an attempt holds. Ids of tests are fit for the names of files.
func (j *journal) lock(id string) string { return filepath.Join(j.dir, "lock."+id) }

// attemptScript is an attempt of kind exec: it takes the journal's directory, how many seconds it lasts, and up to which
// attempt it fails. Its children hold the lock as well.
const attemptScript = `#!/bin/sh
line() {
	printf '{"what":"%s","id":"%s","attempt":%s,"fence":%s,"node":"%s","pid":%s,"at":"%s","how":"%s"}\n' \
		"$1" "$DROVER_PROCESS_ID" "$DROVER_ATTEMPT" "$DROVER_FENCE" "$DROVER_NODE" "$$" "$(date -u +%FT%T.%NZ)" "$2" >>"$dir/journal"
	sync -d "$dir/journal"
}
dir=$1
exec 9>>"$dir/lock.$DROVER_PROCESS_ID"
flock -n 9 || line overlap exec
line begin exec
sleep "$2"
if [ "$DROVER_ATTEMPT" -le "$3" ]; then line end failed; exit 1; fi
line end done
`

// needsShell skips where the script does not work.
func needsShell(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("flock"); err != nil || runtime.GOOS != "linux" {
		t.Skip("attempts of kind exec need flock(1), and a sync(1) that takes a file")
	}
}

// write appends one line and has it on the disk.
func (j *journal) write(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.file(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// read is all that was written so far. A line that its writer was killed in is left out: the attempt did not go on.
func (j *journal) read(t testing.TB) (all []entry) {
	t.Helper()
	f, err := os.Open(j.file())
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var e entry
		if line := lines.Text(); !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil {
			t.Errorf("journal: %q", line)
			continue
		}
		all = append(all, e)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
