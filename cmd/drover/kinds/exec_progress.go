package kinds

import (
	"bytes"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/drover-run/drover/runner"
)

// ExecProgress is the progress of an exec: the live tail of its command.
type ExecProgress struct {
	Attempt int            `json:"attempt"` // that wrote it
	Stdout  StreamProgress `json:"stdout"`
	Stderr  StreamProgress `json:"stderr"`
	Log     *ExecLog       `json:"log,omitempty"` // where the whole streams are; nil if nowhere
}

// StreamProgress is how far a stream is. Both fields are about it as text, in which a byte that is not UTF-8 is a U+FFFD,
// of three bytes; the Tail begins at Bytes - len(Tail).
type StreamProgress struct {
	Bytes int64  `json:"bytes"` // written so far
	Tail  string `json:"tail"`  // the last of them, at most maxTail
}

const (
	maxTail = 4 << 10
	// settle is how long after news the row is told of it. A command that is done sooner costs no write.
	settle = 100 * time.Millisecond
)

// reporter tells the row what a command writes.
type reporter struct {
	attempt        *runner.Attempt
	logs           *execLog // nil: none are kept
	stdout, stderr tap
	news           chan struct{} // of one: a doorbell
	ended          chan struct{}
	working        sync.WaitGroup
}

// report begins to. end is to be called, once.
func report(a *runner.Attempt, logs *execLog) *reporter {
	r := &reporter{attempt: a, logs: logs, news: make(chan struct{}, 1), ended: make(chan struct{})}
	r.stdout = tap{tail: tail{max: maxTail}, news: r.news}
	r.stderr = tap{tail: tail{max: maxTail}, news: r.news}
	if logs != nil {
		r.news <- struct{}{} // where to look is news, before there is any output
	}
	r.working.Go(r.work)
	return r
}

func (r *reporter) work() {
	for {
		select {
		case <-r.news:
		case <-r.ended:
			return
		}
		timer := time.NewTimer(settle)
		select {
		case <-timer.C:
			r.tell()
		case <-r.ended:
			timer.Stop()
			return
		}
	}
}

// end is for when the command has ended: what it wrote is in the output then.
func (r *reporter) end(failed bool) {
	close(r.ended)
	r.working.Wait()
	if failed {
		r.tell() // its last words, which the next attempt's replace
	}
}

func (r *reporter) tell() {
	p := ExecProgress{Attempt: r.attempt.Number(), Stdout: r.stdout.progress(), Stderr: r.stderr.progress()}
	if r.logs != nil {
		p.Log = r.logs.place(r.attempt.Node())
	}
	// What can go wrong, a claim that is lost, is told to the attempt by its context.
	_ = r.attempt.Progress(p)
}

// tap counts what a stream brings, as text, and keeps its tail.
type tap struct {
	news chan<- struct{}

	mu    sync.Mutex
	bytes int64
	tail  tail
	rest  []byte // the beginning of a character
}

// Write never fails.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := p
	if len(t.rest) > 0 {
		all = slices.Concat(t.rest, p)
	}
	whole := WholeRunes(all)
	t.take(whole)
	t.rest = bytes.Clone(all[len(whole):])
	select {
	case t.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (t *tap) take(p []byte) {
	t.bytes += int64(textLen(p))
	if from := len(p) - maxTail; from > 0 {
		for i := 0; i < utf8.UTFMax-1 && from > 0 && !utf8.RuneStart(p[from]); i++ {
			from--
		}
		p, t.tail.cut = p[from:], true // to make text of the rest would be for nothing
	}
	if utf8.Valid(p) {
		t.tail.write(p)
	} else {
		t.tail.write([]byte(string([]rune(string(p)))))
	}
}

// textLen is how many bytes p has as text.
func textLen(p []byte) int {
	if utf8.Valid(p) {
		return len(p)
	}
	n := 0
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		n += utf8.RuneLen(r)
		p = p[size:]
	}
	return n
}

func (t *tap) progress() StreamProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return StreamProgress{Bytes: t.bytes, Tail: string(t.tail.bytes())}
}
