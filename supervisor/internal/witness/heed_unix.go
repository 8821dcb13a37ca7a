//go:build linux || darwin

package witness

import (
	"strconv"
	"time"
)

// heed does what one line from the node says. A line that makes no sense is a fault of ours, and so a panic: a witness
// that misheard must not go on as if it knew.
func (w *watcher) heed(words []string) {
	switch {
	case len(words) == 3 && words[0] == WordDeadline:
		w.setDeadline(words[1], time.Duration(number(words[2])))
	case len(words) == 5 && words[0] == WordGroup:
		g := &group{number: number(words[1]), pgid: int(number(words[2])), start: uint64(number(words[3])), session: words[4]}
		if reason := w.admit(g); reason != "" {
			w.tell(WordRefused, words[1], reason)
		} else {
			w.tell(WordAck, words[1])
		}
	case len(words) == 2 && words[0] == WordForget:
		w.forget(number(words[1]))
	case len(words) >= 3 && words[0] == WordWill:
		w.wills[words[1]] = will{content: words[2], letter: words[3:]}
	case len(words) == 2 && words[0] == WordRevoke:
		delete(w.wills, words[1])
	case len(words) == 1 && words[0] == WordLeave:
		w.leaving = true
	default:
		panic("drover: the witness was told what it does not understand")
	}
}

func number(word string) int64 {
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		panic("drover: the witness was told " + word + " where a number belongs")
	}
	return n
}

func (w *watcher) setDeadline(session string, at time.Duration) {
	if _, known := w.deadlines[session]; !known {
		w.dropPassed(Now())
	}
	w.deadlines[session] = at
}

// dropPassed forgets deadlines that concern no group, so that a node which loses its session again and again does not
// fill its witness. A group that comes for such a session is refused either way.
func (w *watcher) dropPassed(now time.Duration) {
	used := map[string]bool{}
	for _, g := range w.groups {
		used[g.session] = true
	}
	for session, at := range w.deadlines {
		if at < now && !used[session] {
			delete(w.deadlines, session)
		}
	}
}

// admit starts to watch a group, or says why not. A group that comes too late is refused and still killed: it may be
// running already, if another witness watched it before.
func (w *watcher) admit(g *group) (refused string) {
	if !g.open() {
		return RefusedGone
	}
	deadline, known := w.deadlines[g.session]
	if g.session != NoSession && !known {
		g.close()
		return RefusedSession
	}
	w.groups[g.number] = g
	switch {
	case w.ending():
		return RefusedLeaving
	case known && deadline <= Now():
		return RefusedDeadline
	}
	return ""
}

func (w *watcher) forget(number int64) {
	if g := w.groups[number]; g != nil {
		g.close()
		delete(w.groups, number)
	}
}

// nextDeadline returns 0 for none.
func (w *watcher) nextDeadline() time.Duration {
	var next time.Duration
	for _, g := range w.groups {
		if at, known := w.deadlines[g.session]; known && !g.doomed && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

// doom marks what has to go.
func (w *watcher) doom(now time.Duration) {
	for _, g := range w.groups {
		at, known := w.deadlines[g.session]
		late := known && at <= now
		if !g.doomed && (w.ending() || late) {
			g.doomed, g.late = true, late
			w.pause = minPause
		}
	}
}

func (w *watcher) dooms() bool {
	for _, g := range w.groups {
		if g.doomed {
			return true
		}
	}
	return false
}

// sweep kills what is doomed and drops what is gone. It never waits for a process to die: meanwhile the node may end,
// or another deadline pass.
func (w *watcher) sweep() {
	if !w.dooms() {
		return
	}
	w.pause = min(2*w.pause, maxPause)
	exact := map[*group]bool{}
	for number, g := range w.groups {
		if !g.doomed {
			continue
		}
		sent, gone := g.strike()
		if gone {
			w.drop(number)
		}
		exact[g] = sent
	}
	// Only after the blow: nobody forks any more whom this census could miss.
	members, err := census()
	if err != nil {
		return // out of descriptors, or of memory: again after the pause
	}
	for number, g := range w.groups {
		if g.doomed && g.gone(members[g.pgid], exact[g]) {
			w.drop(number)
		}
	}
}

func (w *watcher) drop(number int64) {
	if w.groups[number].late {
		w.tell(WordKilled, strconv.FormatInt(number, 10))
	}
	w.forget(number)
}
