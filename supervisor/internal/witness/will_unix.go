//go:build linux || darwin

package witness

import (
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// UndertakerName is argument zero of what a witness becomes, in place, to execute the wills of a node that is dead. Two
// arguments follow: the descriptor that holds the wills, a line each, and the exit code that is owed.
const UndertakerName = "drover-undertaker"

// will is what is to be said in etcd of one session.
type will struct {
	content string   // of package undertaker's
	letter  []string // nothing if it has none
}

// postLetters drops the wills of which nothing is left to be done.
func (w *watcher) postLetters(died time.Time) {
	limit := Now() + lettersPatience
	// Sessions are numbered in the order in which they were opened, and only the last one can stand.
	for _, session := range slices.Backward(sorted(w.wills)) {
		if Post(w.wills[session].letter, died, limit) {
			delete(w.wills, session)
		}
	}
}

// executeWills enters the whole program, which can speak with etcd. It has this process's pid and start time: by them
// others see that the node's death is being taken care of. It returns if that can't be done, and then only the TTL tells
// of the node's death.
func (w *watcher) executeWills(code int) {
	if len(w.wills) == 0 {
		return
	}
	var lines []byte
	for _, session := range sorted(w.wills) {
		lines = append(append(lines, w.wills[session].content...), '\n')
	}
	program, err := Executable()
	if err != nil {
		return
	}
	w.hangUp()
	if w.node >= 0 {
		_ = unix.Close(w.node)
	}
	fd, err := stash(lines)
	if err != nil {
		return
	}
	// The environment is the witness's own but for its GOMAXPROCS: what counts of the node's is in the wills.
	_ = syscall.Exec(program, []string{UndertakerName, strconv.Itoa(fd), strconv.Itoa(code)}, nil)
	_ = os.NewFile(uintptr(fd), "wills").Close()
}

func sorted(wills map[string]will) []string {
	sessions := make([]string, 0, len(wills))
	for session := range wills {
		sessions = append(sessions, session)
	}
	slices.Sort(sessions)
	return sessions
}

func writeAll(fd int, data []byte) error {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}
