package runner

import (
	"math"
	"slices"
	"sync"

	"github.com/drover-run/drover/registry"
)

// Herd is what a node knows of the living sessions and of what they claim. It
// decides who is to be the first to take what. That is a hint, which keeps
// nodes from trying the same; the transaction decides. It is safe for use by
// several goroutines.
type Herd struct {
	mu    sync.Mutex
	self  string // the node's own session
	peers map[string]registry.Peer
	// ended are sessions that a survey may still tell of, as it was made
	// before word of their end came.
	ended map[string]bool
	// among are the candidates for each queue and kind, sorted out when first
	// asked for; those for nothing in particular stand under the zero lane.
	among map[field][]candidate
}

// field is who is asked for: whether this node itself is able may change.
type field struct {
	lane lane
	able bool
}

// lane is what decides who can take a process.
type lane struct{ queue, kind string }

func newHerd() *Herd {
	return &Herd{peers: map[string]registry.Peer{}, ended: map[string]bool{}, among: map[field][]candidate{}}
}

// Join notes a session that has begun, or says something else of itself. It
// says whether that one takes nothing any more, but did before.
func (h *Herd) Join(p registry.Peer) (drains bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, known := h.peers[p.Session]
	if h.ended[p.Session] || known && !p.Newer(before) {
		return false
	}
	h.peers[p.Session] = p
	clear(h.among)
	return known && p.Draining && !before.Draining
}

// End notes that a session has ended, which is for good.
func (h *Herd) End(sid string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended[sid] = true
	delete(h.peers, sid)
	clear(h.among)
}

// Set takes a survey, which is older than some of what was told meanwhile.
func (h *Herd) Set(s registry.Survey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next, ended := map[string]registry.Peer{}, map[string]bool{}
	for _, p := range s.Peers {
		if h.ended[p.Session] {
			ended[p.Session] = true
			continue
		}
		if before, known := h.peers[p.Session]; known && before.Newer(p) {
			p = before
		}
		next[p.Session] = p
	}
	for sid, p := range h.peers {
		if _, there := next[sid]; !there && p.After(s.Revision) {
			next[sid] = p
		}
	}
	h.peers, h.ended = next, ended
	clear(h.among)
}

// as makes sure that this is the node's session.
func (h *Herd) as(self string) {
	if h.self != self {
		h.self = self
		clear(h.among)
	}
}

// rank is the rank of this node for a process that it can run.
func (h *Herd) rank(self, queue, kind, id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.as(self)
	return rank(h.candidates(lane{queue, kind}, true), self, id)
}

// orphanRank is the rank of this node for an orphan: among those that can run
// it; if nobody can, or it is a question of time alone, among all. able says
// whether this node can.
func (h *Herd) orphanRank(self, queue, kind, id string, able bool) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.as(self)
	if among := h.candidates(lane{queue, kind}, able); len(among) > 0 {
		return rank(among, self, id)
	}
	return rank(h.candidates(lane{}, true), self, id)
}

// anyRank is the rank of this node for what every node can do.
func (h *Herd) anyRank(self, id string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.as(self)
	return rank(h.candidates(lane{}, true), self, id)
}

// candidates need mu. The node itself is one if it is able to, whether or not
// it is known that it lives.
func (h *Herd) candidates(l lane, able bool) []candidate {
	if among, known := h.among[field{l, able}]; known {
		return among
	}
	among := []candidate{}
	weight := 1
	for sid, p := range h.peers {
		serves := l == lane{} || slices.Contains(p.Queues, l.queue) && slices.Contains(p.Kinds, l.kind)
		switch {
		case sid == h.self:
			weight = p.Max
		case serves && !p.Draining:
			among = append(among, newCandidate(sid, p.Max))
		}
	}
	if able && h.self != "" {
		among = append(among, newCandidate(h.self, weight))
	}
	h.among[field{l, able}] = among
	return among
}

// spread is how many entries stand in the queue for each that is this node's
// to take, on average: 1 if it is alone.
func (h *Herd) spread(self string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.as(self)
	mine, all := 1.0, 0.0
	for _, c := range h.candidates(lane{}, true) {
		all += c.weight
		if c.sid == self {
			mine = c.weight
		}
	}
	return int(math.Ceil(all / mine))
}
