package witness

import (
	"bytes"
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Look reads /proc/PID/stat. The error is unix.ENOENT or unix.ESRCH when there is no such process.
func Look(pid int) (Process, error) {
	var buf [1024]byte // a line has some 50 numbers, and no more
	return readStat(strconv.Itoa(pid), buf[:])
}

func eachProcess(visit func(Process)) error {
	dir, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	var buf [1024]byte
	for _, name := range names {
		if name[0] < '1' || name[0] > '9' {
			continue
		}
		p, err := readStat(name, buf[:])
		switch {
		case err == nil:
			visit(p)
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH): // it has been reaped since
		default:
			return err
		}
	}
	return nil
}

// readStat is made of plain calls: a census reads hundreds of these files, and files of package os would go through the
// poller first.
func readStat(pid string, buf []byte) (Process, error) {
	fd, err := open("/proc/" + pid + "/stat")
	if err != nil {
		return Process{}, err
	}
	n, err := unix.Read(fd, buf) // never interrupted: the kernel has the answer ready
	_ = unix.Close(fd)
	if err != nil {
		return Process{}, err
	}
	return parseStat(buf[:n])
}

func open(path string) (fd int, err error) {
	for {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

var errStat = errors.New("witness: /proc/PID/stat has another form than expected")

// parseStat: "PID (NAME) STATE PARENT GROUP ...", where the name may hold anything, spaces and parentheses included.
func parseStat(stat []byte) (Process, error) {
	pid, _, ok := bytes.Cut(stat, []byte(" ("))
	end := bytes.LastIndexByte(stat, ')')
	if !ok || end < 0 {
		return Process{}, errStat
	}
	fields := bytes.Fields(stat[end+1:]) // the first is field 3 of proc(5)
	if len(fields) < 20 {
		return Process{}, errStat
	}
	var p Process
	var threads int
	for _, field := range []struct {
		text []byte
		into *int
	}{{pid, &p.PID}, {fields[1], &p.Parent}, {fields[2], &p.Group}, {fields[17], &threads}} {
		n, err := strconv.Atoi(string(field.text))
		if err != nil {
			return Process{}, errStat
		}
		*field.into = n
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return Process{}, errStat
	}
	p.Start = start
	// A main thread that has ended is shown as a zombie while other threads run on.
	p.Dead = (fields[0][0] == 'Z' || fields[0][0] == 'X') && threads <= 1
	return p, nil
}
