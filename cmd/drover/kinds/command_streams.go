package kinds

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// streams are the three pipes of a command. Each has a goroutine here, which finish waits for.
type streams struct {
	childIn, childOut, childErr *os.File // the command's ends; childIn is nil for /dev/null
	stdin                       *os.File // our end; nil likewise
	stdout, stderr              stream
	working                     sync.WaitGroup
}

// stream is what a command writes: our end, its tail, and who else wants it.
type stream struct {
	pipe *os.File
	tail tail
	tee  io.Writer // nil: nobody, or nobody any more
}

func openStreams(c *Command) (_ *streams, err error) {
	s := &streams{
		stdout: stream{tail: tail{max: c.maxOutput()}, tee: c.Stdout},
		stderr: stream{tail: tail{max: c.maxOutput()}, tee: c.Stderr},
	}
	defer func() {
		if err != nil {
			s.closeChildEnds()
			s.closeOurs()
		}
	}()
	if s.stdout.pipe, s.childOut, err = os.Pipe(); err != nil {
		return nil, err
	}
	if s.stderr.pipe, s.childErr, err = os.Pipe(); err != nil {
		return nil, err
	}
	if c.Stdin != "" {
		if s.childIn, s.stdin, err = os.Pipe(); err != nil {
			return nil, err
		}
		s.working.Go(func() {
			_, _ = io.WriteString(s.stdin, c.Stdin) // a command need not read all that it is given
			_ = s.stdin.Close()
		})
	}
	s.working.Go(s.stdout.copy)
	s.working.Go(s.stderr.copy)
	return s, nil
}

func (s *streams) closeChildEnds() {
	for _, f := range []*os.File{s.childIn, s.childOut, s.childErr} {
		if f != nil {
			_ = f.Close() // a copy of ours, that was not written to
		}
	}
}

func (s *streams) closeOurs() {
	for _, f := range []*os.File{s.stdin, s.stdout.pipe, s.stderr.pipe} {
		if f != nil {
			_ = f.Close() // nothing that anybody would read is lost in it
		}
	}
}

// finish returns when all that the group wrote has been read. It does not wait for the pipes to end: a process that
// left the group may hold them for ever.
func (s *streams) finish() {
	now := time.Now()
	for _, f := range []*os.File{s.stdin, s.stdout.pipe, s.stderr.pipe} {
		if f != nil {
			_ = f.SetDeadline(now) // it fails only if the goroutine has closed the pipe, and so has ended
		}
	}
	s.working.Wait()
	s.closeOurs()
}

func (s *stream) copy() {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.pipe.Read(buf)
		s.take(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.drain(buf)
		}
		if err != nil {
			return
		}
	}
}

func (s *stream) take(p []byte) {
	s.tail.write(p)
	if s.tee == nil || len(p) == 0 {
		return
	}
	if _, err := s.tee.Write(p); err != nil {
		s.tee = nil
	}
}

// maxPipe is the most that a pipe holds, unless root has made it larger.
const maxPipe = 1 << 20

// drain takes what is in the pipe, and does not wait for more. The group is gone, so all that it wrote is there; the
// bound is for a process that left the group and goes on writing.
func (s *stream) drain(buf []byte) {
	if s.pipe.SetReadDeadline(time.Time{}) != nil {
		return
	}
	raw, err := s.pipe.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < maxPipe; {
		var n int
		var readErr error
		err := raw.Read(func(fd uintptr) (done bool) {
			n, readErr = unix.Read(int(fd), buf)
			return true // also if there is nothing to read
		})
		switch {
		case errors.Is(readErr, unix.EINTR):
			continue
		case err != nil, readErr != nil, n == 0:
			return
		}
		total += n
		s.take(buf[:n])
	}
}
