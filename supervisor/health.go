package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/drover-run/drover/lease/trouble"
	"github.com/drover-run/drover/runner"
)

// shown is how many processes a list in a Health names.
const shown = 100

// Health is how a node is, as far as it knows by itself.
type Health struct {
	// Healthy: there are no Problems.
	Healthy bool `json:"healthy"`
	// Problems says in words what is wrong right now, each trouble once: what
	// has the same cause is one sentence.
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
	// Drives fail, so nothing is claimed, or not all that could be; nil if they
	// don't, or if none are made: without a session, and once it is stopping.
	Drives *Failing `json:"drives_failing,omitempty"`
	// Watch is lost, so changes are seen by polling only; nil if it is not, or
	// if the node is stopping.
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
		Node: l.config.Node, Stopping: stopped || l.ending(),
		Running: l.slots.Running(), Max: l.config.MaxRunning,
	}
	var c complaints
	h.session(l, &c)
	if l.runner != nil {
		h.attempts(l.runner, &c)
		h.Unreadable = l.runner.Unreadable()
		h.ClaimsTried, h.ClaimsLost = l.runner.Claims()
	}
	h.upkeep(l, &c)
	l.failing.complain(&c)
	l.complainOfWitness(&c)
	h.end(l, &c)
	h.Problems = c.sentences()
	h.Healthy = len(h.Problems) == 0
	h.Ready = h.Session.ID != "" && !h.Stopping
	return h
}

func (h *Health) session(l *life, c *complaints) {
	has := l.sessions.Holding()
	h.Session.Since = has.Since.UTC()
	if s := has.Session; s != nil && s.Alive() {
		renewal := s.Renewal()
		h.Session.ID, h.Session.RenewedAt = s.ID(), renewal.Asked.UTC()
		h.Session.LeftSeconds = time.Until(s.Deadline()).Seconds()
		if renewal.Err != nil {
			c.add(why(renewal.Err), "the session is not renewed since %s and ends in %.1f s", clock(renewal.Asked), h.Session.LeftSeconds)
		}
		return
	} else if s != nil {
		has.Why = s.Err() // nobody has noticed yet
	}
	switch {
	case h.Stopping:
	case has.Why == nil:
		c.add("", "there is no session yet, since %s", clock(has.Since))
	default:
		h.Session.Why = why(has.Why)
		c.add(h.Session.Why, "there is no session since %s, so nothing runs", clock(has.Since))
	}
}

func (h *Health) attempts(r *runner.Runner, c *complaints) {
	stuck, held := r.Stuck(), r.Held()
	h.Stuck, h.HeldBack = unfinished(stuck), unfinished(held)
	if len(stuck) > 0 {
		c.add("", "%d handlers are stuck: they ignore that their contexts ended, and keep their slots; the oldest is that of %s, since %s",
			len(stuck), stuck[0].ID, clock(stuck[0].Since))
	}
	if len(held) > 0 {
		c.add(why(held[0].Cause), "the ends of %d attempts are held back in memory since %s", len(held), clock(held[0].Since))
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

// upkeep is for what goes on beside the attempts. Without a session nothing is
// driven, so what was wrong with drives is past, and the rest is the same
// trouble; once the node is stopping nothing of it matters.
func (h *Health) upkeep(l *life, c *complaints) {
	if h.Stopping {
		return
	}
	holding := h.Session.ID != ""
	if s, failing := l.drives.Failing(); failing && holding {
		h.Drives = newFailing(s)
		c.add(h.Drives.Why, "drives fail since %s, so what waits may not be claimed", clock(s.Since))
	}
	if s, lost := l.watch.Lost(); lost {
		h.Watch = newFailing(s)
		if holding {
			c.add(h.Watch.Why, "changes are seen by polling only since %s", clock(s.Since))
		}
	}
}

func newFailing(s trouble.State) *Failing {
	return &Failing{Since: s.Since.UTC(), Failed: s.Failed, Why: why(s.Err)}
}

// end is for a node that is not at work.
func (h *Health) end(l *life, c *complaints) {
	select {
	case <-l.done:
		if err := l.result(); err != nil {
			c.add(why(err), "the node has ended")
		} else {
			c.add("", "the node has ended")
		}
	default:
		if _, begun := l.place(); !begun && !h.Stopping {
			c.add("", "the node has not begun")
		}
	}
}

// why is an error in words. What etcd said itself is in the log.
func why(err error) string { return strings.ReplaceAll(trouble.Words(err), "\n", "; ") }

// complaints are what does not work, by why. The why is said once: an etcd that
// is away is one trouble, whatever it keeps from working.
type complaints struct {
	whys []string
	what map[string][]string
}

// add has an empty why for what speaks for itself.
func (c *complaints) add(why, format string, args ...any) {
	if c.what == nil {
		c.what = map[string][]string{}
	}
	if _, known := c.what[why]; !known {
		c.whys = append(c.whys, why)
	}
	c.what[why] = append(c.what[why], strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "))
}

// sentences is never nil.
func (c *complaints) sentences() []string {
	all := []string{}
	for _, why := range c.whys {
		if why == "" {
			all = append(all, c.what[why]...)
			continue
		}
		all = append(all, strings.Join(c.what[why], "; ")+": "+why)
	}
	return all
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
