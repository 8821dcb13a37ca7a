package lease

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// kernel returns the id of this boot, and of the namespaces in which this
// process knows others by number. Either is empty if it cannot be told.
func kernel() (boot, namespace string) {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		boot = strings.TrimSpace(string(id))
	}
	return boot, namespaces()
}

// namespaces names the PID namespace, and the time namespace where the kernel
// has them: start times are shown by the reader's clock, so that readers in
// two of them see two start times of one living process.
func namespaces() string {
	// A /proc that was mounted for another PID namespace shows other
	// processes under the same numbers. It tells nothing about ours.
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return ""
	}
	pid, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	clock, err := os.Readlink("/proc/self/ns/time")
	switch {
	case errors.Is(err, os.ErrNotExist): // a kernel before 5.6
		return pid
	case err != nil:
		return ""
	}
	return pid + " " + clock
}

func startTime(pid int) (uint64, error) {
	p, err := readStat(pid)
	return p.start, err
}

// ended asks the kernel. Whoever calls it has made sure that the kernel is the
// right one.
func (i Identity) ended() (evidence string, gone bool) {
	// Not a missing file under /proc, which can be hidden (hidepid): signals
	// that may not be sent are refused with EPERM, which says that it lives.
	if err := unix.Kill(i.PID, 0); errors.Is(err, unix.ESRCH) {
		return fmt.Sprintf("%s: there is no process %d", i.Host, i.PID), true
	}
	p, err := readStat(i.PID)
	if err != nil {
		return "", false
	}
	if i.StartTime != 0 && p.start != i.StartTime {
		return fmt.Sprintf("%s: process %d is another one, started at %d and not at %d",
			i.Host, i.PID, p.start, i.StartTime), true
	}
	if p.zombie() {
		return fmt.Sprintf("%s: process %d has exited and waits for its parent", i.Host, i.PID), true
	}
	return "", false
}

// procStat is what we need of /proc/<pid>/stat.
type procStat struct {
	state   byte
	threads int
	start   uint64
}

// zombie reports whether the process has ended and was not waited for. It has
// given up its memory and files by then: it runs nothing and holds nothing.
// The state alone is not enough. It is the first thread's, and a process whose
// first thread has exited goes on, as a "zombie", with the others; those that
// exit are not counted any more, so the last one left is the zombie itself.
func (p procStat) zombie() bool { return p.state == 'Z' && p.threads <= 1 }

func readStat(pid int) (procStat, error) {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(line)
}

// parseStat reads the fields by their place behind the command, which is in
// parentheses and may contain spaces and parentheses itself. See proc(5).
func parseStat(line []byte) (procStat, error) {
	const first, state, threads, start = 3, 3, 20, 22 // as proc(5) counts
	fields := bytes.Fields(line[bytes.LastIndexByte(line, ')')+1:])
	if len(fields) <= start-first {
		return procStat{}, fmt.Errorf("unexpected content of /proc/<pid>/stat: %q", line)
	}
	p := procStat{state: fields[state-first][0]}
	var errThreads, errStart error
	p.threads, errThreads = strconv.Atoi(string(fields[threads-first]))
	p.start, errStart = strconv.ParseUint(string(fields[start-first]), 10, 64)
	return p, errors.Join(errThreads, errStart)
}
