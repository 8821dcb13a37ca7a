package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/trouble"
	"github.com/drover-run/drover/runner"
)

// shown is how many processes a list in a Health names.
const shown = 100

// Health is how a node is, as far as it knows by itself.
type Health struct {
	// Healthy: there are no Problems.
	Healthy bool `json:"healthy"`
	// Problems says in words what is wrong right now.
	Problems []string `json:"problems"`
	Node     string   `json:"node"`
	// Ready: it holds a session and is not stopping, so it takes work.
	Ready    bool          `json:"ready"`
	Stopping bool          `json:"stopping"`
	Session  SessionHealth `json:"session"`
	Running  int           `json:"running"` // attempts that have not ended
	Max      int           `json:"max"`     // how many there may be
	// Stuck are the attempts whose contexts ended more than 6 s ago and whose
	// handlers have not returned, the oldest first, at most 100. They keep
	// their slots. What comes of one whose session is lost is discarded.
	Stuck []Unfinished `json:"stuck,omitempty"`
	// HeldBack are the attempts that have ended and whose ends etcd has not
	// taken for more than 2 s, the oldest first, at most 100. They are kept in
	// memory, with their slots, until etcd takes them or the session is lost.
	HeldBack []Unfinished `json:"held_back,omitempty"`
	// Drives fail, so nothing is claimed; nil if they don't.
	Drives *Failing `json:"drives_failing,omitempty"`
	// Watch is lost, so changes are seen by polling only; nil if it is not.
	Watch *Failing `json:"watch_lost,omitempty"`
	// ClaimsTried and ClaimsLost are [Node.Claims].
	ClaimsTried int64 `json:"claims_tried"`
	ClaimsLost  int64 `json:"claims_lost"`
	// Unreadable is [Node.Unreadable]. It is no problem of the node's.
	Unreadable int `json:"unreadable_keys"`
}

// SessionHealth is how a node stands with its session.
type SessionHealth struct {
	ID    string    `json:"id,omitempty"` // empty while there is none
	Since time.Time `json:"since"`        // since when there is one, or none
	// Why there is none, as far as is known.
	Why string `json:"why,omitempty"`
	// RenewedAt is when the last renewal was sent that etcd answered. LeftSeconds
	// is how long after now the session ends unless it is renewed.
	RenewedAt   time.Time `json:"renewed_at,omitzero"`
	LeftSeconds float64   `json:"left_seconds,omitempty"`
}

// Unfinished is an attempt that does not come to its end.
type Unfinished struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Attempt int       `json:"attempt"`
	Fence   int64     `json:"fence"`
	Since   time.Time `json:"since"`
	Why     string    `json:"why,omitempty"` // its context ended, or is held back
}

// Failing is something that is tried again and again.
type Failing struct {
	Since  time.Time `json:"since"`
	Failed int       `json:"failed"` // how often
	Why    string    `json:"why"`    // of the latest
}

// Health says how the node is. It sends nothing to etcd and may be called from
// any goroutine, at any time.
func (n *Node) Health() Health {
	n.mu.Lock()
	l, stopped := n.life, n.stopped
	n.mu.Unlock()
	return l.health(stopped)
}

func (l *life) health(stopped bool) Health {
	h := Health{
		Problems: []string{}, Node: l.config.Node, Stopping: stopped || l.ending(),
		Running: l.slots.Running(), Max: l.config.MaxRunning,
	}
	h.session(l)
	if l.runner != nil {
		h.attempts(l.runner)
		h.Unreadable = l.runner.Unreadable()
		h.ClaimsTried, h.ClaimsLost = l.runner.Claims()
	}
	h.Drives = h.failing("nothing can be claimed", l.drives.Failing)
	h.Watch = h.failing("changes are seen by polling only, the watch is lost", l.watch.Lost)
	for _, problem := range append(l.failing.problems(), l.witnessProblem()) {
		if problem != "" {
			h.problem("%s", problem)
		}
	}
	h.end(l)
	h.Healthy = len(h.Problems) == 0
	h.Ready = h.Session.ID != "" && !h.Stopping
	return h
}

func (h *Health) problem(format string, args ...any) {
	h.Problems = append(h.Problems, strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

func (h *Health) session(l *life) {
	has := l.sessions.Holding()
	h.Session.Since = has.Since.UTC()
	if s := has.Session; s != nil && s.Alive() {
		renewal := s.Renewal()
		h.Session.ID, h.Session.RenewedAt = s.ID(), renewal.Asked.UTC()
		h.Session.LeftSeconds = time.Until(s.Deadline()).Seconds()
		if renewal.Err != nil {
			h.problem("the session is not renewed since %s, it ends in %.1f s: %s",
				clock(renewal.Asked), h.Session.LeftSeconds, trouble.Words(renewal.Err))
		}
		return
	} else if s != nil {
		has.Why = s.Err() // nobody has noticed yet
	}
	switch {
	case h.Stopping:
	case has.Why == nil:
		h.problem("there is no session yet, since %s", clock(has.Since))
	default:
		h.Session.Why = why(has.Why)
		h.problem("there is no session since %s, so nothing runs: %s", clock(has.Since), h.Session.Why)
	}
}

func (h *Health) attempts(r *runner.Runner) {
	stuck, held := r.Stuck(), r.Held()
	h.Stuck, h.HeldBack = unfinished(stuck), unfinished(held)
	if len(stuck) > 0 {
		h.problem("%d handlers are stuck: they ignore that their contexts ended, and keep their slots; the oldest is that of %s, since %s",
			len(stuck), stuck[0].ID, clock(stuck[0].Since))
	}
	if len(held) > 0 {
		h.problem("the ends of %d attempts are held back in memory since %s: %s",
			len(held), clock(held[0].Since), trouble.Words(held[0].Cause))
	}
}

func unfinished(all []runner.Pending) (some []Unfinished) {
	for _, p := range all[:min(len(all), shown)] {
		some = append(some, Unfinished{
			ID: p.ID, Kind: p.Kind, Attempt: p.Attempt, Fence: p.Fence, Since: p.Since.UTC(), Why: why(p.Cause),
		})
	}
	return some
}

func (h *Health) failing(what string, state func() (trouble.State, bool)) *Failing {
	s, is := state()
	if !is {
		return nil
	}
	f := &Failing{Since: s.Since.UTC(), Failed: s.Failed, Why: why(s.Err)}
	h.problem("%s since %s: %s", what, clock(s.Since), f.Why)
	return f
}

// end is for a node that is not at work.
func (h *Health) end(l *life) {
	select {
	case <-l.done:
		if err := l.result(); err != nil {
			h.problem("the node has ended: %v", err)
		} else {
			h.problem("the node has ended")
		}
	default:
		if _, begun := l.place(); !begun && !h.Stopping {
			h.problem("the node has not begun")
		}
	}
}

// why is an error in words, with etcd's own if those are others.
func why(err error) string {
	if err == nil {
		return ""
	}
	words, text := trouble.Words(err), strings.ReplaceAll(err.Error(), "\n", "; ")
	if words == err.Error() {
		return text
	}
	if errors.Is(err, lease.ErrLost) {
		return "the last one was lost, " + words + " (" + text + ")"
	}
	return words + " (" + text + ")"
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
