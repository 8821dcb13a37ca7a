package kinds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/drover-run/drover/runner"
)

// ExecLog says where the whole streams of an attempt are.
type ExecLog struct {
	Node   string `json:"node"`
	Stdout string `json:"stdout"` // the path of a file on that node
	Stderr string `json:"stderr"`
	// Incomplete says that they could not be written to their end.
	Incomplete bool `json:"incomplete,omitempty"`
}

// What ends the names of an attempt's logs.
const (
	stdoutSuffix = ".stdout"
	stderrSuffix = ".stderr"
)

// StderrLog is where the standard error of an attempt is whose standard output is in that file, which is what its history
// names.
func StderrLog(stdout string) string { return strings.TrimSuffix(stdout, stdoutSuffix) + stderrSuffix }

// execLog keeps the whole streams of one attempt, as long as there is room for them.
type execLog struct {
	stdout, stderr *os.File
	log            *zap.Logger
	failed         sync.Once
	incomplete     atomic.Bool
}

// openLog makes the files of an attempt, below dir: a directory for the process, in which they bear the number of the
// attempt and its fence. The latter tells apart processes that had the same id one after the other, or in another
// namespace.
func openLog(dir string, a *runner.Attempt, log *zap.Logger) (*execLog, error) {
	dir = filepath.Join(dir, LogName(a.ID()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	base := filepath.Join(dir, fmt.Sprintf("%d.%d", a.Number(), a.Fence()))
	l := &execLog{log: log.With(zap.String("process", a.ID()), zap.Int("attempt", a.Number()))}
	var err error
	if l.stdout, err = create(base + stdoutSuffix); err != nil {
		return nil, err
	}
	if l.stderr, err = create(base + stderrSuffix); err != nil {
		_ = l.stdout.Close() // nothing is in it
		return nil, err
	}
	return l, nil
}

func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

func (l *execLog) place(node string) *ExecLog {
	return &ExecLog{Node: node, Stdout: l.stdout.Name(), Stderr: l.stderr.Name(), Incomplete: l.incomplete.Load()}
}

// writer is for one of the files. It fails once the disk does, and neither holds the command up then nor fails it.
func (l *execLog) writer(f *os.File) io.Writer { return logWriter{l, f} }

type logWriter struct {
	log  *execLog
	file *os.File
}

func (w logWriter) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	if err != nil {
		w.log.fail(err)
	}
	return n, err
}

func (l *execLog) fail(err error) {
	l.incomplete.Store(true)
	l.failed.Do(func() { l.log.Error("the log of a command ends before the command does", zap.Error(err)) })
}

func (l *execLog) close() {
	if err := errors.Join(l.stdout.Close(), l.stderr.Close()); err != nil {
		l.fail(err) // some file systems say only now that there was no room
	}
}

// maxLogName is less than the 255 bytes that a file system takes.
const maxLogName = 200

// LogName is the directory for the logs of a process: its id, with what a name can't have or should not begin with
// percent-encoded, and the end of a long one replaced by a hash of it.
func LogName(id string) string {
	name := strings.NewReplacer("%", "%25", "/", "%2F").Replace(id)
	if rest, hidden := strings.CutPrefix(name, "."); hidden {
		name = "%2E" + rest
	}
	if len(name) <= maxLogName {
		return name
	}
	sum := sha256.Sum256([]byte(id))
	begin := name[:maxLogName-2*16-2]
	if i := strings.LastIndexByte(begin, '%'); i > len(begin)-3 {
		begin = begin[:i]
	}
	return string(WholeRunes([]byte(begin))) + "%-" + hex.EncodeToString(sum[:16]) // no other name has "%-" in it
}
