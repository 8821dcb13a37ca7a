package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

// logPrinter prints the streams of one attempt after the other. What was printed once, by whatever way it came, is not
// printed again.
type logPrinter struct {
	cli            *cli
	attempt        int // 0: none so far
	stdout, stderr logStream
}

// logStream is how far a stream was printed.
type logStream struct {
	file *os.File // its log, if that is read
	at   int64    // bytes printed or passed over, as text; see kinds.StreamProgress. Not counted of a file
	last string   // the last that was printed of a tail
	half []byte   // of a file: the beginning of a character
}

// begin turns to another attempt, and tells of it unless it is the first.
func (l *logPrinter) begin(p registry.Process, n int) {
	if l.attempt == n {
		return
	}
	if l.attempt > 0 {
		why := ""
		if past, ok := pastAttempt(p, l.attempt); ok && past.Error != "" {
			why = " (attempt " + fmt.Sprint(l.attempt) + ": " + oneLine(past.Error) + ")"
		}
		l.cli.hint("drover: attempt %d%s", n, why)
	}
	l.close()
	*l = logPrinter{cli: l.cli, attempt: n}
}

func (l *logPrinter) close() {
	for _, s := range []*logStream{&l.stdout, &l.stderr} {
		if s.file != nil {
			s.file.Close()
			s.file = nil
		}
	}
}

// print prints what came of a stream.
func (l *logPrinter) print(s *logStream, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	if l.cli.json() {
		return l.cli.printJSON(struct {
			Attempt int    `json:"attempt"`
			Stream  string `json:"stream"`
			Data    string `json:"data"`
		}{l.attempt, l.name(s), string(data)})
	}
	to := l.cli.stdout
	if s == &l.stderr {
		to = l.cli.stderr
	}
	_, err := to.Write(data)
	return err
}

func (l *logPrinter) name(s *logStream) string {
	if s == &l.stderr {
		return "stderr"
	}
	return "stdout"
}

// tail prints what is new in the live tail.
func (l *logPrinter) tail(p kinds.ExecProgress) error {
	return errors.Join(l.tailOf(&l.stdout, p.Stdout, p.Log), l.tailOf(&l.stderr, p.Stderr, p.Log))
}

func (l *logPrinter) tailOf(s *logStream, p kinds.StreamProgress, place *kinds.ExecLog) error {
	begin := p.Bytes - int64(len(p.Tail))
	if p.Bytes <= s.at || begin < 0 {
		return nil
	}
	if begin > s.at {
		where := ""
		if place != nil {
			where = fmt.Sprintf(" (node %s has them in %s and %s)", place.Node, place.Stdout, place.Stderr)
		}
		l.cli.hint("drover: %d bytes of %s are not shown: the live tail is too short for them%s", begin-s.at, l.name(s), where)
		s.at = begin
	}
	text := p.Tail[s.at-begin:]
	s.at, s.last = p.Bytes, p.Tail
	return l.print(s, []byte(text))
}

// rest prints what a command's output, if there is one, has beyond what was printed.
func (l *logPrinter) rest(o *kinds.ExecOutput) error {
	if o == nil {
		return nil
	}
	stdout, whole1 := l.stdout.beyond(o.Stdout, o.Truncated)
	stderr, whole2 := l.stderr.beyond(o.Stderr, o.Truncated)
	if !whole1 || !whole2 {
		l.cli.hint("drover: the process keeps only the end of a long output: what came before it is not shown")
	}
	return errors.Join(l.print(&l.stdout, stdout), l.print(&l.stderr, stderr))
}

// beyond is what text, the stream or its end, has after what was printed, and whether nothing is missing between.
func (s *logStream) beyond(text string, truncated bool) (rest []byte, whole bool) {
	printed := min(s.at, int64(len(text)))
	if !truncated {
		return []byte(text[printed:]), true
	}
	// How much of the stream is before text is not known. What was printed ends in text at s.at, if that is nothing, or
	// before; or nowhere, if too much is missing.
	if s.at > 0 {
		if i := strings.LastIndex(text[:printed], s.last); i >= 0 {
			return []byte(text[i+len(s.last):]), true
		}
	}
	return []byte(text), s.at == 0 && text == ""
}

// drain prints what is new in the files of the log. At the end of the attempt nothing more comes.
func (l *logPrinter) drain(ended bool) error {
	return errors.Join(l.drainOf(&l.stdout, ended), l.drainOf(&l.stderr, ended))
}

func (l *logPrinter) drainOf(s *logStream, ended bool) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.file.Read(buf)
		data := slices.Concat(s.half, buf[:n])
		whole := data
		if l.cli.json() && (n > 0 || !ended) {
			whole = kinds.WholeRunes(data) // half a character can't be told in JSON
		}
		s.half = bytes.Clone(data[len(whole):])
		if printErr := l.print(s, whole); printErr != nil {
			return printErr
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
